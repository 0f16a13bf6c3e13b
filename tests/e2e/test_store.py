#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Stores end to end: what operators put in, what a model gets out, and what it does not.

Usage: test_store.py GUILLOTINE GUEST.elf...
"""

import hashlib
import io
import json
import os
import random
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import tarfile

from guest_test import Bench, Tap, one_line, process_status, processes_of, wait_until

bench = Bench(sys.argv[1], sys.argv[2:])
tap = Tap(after=bench.clean)
GUEST = bench.guests["store.elf"]
# The repository's documents, without the results of experiments below them.
DOCS = bench.path("docs")
shutil.copytree(os.path.join(os.path.dirname(__file__), "../../docs"), DOCS,
                ignore=shutil.ignore_patterns("experiments"))

OK, NOT_FOUND, FAILED, DENIED, INVALID, TOO_LARGE, EXHAUSTED = 0, 2, 5, 13, 22, 90, 122
GET, LIST, SEARCH, PUT, DELETE = 1, 2, 3, 4, 5
NAME, OFFSET, BYTES, QUERY, LIMIT, DATA, AFTER = 1, 2, 3, 4, 5, 6, 7
WRITE = ["get", "list", "search", "put", "delete"]


def store(*arguments, **keys):
    return bench.command("store", *arguments, **keys)


def good(*arguments, **keys):
    done = store(*arguments, **keys)
    assert done.returncode == 0, done
    return done.stdout


def fresh(name):
    path = bench.path(name)
    for old in (path, path + "-journal"):
        if os.path.exists(old):
            os.unlink(old)
    return path


def corpus(name="corpus.store"):
    """A store with the repository's own documents."""
    path = fresh(name)
    good("import", path, DOCS)
    return path


def empty(name="empty.store"):
    path = fresh(name)
    folder = bench.path("nothing")
    os.makedirs(folder, exist_ok=True)
    good("import", path, folder)
    return path


def digest(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def document(name):
    with open(os.path.join(DOCS, name), "rb") as file:
        return file.read()


def vm_file(path, settings=None, vm=None, **keys):
    port = {"kind": "store", "settings": {"path": path, **(settings or {})}, **keys}
    return bench.write_vm("store.json", image=GUEST, ports=[{"kind": "console"}, port], **(vm or {}))


def words(*commands):
    """Arguments of the guest: commands with "--" between them."""
    arguments = []
    for command in commands:
        arguments += ["--"] * bool(arguments) + [str(word) for word in command]
    return arguments


def run(path, *commands, settings=None, vm=None, **keys):
    """What a guest says that does these commands."""
    ended = bench.run([vm_file(path, settings, vm, **keys), "--", *words(*commands)])
    assert ended.outcome == "exit:0", ended
    return ended.stdout.decode().splitlines()


def fields(*pairs):
    """A payload made of fields, as hexadecimal digits."""
    payload = b""
    for number, value in pairs:
        value = value if isinstance(value, bytes) else str(value).encode()
        payload += struct.pack("<II", number, len(value)) + value + bytes(-len(value) % 8)
    return payload.hex()


def raw(operation, *pairs, argument=0):
    return ("raw", operation, argument, fields(*pairs))


@tap.test("a model reads the repository's documents, and the file stays as it is")
def check_read():
    path = corpus()
    before = digest(path)
    ended = bench.run([vm_file(path), "--", "get", "levels.md"])
    assert ended.outcome == "exit:0" and ended.stdout == document("levels.md"), ended
    text = document("ports.md")
    lines = run(path, ("range", "ports.md", 1000, 20), ("range", "ports.md", len(text) - 5, 100),
                ("range", "ports.md", len(text), 1), ("range", "ports.md", 1 << 62, 1),
                ("range", "ports.md", 0, 0), ("same", "vm-file.schema.json", 20),
                ("get", "none.md"), max_reply_bytes=2048)
    said = "\n".join(lines)
    assert f"status 0, 20 of {len(text)}: {text[1000:1020].decode()}" in said, lines
    assert f"status 0, 5 of {len(text)}: {text[-5:].decode()}" in said, lines
    assert said.count(f"status 0, 0 of {len(text)}: ") == 3, lines
    assert "same 0" in lines and "status 2" in lines, lines
    assert digest(path) == before


@tap.test("any range of any object is what the file has there", needs_kvm=True)
def check_ranges():
    chance = random.Random(5)
    folder = bench.path("ranges")
    os.makedirs(folder, exist_ok=True)
    content = {}
    for name, size in (("binary", 20000), ("one", 1), ("none", 0), ("page", 1536), ("more", 1537)):
        content[name] = bytes(chance.randrange(256) for _ in range(size))
    content["text"] = "".join(chance.choice("äö€😀abc \n") for _ in range(9000)).encode()
    for name, data in content.items():
        with open(os.path.join(folder, name), "wb") as file:
            file.write(data)
    path = fresh("ranges.store")
    good("import", path, folder)
    for name, data in content.items():
        assert good("get", path, name) == data, name
    for name, data in content.items():
        ended = bench.run([vm_file(path, max_reply_bytes=4096), "--", "get", name])
        assert ended.outcome == "exit:0" and ended.stdout == data, (name, ended)
    good("check", path)


@tap.test("pages of a list are the list, whatever their size")
def check_list():
    path = corpus()
    good("import", "--prefix", "docs/", path, DOCS)
    wanted = sorted((prefix + name, os.path.getsize(os.path.join(DOCS, name)))
                    for name in os.listdir(DOCS) for prefix in ("", "docs/"))
    rows = [f"{name} {size}" for name, size in wanted]
    inside = [row for row in rows if row.startswith("docs/")]
    lines = run(path, ("list", "-", 1), ("list", "-", 7), ("list", "-", 0), ("list", "-", 1000),
                ("list", "docs/", 3), ("list", "docs/p", 100), ("list", "nothing", 5))
    said = "\n".join(lines)
    for count, size in ((len(rows), 1), (-(-len(rows) // 7), 7)):
        assert "\n".join(rows + [f"pages {count}"]) in said, size
    assert said.count("\n".join(rows + ["pages 1", ""])) == 2, said
    assert "\n".join(inside + [f"pages {-(-len(inside) // 3)}"]) in said
    assert "\n".join([row for row in inside if row.startswith("docs/p")] + ["pages 1"]) in said
    assert lines[-1] == "pages 1"
    # Replies with room for a few lines only, and for none.
    small = run(path, ("list", "-", 1000), max_reply_bytes=400)
    assert small[:-1] == rows and int(small[-1].split()[1]) > 5, small
    assert run(path, ("list", "-", 1000), max_reply_bytes=272) == [f"status {TOO_LARGE}"]
    listed = json.loads(good("list", "--json", path))
    assert [(row["name"], row["bytes"]) for row in listed["list"]] == wanted
    assert listed["objects"] == len(wanted) and listed["bytes"] == sum(row[1] for row in wanted)


@tap.test("a search finds the best passages first, and says where they are")
def check_search():
    path = corpus()
    hits = json.loads(good("search", "--json", "--limit", "5", path, "doorbell storm poller"))["hits"]
    lines = run(path, ("search", 5, "doorbell storm poller"))
    assert lines == [f"{hit['name']} {hit['offset']} {hit['bytes']}" for hit in hits] + \
        ["search 0"], lines
    assert len(hits) == 5
    for hit in hits:
        data = document(hit["name"])[hit["offset"]:hit["offset"] + hit["bytes"]]
        assert data.decode() == hit["text"], hit
        assert any(word in hit["text"].lower() for word in ("doorbell", "storm", "poll")), hit
    # Inflected words find their stem, accents do not matter.
    text = bench.write("words.txt", "The cafés were isolating\n")
    good("import", path, text)
    assert run(path, ("search", 1, "isolated CAFE"))[0] == "words.txt 0 26"
    assert run(path, ("search", 9, "zzzzqqqq")) == ["search 0"]


SYNTAX = ['"', '""', '"""', "'", "NEAR(level vm)", 'NEAR("level" "vm", 5)', "*", "lev*", "^level",
          "text : level", "{text} : level", "- {text} : level", "level AND NOT vm", "AND", "OR", "NOT",
          "(", ")", "()", "level)", "+", "level + vm", "\\", "%", "word MATCH x", ";--", "x' OR '1'='1",
          "rank", "delete", "integrity-check", "\t\n", "a\"b\"c", "\"a\" OR \"b", ":", "{", "}", "-level",
          "\u0301", "\U0001f600", "a" * 128, " ".join("w%d" % i for i in range(32))]


@tap.test("nothing in a query is syntax")
def check_syntax():
    path = corpus()
    before = digest(path)
    lines = run(path, *(("search", 3, query) for query in SYNTAX if query.strip()))
    ends = [line for line in lines if line.startswith("search ")]
    assert ends == ["search 0"] * len(ends) and \
        len(ends) == len([query for query in SYNTAX if query.strip()]), ends
    # A quoted word finds what the word finds; operators are words like any other.
    plain = run(path, ("search", 5, "levels"))
    for same in ('"levels"', "levels*", "^levels", "(levels)", "-levels"):
        assert run(path, ("search", 5, same)) == plain, same
    assert digest(path) == before


@tap.test("queries are bounded, whole text, and words")
def check_query_bounds():
    path = corpus()
    asked = [
        (TOO_LARGE, b"x" * 1025), (TOO_LARGE, b"x" * 129), (TOO_LARGE, b"x " * 33),
        (OK, b"x " * 32), (OK, b" " * 1023 + b"x"), (INVALID, b""), (INVALID, b"   \n"),
        (INVALID, b"a\0b"), (INVALID, b"\xff"), (INVALID, b"\xc0\xaf"), (INVALID, b"\xed\xa0\x80"),
        (INVALID, b"a\x1bb"), (OK, b'"' * 128), (OK, (b'"' * 31 + b" ") * 32),
    ]
    lines = run(path, *(raw(SEARCH, (QUERY, query)) for _, query in asked))
    assert [int(line.split()[1]) for line in lines] == [status for status, _ in asked], lines


@tap.test("requests that make no sense are refused")
def check_requests():
    path = corpus()
    asked = [
        (OK, raw(GET, (NAME, "ports.md"))),
        (OK, raw(GET, (NAME, "ports.md"), (OFFSET, 5), (BYTES, 5))),
        (INVALID, raw(GET)),
        (INVALID, raw(GET, (NAME, ""))),
        (INVALID, raw(GET, (NAME, "ports.md"), argument=1)),
        (INVALID, raw(GET, (NAME, "ports.md"), (OFFSET, "-1"))),
        (INVALID, raw(GET, (NAME, "ports.md"), (OFFSET, "05"))),
        (INVALID, raw(GET, (NAME, "ports.md"), (OFFSET, 1 << 63))),
        (INVALID, raw(GET, (NAME, "ports.md"), (OFFSET, 1 << 64))),
        (INVALID, raw(GET, (NAME, "ports.md"), (BYTES, "x"))),
        (INVALID, raw(GET, (NAME, "ports.md"), (QUERY, "x"))),
        (INVALID, raw(GET, (NAME, "ports.md"), (DATA, "x"))),
        (INVALID, raw(GET, (NAME, "ports.md"), (NAME, "ports.md"))),
        (INVALID, raw(GET, (OFFSET, 0), (NAME, "ports.md"))),
        (INVALID, raw(GET, (NAME, "ports.md"), (15, "x"))),
        (INVALID, raw(GET, (NAME, "ports.md"), (16, "x"))),
        (INVALID, ("raw", GET, 0, "00")),
        (INVALID, ("raw", GET, 0, "01000000ffffffff")),
        (INVALID, ("raw", GET, 0, fields((NAME, "a"))[:-2] + "01")),
        (INVALID, raw(LIST, (LIMIT, 0))),
        (INVALID, raw(LIST, (LIMIT, 1001))),
        (INVALID, raw(LIST, (NAME, "a%"))),
        (INVALID, raw(LIST, (AFTER, "a//b"))),
        (OK, raw(LIST)),
        (DENIED, raw(0)), (DENIED, raw(6)), (DENIED, raw(63)), (DENIED, raw(PUT, (NAME, "x"), (DATA, ""))),
        (TOO_LARGE, raw(GET, (NAME, "x" * 2041))),
    ]
    lines = run(path, *(command for _, command in asked))
    got = [int(line.split()[1]) for line in lines]
    assert got == [status for status, _ in asked], [
        (a, g) for a, g in zip(asked, got) if a[0] != g]


BAD_NAMES = ["/etc/passwd", "..", ".", "../x", "a/../b", "a/./b", "a//b", "a/", "/", "./a", "a/..",
             "a b", "a\0b", "a\n", "\u00e4", "a%2e", "~", "a\\b", "a:b", "*", "x" * 256, "file:a?mode=rwc"]
GOOD_NAMES = ["a", "...", "..a", "a..", ".a", "a/b", "a/.../b", "x" * 255, "-", "_", "a-b_c.d/E9"]


@tap.test("names are names of objects, never paths")
def check_names():
    path = empty("names.store")
    lines = run(path, *(raw(PUT, (NAME, name), (DATA, "x")) for name in BAD_NAMES + GOOD_NAMES),
                *(raw(GET, (NAME, name)) for name in BAD_NAMES + GOOD_NAMES), operations=WRITE)
    got = [int(line.split()[1]) for line in lines]
    wanted = [INVALID] * len(BAD_NAMES) + [OK] * len(GOOD_NAMES)
    assert got == wanted * 2, got
    listed = json.loads(good("list", "--json", path))["list"]
    assert sorted(row["name"] for row in listed) == sorted(GOOD_NAMES)


@tap.test("put, append and delete, and what stays")
def check_write():
    path = empty("write.store")
    lines = run(path, ("put", "a/note", "first words"), ("append", "a/note", 11, " and others"),
                ("append", "a/note", 11, "again"), ("append", "a/none", 5, "x"),
                ("append", "a/none", 0, "from nothing"), ("get", "a/note"), ("search", 5, "others"),
                ("put", "a/note", "replaced"), ("search", 5, "others"), ("search", 5, "replaced"),
                ("delete", "a/none"), ("delete", "a/none"), ("put", "b", ""), ("list", "-", 9),
                operations=WRITE)
    assert lines == ["put 0", "append 0", f"append {INVALID}", f"append {NOT_FOUND}", "append 0",
                     "first words and otherssearch 0"] or lines[:5] == [
                         "put 0", "append 0", f"append {INVALID}", f"append {NOT_FOUND}",
                         "append 0"], lines
    assert lines[5:] == ["first words and othersa/note 0 22", "search 0", "put 0", "search 0",
                         "a/note 0 8", "search 0", "delete 0", f"delete {NOT_FOUND}", "put 0",
                         "a/note 8", "b 0", "pages 1"], lines
    assert good("get", path, "a/note") == b"replaced"
    good("check", path)
    # The next run finds it.
    assert run(path, ("list", "-", 9), operations=["list"]) == ["a/note 8", "b 0", "pages 1"]


@tap.test("what grows piece by piece is whole, and its words are found across the seams")
def check_grow():
    path = empty("grow.store")
    assert run(path, ("grow", "log", 60, 777), ("grow", "bytes", 300, 1), operations=WRITE) == [
        f"grow {60 * 777}, then 0", "grow 300, then 0"]
    text = good("get", path, "log").decode()
    for word in (text.split()[100], text.split()[110 * 3], text.split()[-2]):
        assert json.loads(good("search", "--json", path, word))["hits"], word
    good("check", path)


@tap.test("without the grant nothing is written, by any operation")
def check_read_only():
    path = corpus("readonly.store")
    before = digest(path)
    tree = sorted(os.listdir(bench.folder))
    os.unlink(path + "-journal")
    lines = run(path, ("put", "ports.md", "x"), ("append", "new", 0, "x"), ("delete", "ports.md"),
                ("search", 3, "level"), ("list", "-", 1))
    assert lines[:3] == [f"put {DENIED}", f"append {DENIED}", f"delete {DENIED}"], lines
    assert digest(path) == before and not os.path.exists(path + "-journal")
    assert path + "-journal" not in tree
    # Only one of the two: the other stays denied.
    lines = run(path, ("put", "new", "x"), ("delete", "ports.md"), operations=["put"])
    assert lines == ["put 0", f"delete {DENIED}"], lines
    lines = run(path, ("put", "new", "x"), ("delete", "new"), operations=["delete"])
    assert lines == [f"put {DENIED}", "delete 0"], lines


@tap.test("quota_bytes and max_objects bound what a model makes, not what it reads")
def check_quota():
    path = empty("quota.store")
    keys = {"operations": WRITE}
    assert run(path, ("fill", 20, 1000), ("fill", 9, 1000), ("put", "x", ""),
               settings={"quota_bytes": 9999}, **keys) == [
                   f"fill 9, then {EXHAUSTED}", "fill 9, then 0", "put 0"]
    # What is replaced or deleted makes room.
    assert run(path, ("delete", "fill/0"), ("fill", 9, 1000), ("put", "y", "z"),
               settings={"quota_bytes": 9000}, **keys) == ["delete 0", "fill 9, then 0",
                                                           f"put {EXHAUSTED}"]
    path = empty("quota.store")
    assert run(path, ("fill", 20, 10), ("put", "fill/3", "again"), ("put", "other", ""),
               settings={"max_objects": 7}, **keys) == [f"fill 7, then {EXHAUSTED}", "put 0",
                                                        f"put {EXHAUSTED}"]
    # Over the quota from the start.
    path = corpus("quota.store")
    assert run(path, ("put", "x", "y"), ("same", "ports.md", 2), ("delete", "ports.md"),
               settings={"quota_bytes": 10}, **keys) == [f"put {EXHAUSTED}", "same 0", "delete 0"]
    good("check", path)


@tap.test("the number of audit records is the number of requests, at VMM and backend")
def check_audit():
    path = empty("audit.store")
    log = bench.path("count.audit")
    ended = bench.run(["--audit", log, vm_file(path, operations=WRITE), "--", *words(
        ("load", 30), ("put", "x", "y"), ("list", "-", 3), raw(GET), raw(9), ("requests",))])
    assert ended.outcome == "exit:0", ended
    wanted = int(ended.stdout.split()[-1])
    records = [record for record in bench.audit(log) if record.get("port") == 1]
    for source in ("vmm", "backend"):
        own = [record for record in records if record["source"] == source]
        asked = [record for record in own if record["type"] == "request"]
        done = [record for record in own if record["type"] == "completion"]
        # What the VMM denies never reaches the backend.
        count = wanted if source == "vmm" else wanted - 1
        assert len(asked) == len(done) == count, (source, len(asked), len(done), wanted)
    backend = {record["cookie"]: record["operation"] for record in records
               if record["source"] == "backend" and record["type"] == "request"}
    vmm = {record["request"]: record["operation"] for record in records
           if record["source"] == "vmm" and record["type"] == "request"
           and record["decision"] == "allow"}
    assert backend == vmm


def store_processes(process):
    """Store processes of a run."""
    return processes_of(process, "guillotine-store")


@tap.test("the process of a store has two files, a filter, little memory, and nothing else")
def check_process():
    for writes in (False, True):
        path = corpus("process.store")
        process = bench.start(["--name", "process", vm_file(
            path, **({"operations": WRITE} if writes else {})), "--", "same", "ports.md", "1000000"])
        bench.wait_running("process", process)
        pid = store_processes(process)[0]
        assert wait_until(lambda pid=pid: process_status(pid)["Seccomp"] == "2", 10)
        status = process_status(pid)
        assert (status["Seccomp"], status["NoNewPrivs"]) == ("2", "1"), status
        assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0, status
        if os.geteuid() == 0:
            assert status["Uid"].split() == ["65534"] * 4, status
            # Its root is empty; what it has open is not below it.
            assert not os.listdir(f"/proc/{pid}/root")
            files = {}
            count = 0
            for fd in os.listdir(f"/proc/{pid}/fd"):
                target = os.readlink(f"/proc/{pid}/fd/{fd}")
                if target.startswith(bench.folder):
                    count += 1
                    with open(f"/proc/{pid}/fdinfo/{fd}", encoding="utf-8") as info:
                        flags = next(line for line in info if line.startswith("flags:"))
                    files.setdefault(os.path.basename(target), set()).add(
                        int(flags.split()[1], 8) & os.O_ACCMODE)
            both = {"process.store": {os.O_RDWR}, "process.store-journal": {os.O_RDWR}}
            assert files == (both if writes else {"process.store": {os.O_RDONLY}}), files
            assert count == len(files), count
        with open(f"/proc/{pid}/limits", encoding="utf-8") as file:
            limit = next(line for line in file if line.startswith("Max address space")).split()[3]
        assert int(limit) < 1 << 30, limit
        assert bench.command("kill", "process", "--runtime-dir", bench.runtime).returncode == 0
        bench.finish(process)


@tap.test("killed in the middle of writes again and again: a restart finds a sound store")
def check_kill():
    path = empty("kill.store")
    process = bench.start(["--name", "killed", vm_file(
        path, operations=WRITE, restart={"max": 1000, "delay_ms": 0}), "--", "load", "0"])
    bench.wait_running("killed", process)
    chance = random.Random(7)
    kills = 0
    hot = 0
    while kills < 40:
        assert wait_until(lambda: store_processes(process), 10), "no store process"
        size = os.path.getsize(path)
        # After some progress of the writer, at any place in it: counted in its system calls.
        pid = store_processes(process)[0]
        before = written(pid)
        goal = chance.randrange(1, 40) * 4096
        wait_until(lambda: (written(pid) or 0) >= (before or 0) + goal or written(pid) is None, 2)
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
        kills += 1
        wait_until(lambda: pid not in store_processes(process), 5)
        with open(path + "-journal", "rb") as journal:
            hot += journal.read(1) not in (b"", b"\0")
        assert process.poll() is None and size >= 0
    assert bench.command("kill", "killed", "--runtime-dir", bench.runtime).returncode == 0
    bench.finish(process)
    checked = json.loads(good("check", "--json", path))
    with sqlite3.connect(path) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        sizes = [row[0] for row in database.execute("SELECT bytes FROM object")]
    assert len(sizes) == checked["objects"]
    # Objects are old or new, never a part of either.
    for row in json.loads(good("list", "--json", path))["list"]:
        data = good("get", path, row["name"])
        head, _, rest = data.partition(b": ")
        assert head.startswith(b"load number ") and len(rest) == 20000 and len(set(rest)) == 1, row
    print(f"# {kills} kills, {hot} in the middle of a transaction, {len(sizes)} objects")


def written(pid):
    """Bytes that a process wrote so far, or None."""
    try:
        with open(f"/proc/{pid}/io", encoding="utf-8") as file:
            return int(dict(line.split(": ") for line in file)["wchar"])
    except (OSError, ValueError, KeyError):
        return None


@tap.test("what a killed writer left: a reader refuses it, check repairs it", needs_kvm=False)
def check_hot_journal():
    path = corpus("hot.store")
    listed = good("list", path)
    script = f"""
import os, sqlite3
database = sqlite3.connect({path!r}, isolation_level=None)
database.execute("PRAGMA cache_size=1")
database.execute("PRAGMA cache_spill=1")
database.execute("BEGIN IMMEDIATE")
database.execute("UPDATE object SET bytes=bytes+1")
database.execute("DELETE FROM passage")
os._exit(1)
"""
    subprocess.run([sys.executable, "-c", script], check=False, timeout=30)
    with open(path + "-journal", "rb") as journal:
        assert journal.read(1) not in (b"", b"\0"), "no transaction is left"
    done = store("list", path)
    assert done.returncode == 65, done
    one_line(done.stderr.decode(), "died half-way", "store check")
    good("check", path)
    assert good("list", path) == listed


def refused(path, *parts, status=65, **keys):
    ended = bench.run([vm_file(path, **keys), "--", "list", "-", "1"])
    assert ended.status in (status, 75), ended
    one_line(ended.stderr, *parts)


@tap.test("files that are not the operator's own are refused")
def check_files():
    path = corpus("own.store")
    link = fresh("link.store")
    os.symlink(path, link)
    refused(link, "link.store")
    os.chmod(path, 0o620)
    refused(path, "can be written by others")
    os.chmod(path, 0o600)
    refused(bench.path("missing.store"), "No such file")
    refused(bench.folder, "not a regular file")
    fifo = fresh("fifo.store")
    os.mkfifo(fifo, 0o600)
    refused(fifo, "not a regular file")
    if os.geteuid() == 0:
        os.chown(path, 12345, 12345)
        refused(path, "belongs to somebody else")
        os.chown(path, 0, 0)
    os.chmod(path + "-journal", 0o666)
    refused(path, "can be written by others", operations=WRITE)
    os.chmod(path + "-journal", 0o600)
    assert run(path, ("range", "ports.md", 0, 7)) == ["status 0, 7 of "
                                                      f"{len(document('ports.md'))}: # Ports"]


@tap.test("a writer is alone, readers share")
def check_locks():
    path = corpus("locks.store")
    reader = bench.start(["--name", "reader", vm_file(path), "--", "same", "ports.md", "1000000"])
    bench.wait_running("reader", reader)
    assert run(path, ("range", "ports.md", 0, 1))[0].startswith("status 0")
    good("list", path)
    refused(path, "is in use", operations=WRITE)
    done = store("import", path, os.path.join(DOCS, "ports.md"))
    assert done.returncode == 75, done
    one_line(done.stderr.decode(), "is in use")
    with sqlite3.connect(path, timeout=0, isolation_level=None) as database:
        try:
            database.execute("DELETE FROM object")
            raise AssertionError("somebody else wrote")
        except sqlite3.OperationalError as error:
            assert "locked" in str(error), error
    assert bench.command("kill", "reader", "--runtime-dir", bench.runtime).returncode == 0
    bench.finish(reader)
    writer = bench.start(["--name", "writer", vm_file(path, operations=WRITE), "--", "load", "0"])
    bench.wait_running("writer", writer)
    done = store("list", path)
    assert done.returncode == 75, done
    one_line(done.stderr.decode(), "is in use")
    assert bench.command("kill", "writer", "--runtime-dir", bench.runtime).returncode == 0
    bench.finish(writer)
    good("check", path)


HOSTILE = {
    "a trigger": "CREATE TRIGGER t AFTER UPDATE ON object BEGIN SELECT 1; END",
    "a view": "CREATE VIEW v AS SELECT 1",
    "another table": "CREATE TABLE other(x)",
    "another index": "CREATE INDEX i ON object(bytes)",
    "another version": "PRAGMA user_version=2",
    "a table less": "DROP TABLE passage",
    "settings of the index": "INSERT INTO word(word,rank) VALUES('automerge',16)",
    "a generated column": "ALTER TABLE object ADD COLUMN evil AS (name||'x')",
    "another virtual table": "CREATE VIRTUAL TABLE x USING fts5(a)",
    "a write-ahead log": "PRAGMA journal_mode=WAL",
}


@tap.test("a database that says more than it should is refused")
def check_hostile_schema():
    for what, sql in HOSTILE.items():
        path = corpus("hostile.store")
        with sqlite3.connect(path, isolation_level=None) as database:
            database.execute(sql)
        database.close()
        refused(path, "store: ")
        done = store("list", path)
        assert done.returncode == 65, (what, done)
        one_line(done.stderr.decode(), "store: ")
    for content in (b"", b"not a database" * 1000, b"SQLite format 3\0" + b"\xff" * 5000):
        path = bench.write("hostile.store", content)
        os.chmod(path, 0o600)
        refused(path, "store: ")


@tap.test("rows that are nonsense are refused one by one")
def check_hostile_rows():
    rows = {
        "UPDATE object SET name='../../etc/passwd' WHERE name='ports.md'": ("list", "-", 100),
        "UPDATE object SET bytes=-1": ("get", "ports.md"),
        "UPDATE object SET bytes=1<<60 WHERE name='ports.md'": ("get", "ports.md"),
        "UPDATE object SET bytes='many' WHERE name='ports.md'": ("get", "ports.md"),
        "UPDATE passage SET at=at+100000 WHERE at>0": ("get", "ports.md"),
        "UPDATE passage SET data=zeroblob(100000) WHERE at=0": ("get", "ports.md"),
        "UPDATE passage SET data='text' WHERE at=0": ("get", "ports.md"),
        "DELETE FROM passage WHERE at>1000": ("get", "ports.md"),
        "DELETE FROM passage WHERE at=0": ("get", "ports.md"),
        "DELETE FROM object WHERE name<>'x'": ("search", 5, "level"),
        "UPDATE passage SET object=object+77777": ("search", 5, "level"),
        "UPDATE word_data SET block=zeroblob(4000) WHERE id>10": ("search", 5, "level"),
        "UPDATE word_data SET block=randomblob(4000) WHERE id>10": ("search", 5, "level"),
        "DELETE FROM word_idx": ("search", 5, "level"),
        "DELETE FROM word_docsize": ("search", 5, "level"),
    }
    for sql, command in rows.items():
        path = corpus("rows.store")
        with sqlite3.connect(path, isolation_level=None) as database:
            database.execute(sql)
        database.close()
        ended = bench.run([vm_file(path), "--", *words(command, ("range", "first.md", 0, 1))])
        said = ended.stdout.decode(errors="replace")
        # Refused at the start, or an error for what is damaged; the process goes on.
        assert ended.status in (0, 65, 75), (sql, ended)
        assert "/etc/passwd" not in said, (sql, said)
        done = store("check", path)
        # FTS5 does not miss rows of the index's directory: words are not found, that is all.
        assert done.returncode == (0 if "word_idx" in sql else 65), (sql, done)


@tap.test("random damage to the file harms nobody")
def check_damage():
    chance = random.Random(11)
    path = corpus("damage.store")
    with open(path, "rb") as file:
        sound = file.read()
    for _ in range(15):
        damaged = bytearray(sound)
        for _ in range(chance.randrange(1, 60)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        with open(path, "wb") as file:
            file.write(damaged)
        ended = bench.run([vm_file(path, restart={"max": 0}), "--", *words(
            ("list", "-", 100), ("search", 50, "level port model"), ("same", "ports.md", 1),
            ("same", "vm-file.md", 1))])
        assert ended.status in (0, 65, 75), ended
        assert "died" not in ended.stderr, ended


@tap.test("import and export: folders, prefixes, links, names, archives", needs_kvm=False)
def check_import():
    folder = bench.path("tree")
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(os.path.join(folder, "a/b"))
    files = {"x.txt": b"x", "a/y": b"", "a/b/" + "n" * 120: b"deep" * 1000}
    for name, data in files.items():
        with open(os.path.join(folder, name), "wb") as file:
            file.write(data)
    os.symlink("/etc/passwd", os.path.join(folder, "link"))
    os.mkfifo(os.path.join(folder, "fifo"))
    path = fresh("import.store")
    assert json.loads(good("import", "--json", path, folder)) == {"files": 3, "bytes": 4001,
                                                                 "skipped": 2}
    good("import", "--prefix", "p/", path, folder)
    good("import", path, os.path.join(folder, "x.txt"))  # replaces
    names = [row["name"] for row in json.loads(good("list", "--json", path))["list"]]
    assert names == sorted([*files, *("p/" + name for name in files)]), names
    assert json.loads(good("list", "--json", "--prefix", "p/a", path))["list"][1]["bytes"] == 0
    out = bench.path("out")
    shutil.rmtree(out, ignore_errors=True)
    good("export", path, out)
    for name, data in files.items():
        for prefix in ("", "p"):
            with open(os.path.join(out, prefix, name), "rb") as file:
                assert file.read() == data
    done = store("export", path, out)
    assert done.returncode == 75, done
    one_line(done.stderr.decode(), "--force")
    good("export", "--force", path, out)
    archive = tarfile.open(fileobj=io.BytesIO(good("export", "--prefix", "a", path, "-")))
    assert {m.name: archive.extractfile(m).read() for m in archive} == {
        name: data for name, data in files.items() if name.startswith("a")}
    # All or nothing.
    before = digest(path)
    with open(os.path.join(folder, "bad name"), "wb") as file:
        file.write(b"x")
    with open(os.path.join(folder, "a/y"), "wb") as file:
        file.write(b"changed")
    done = store("import", path, folder)
    assert done.returncode == 65, done
    one_line(done.stderr.decode(), "bad name")
    assert good("get", path, "a/y") == b"" and good("check", path)
    assert store("get", path, "nothing").returncode == 1
    assert store("delete", path, "x.txt", "nothing").returncode == 1
    assert good("get", path, "x.txt") == b"x"
    good("delete", path, "x.txt", "a/y")
    assert store("get", path, "x.txt").returncode == 1
    good("check", path)
    assert before


@tap.test("export stays beneath its folder", needs_kvm=False)
def check_export():
    path = corpus("escape.store")
    out = bench.path("escape")
    outside = bench.path("outside")
    os.makedirs(out, exist_ok=True)
    os.makedirs(outside, exist_ok=True)
    text = bench.write("plain.txt", b"text")
    good("import", "--prefix", "sub/", path, text)
    os.symlink(outside, os.path.join(out, "sub"))
    for force in ([], ["--force"]):
        done = store("export", *force, "--prefix", "sub/", path, out)
        assert done.returncode == 75, done
    os.unlink(os.path.join(out, "sub"))
    os.makedirs(os.path.join(out, "sub"))
    os.symlink(os.path.join(outside, "file"), os.path.join(out, "sub/plain.txt"))
    for force in ([], ["--force"]):
        done = store("export", *force, "--prefix", "sub/", path, out)
        assert done.returncode == 75, done
    assert not os.listdir(outside)
    # A name that is none: refused where it leaves the database.
    with sqlite3.connect(path, isolation_level=None) as database:
        database.execute("UPDATE object SET name='../outside/evil' WHERE name='sub/plain.txt'")
    database.close()
    done = store("export", "--prefix", ".", path, out)
    assert done.returncode == 65, done
    assert not os.listdir(outside)


@tap.test("the command's usage", needs_kvm=False)
def check_usage():
    assert good("--help").startswith(b"Usage: guillotine store import")
    for arguments in ([], ["list"], ["list", "a", "b"], ["nothing", "x"], ["search", "x"],
                      ["import", "x"], ["search", "--limit", "0", "x", "y"], ["list", "--what", "x"]):
        done = store(*arguments)
        assert done.returncode == 64, (arguments, done)
        one_line(done.stderr.decode(), "guillotine store")
    assert store("list", bench.path("missing.store")).returncode == 65
    with open("/dev/full", "wb") as full:
        done = subprocess.run([bench.guillotine, "store", "list", corpus("full.store")], stdout=full,
                              stderr=subprocess.PIPE, timeout=60, check=False)
    assert done.returncode == 1, done


@tap.test("settings are checked", needs_kvm=False)
def check_settings():
    for port, part in (
            ({}, "/ports/1: a store needs settings"),
            ({"settings": {}}, "/ports/1/settings: missing key 'path'"),
            ({"settings": {"path": ""}}, "/ports/1/settings/path"),
            ({"settings": {"path": "x", "quota_bytes": 0}}, "/ports/1/settings/quota_bytes"),
            ({"settings": {"path": "x", "max_objects": 1 << 25}}, "/ports/1/settings/max_objects"),
            ({"settings": {"path": "x", "mode": "w"}}, "/ports/1/settings/mode: unknown key"),
            ({"settings": {"path": "x"}, "process": False}, "/ports/1/process"),
            ({"settings": {"path": "x"}, "operations": ["read"]}, "/ports/1/operations/0")):
        file = bench.write_vm("settings.json", image=GUEST,
                              ports=[{"kind": "console"}, {"kind": "store", **port}])
        ended = bench.run([file, "--", "list", "-", "1"])
        assert ended.status == 65, (port, ended)
        one_line(ended.stderr, part)
    ended = bench.run(["--image", GUEST, "--port", "store"])
    assert ended.status == 64, ended
    one_line(ended.stderr, "settings")


@tap.test("a policy document decides by names and queries")
def check_policy():
    path = corpus("policy.store")
    policy = {"format": "guillotine-policy/1", "ports": {
        "console": {"kind": "console", "rules": [{"name": "say", "outcome": "allow"}]},
        "store": {"kind": "store", "rules": [
            {"name": "no-keys", "operations": ["search"], "outcome": "deny",
             "where": {"query": {"contains": ["key"], "ignore_case": True}}},
            {"name": "search", "operations": ["search"], "outcome": "allow"},
            {"name": "manual", "operations": ["get", "list"], "outcome": "allow",
             "where": {"name": {"prefix": ["p"]}}},
            {"name": "notes", "operations": ["put"], "outcome": "allow",
             "where": {"name": {"prefix": ["notes/"]}, "data": {"pattern": ["^[a-z ]*$"]}}}]}}}
    file = bench.write("policy.json", json.dumps(policy))
    assert bench.command("policy", "check", file).returncode == 0
    for request, wanted in (
            ({"operation": "get", "fields": {"name": "ports.md"}}, ("allow", "manual")),
            ({"operation": "get", "fields": {"name": "levels.md"}}, ("deny", "default-deny")),
            ({"operation": "list", "fields": {"name": "p", "after": "x"}}, ("allow", "manual")),
            ({"operation": "search", "fields": {"query": "a KEY"}}, ("deny", "no-keys")),
            ({"operation": "put", "fields": {"name": "notes/1", "data": "ab"}}, ("allow", "notes"))):
        done = bench.command("policy", "explain", "--json", file,
                             json.dumps({"port": "store", **request}))
        said = json.loads(done.stdout)
        assert (said["outcome"], said["rule"]) == wanted, (request, said)
    lines = run(path, ("range", "ports.md", 0, 1), ("range", "levels.md", 0, 1), ("list", "-", 1),
                ("search", 1, "levels"), ("search", 1, "the KEYS"), ("put", "notes/a", "text"),
                ("put", "notes/a", "Text"), ("put", "x", "text"), operations=WRITE,
                vm={"policy": policy})
    assert lines[0].startswith("status 0, 1") and lines[1].startswith(f"status {DENIED}"), lines
    assert lines[2] == f"status {DENIED}" and "search 0" in lines, lines
    assert lines[-4:] == [f"search {DENIED}", "put 0", f"put {DENIED}", f"put {DENIED}"], lines


@tap.test("at Probation a store goes on, if it may")
def check_probation():
    path = corpus("probation.store")
    process = bench.start(["--name", "probe", vm_file(path, probation=True), "--", "same", "ports.md",
                           "100000"])
    bench.wait_running("probe", process)

    def served():
        done = bench.command("ports", "--runtime-dir", bench.runtime, "--json", "probe")
        return next(row for row in json.loads(done.stdout)["ports"]
                    if row["name"] == "store")["completions"]

    done = bench.command("isolate", "probe", "probation", "--runtime-dir", bench.runtime)
    assert done.returncode == 0, done
    before = served()
    assert wait_until(lambda: served() > before + 10, 20), served()
    assert bench.command("kill", "probe", "--runtime-dir", bench.runtime).returncode == 0
    bench.finish(process)


@tap.test("nothing is left over")
def check_leftovers():
    bench.check_nothing_left()


def main():
    passed = tap.run()
    bench.close()
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
