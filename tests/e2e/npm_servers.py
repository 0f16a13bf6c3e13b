# SPDX-License-Identifier: Apache-2.0
"""Real MCP servers for tests: installed by scripts/mcp-servers, or the test is skipped, loudly."""

import os
import shutil
import subprocess

from guest_test import Skip

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../scripts/mcp-servers")


def npm_server(folder, name):
    """The command that starts a server from `folder`, where it is installed if need be."""
    done = subprocess.run([SCRIPT, folder], capture_output=True, timeout=300, check=False)
    node = os.path.realpath(shutil.which("node") or "/")
    if done.returncode or not node.startswith("/usr/"):
        said = done.stderr.decode(errors="replace")[-500:]
        print(f"# WARNING: no real MCP servers: {said!r}, node: {node}", flush=True)
        raise Skip("npm cannot install the servers, or node is not below /usr")
    return [node, os.path.join(folder, f"node_modules/@modelcontextprotocol/server-{name}",
                               "dist/index.js")]
