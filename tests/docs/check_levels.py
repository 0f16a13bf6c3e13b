#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks that docs/levels.md shows the state machine of the code, and that documents name real tests.

Usage: check_levels.py DIAGRAM DOCUMENT [--write]
"""

import glob
import os
import re
import subprocess
import sys

BEGIN, END = "<!-- generated: begin -->\n", "<!-- generated: end -->\n"


def main():
    program, path = sys.argv[1:3]
    made = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    with open(path, encoding="utf-8") as file:
        text = file.read()
    start, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    if "--write" in sys.argv:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text[:start] + made + text[end:])
        return 0
    root = os.path.join(os.path.dirname(path), "..")
    documents = [os.path.join(root, "README.md"), *glob.glob(os.path.join(root, "docs", "*.md"))]
    missing = []
    for document in documents:
        with open(document, encoding="utf-8") as file:
            names = set(re.findall(r"`((?:tests|scripts)/[^` <>]+)`", file.read()))
        missing += [f"{name} ({os.path.basename(document)})" for name in sorted(names)
                    if not glob.glob(os.path.join(root, name))]
    print("1..2")
    same = text[start:end] == made
    print("ok" if same else "not ok", "1 - the diagram is the one of the code")
    if not same:
        print("# run this script with --write")
    print("ok" if not missing else "not ok", "2 - the tests that documents name are there")
    for name in missing:
        print(f"# missing: {name}")
    return 0 if same and not missing else 1


sys.exit(main())
