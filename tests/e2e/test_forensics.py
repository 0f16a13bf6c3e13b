#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Forensic images, scrubbing and sealed weights of real cells.

Usage: test_forensics.py GUILLOTINE LLM.elf DEMO.gguf GUEST.elf...
"""

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import zlib

from guest_test import Bench, Skip, Tap, children_named, wait_until

LLM, MODEL = (os.path.abspath(path) for path in sys.argv[2:4])
bench = Bench(sys.argv[1], sys.argv[4:])
tap = Tap(after=bench.clean)
RUNTIME = ["--runtime-dir", bench.runtime]
FOLDER = bench.path("kept")  # one state directory for all runs
os.mkdir(FOLDER, 0o700)
STATE = ["--state-dir", FOLDER]
EVIDENCE = bench.guests["evidence.elf"]
IMAGES = os.path.join(FOLDER, "forensics")
PROMPT = ["--", "--prompt", "The lighthouse", "--tokens", "20"]

IMAGE, SCRUBBED, FAILED = 1, 2, 4


def ident(name):
    """A UUID for each VM of these tests."""
    return f"{zlib.crc32(name.encode()):08x}-0000-4000-8000-000000000000"


def start(name, *options):
    """A cell that has said that it is ready."""
    log = bench.path(f"{name}.audit")
    # They all run the same image, and most end at Offline.
    reset = [] if "--state-dir" in options else [*STATE, "--accept-level-reset"]
    process = bench.start(["--name", name, "--uuid", ident(name), *reset, "--audit", log,
                           "--image", EVIDENCE, "--port", "console", *options])
    assert process.stdout.readline() == b"ready\n", bench.finish(process)
    return process, log


def offline(name):
    done = bench.command("isolate", *RUNTIME, name, "offline")
    assert done.returncode == 0, done.stderr


def images(name):
    if not os.path.isdir(IMAGES):
        return []
    return sorted(os.path.join(IMAGES, file) for file in os.listdir(IMAGES)
                  if file.startswith(ident(name) + "-") and file.endswith(".core"))


def open_image(image, *options):
    core = bench.path("core")
    if os.path.exists(core):
        os.unlink(core)
    return bench.command("forensics", "open", image, "--out", core, *STATE, *options), core


def is_vmm(pid):
    """Not the recorder: without it there is no log that could say what was scrubbed."""
    with open(f"/proc/{pid}/comm", encoding="utf-8") as file:
        return file.read().strip() == "guillotine-vmm"


def forensic_events(log):
    return [record["detail"] for record in bench.audit(log) if record["type"] == "forensic"]


def memfds(pid, *names):
    """Descriptors of a process's memfds, held open here."""
    held = {}
    for fd in os.listdir(f"/proc/{pid}/fd"):
        path = f"/proc/{pid}/fd/{fd}"
        try:
            target = os.readlink(path)
        except OSError:
            continue
        for name in names:
            if target.startswith(f"/memfd:{name} "):
                held[f"{name} {fd}"] = os.open(path, os.O_RDONLY)
    return held


def contents(fd):
    """All touched bytes of a memfd."""
    size = os.fstat(fd).st_size
    found, at = [], 0
    while at < size:
        try:
            start_at = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:
            break
        at = os.lseek(fd, start_at, os.SEEK_HOLE)
        found.append(os.pread(fd, at - start_at, start_at))
    return b"".join(found)


def marked_weights(name):
    """Weights that are one marker all over; the marker."""
    marker = b"\xc7\x11" + os.urandom(30)
    return bench.write(name, marker * 8192), marker


@tap.test("offline leaves an image that gdb opens: registers, symbols, memory")
def check_gdb():
    if not shutil.which("gdb"):
        raise Skip("gdb is not installed")
    process, log = start("seen", "--forensics", "--vcpus", "2")
    offline("seen")
    ended = bench.finish(process)
    assert ended.status == 81 and "no key set" in ended.stderr, ended
    image, = images("seen")
    assert stat.S_IMODE(os.stat(image).st_mode) == 0o600
    with open(image, "rb") as file:
        data = file.read()
    assert b"\x7fELF" not in data and b"evid" not in data[4096:], "the image is not encrypted"
    done, core = open_image(image)
    assert done.returncode == 0, done.stderr
    done = subprocess.run(["gdb", "-nx", "-batch", "-ex", "print/x evidence", "-ex",
                           "info symbol $rip", "-ex", "info threads", "-ex", "x/8xb 0x7f0000000000",
                           EVIDENCE, core], capture_output=True, timeout=60, check=False)
    text = done.stdout.decode()
    assert "$1 = 0x6576696465" in text, text + done.stderr.decode()
    # Where the model stood: in main, or in the park call of the runtime below it.
    assert re.search(r"\b(main|cell_\w+|queue_\w+)\b.* in section \.text", text), text
    assert "LWP 1" in text, text
    # The second vCPU is there unless it was stopped before it ever entered.
    with open(core, "rb") as file:
        assert ("LWP 2" in text) != (b'"registers":"unknown"' in file.read()), text
    assert IMAGE in forensic_events(log) and SCRUBBED in forensic_events(log)
    listed = json.loads(bench.command("forensics", "list", "--json", *STATE).stdout)
    assert [entry["vm"] for entry in listed] == [ident("seen")], listed


@tap.test("an image does not open without the VM's key, nor when it was changed")
def check_vm_key():
    image, = images("seen")
    key = os.path.join(FOLDER, "keys", ident("seen") + ".key")
    assert stat.S_IMODE(os.stat(key).st_mode) == 0o600 and os.stat(key).st_size == 32
    with open(image, "rb") as file:
        data = bytearray(file.read())
    data[-100] ^= 1
    done, core = open_image(bench.write("changed.core", bytes(data)))
    assert done.returncode == 65 and not os.path.exists(core), done
    hidden = bench.path("hidden.key")
    os.rename(key, hidden)
    done, core = open_image(image)
    assert done.returncode == 65 and b"no key of " + ident("seen").encode() in done.stderr, done
    assert not os.path.exists(core)
    wrong = bench.write("wrong.key", os.urandom(32))
    os.chmod(wrong, 0o600)
    assert open_image(image, "--vm-key", wrong)[0].returncode == 1
    done, core = open_image(image, "--vm-key", hidden)
    assert done.returncode == 0, done.stderr


@tap.test("a VMM that was killed leaves an image too, with unknown registers")
def check_killed():
    process, log = start("killed", "--forensics")
    vmm, = [pid for pid in os.listdir("/proc") if pid.isdigit() and
            parent_of(pid) == process.pid and comm_of(pid) == "guillotine-vmm"]
    os.kill(int(vmm), signal.SIGKILL)
    ended = bench.finish(process)
    assert ended.status != 0, ended
    image, = images("killed")
    done, core = open_image(image)
    assert done.returncode == 0, done.stderr
    with open(core, "rb") as file:
        data = file.read()
    assert b'"registers":"unknown"' in data
    assert (0x6576696465).to_bytes(8, "little") in data
    assert FAILED not in forensic_events(log), forensic_events(log)


def stat_of(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read()
    except OSError:
        return "0 () Z 0"


def parent_of(pid):
    text = stat_of(pid)
    return int(text[text.rindex(")") + 2:].split()[1])


def comm_of(pid):
    text = stat_of(pid)
    return text[text.index("(") + 1:text.rindex(")")]


@tap.test("with a key set, an image takes one administrator's key and the VM's key")
def check_administrators():
    state = bench.path("administrators")
    os.mkdir(state, 0o700)
    done = bench.command("quorum", "init", "--demo", "--keys", "3", "--raise", "1", "--lower", "2",
                         "--out", bench.path("keys"), "--state-dir", state)
    if b"unknown command" in done.stderr or b"no command" in done.stderr:
        raise Skip("this build has no quorum command")
    assert done.returncode == 0, done.stderr
    bench.command("quorum", "init", "--demo", "--keys", "1", "--raise", "1", "--lower", "1",
                  "--out", bench.path("strangers"), "--state-dir", bench.path("elsewhere"))
    # Images are the default once there are administrators.
    process, _ = start("sealed", "--state-dir", state)
    offline("sealed")
    ended = bench.finish(process)
    assert "one of 3 administrators" in ended.stderr, ended
    folder = os.path.join(state, "forensics")
    image = os.path.join(folder, os.listdir(folder)[0])

    def open_with(*options):
        core = bench.path("administrators.core")
        if os.path.exists(core):
            os.unlink(core)
        return bench.command("forensics", "open", image, "--out", core, "--state-dir", state,
                             *options)

    for number in (1, 3):
        done = open_with("--key", os.path.join(bench.path("keys"), f"demo-{number}.key"))
        assert done.returncode == 0, done.stderr
    assert open_with().returncode == 64
    stranger = os.path.join(bench.path("strangers"), "demo-1.key")
    done = open_with("--key", stranger)
    assert done.returncode == 1 and b"not sealed to this" in done.stderr, done
    os.unlink(os.path.join(state, "keys", ident("sealed") + ".key"))
    done = open_with("--key", os.path.join(bench.path("keys"), "demo-1.key"))
    assert done.returncode == 65 and b"no key of " + ident("sealed").encode() in done.stderr, done


@tap.test("a key set that does not verify gets no image: it is sealed to those of the launch")
def check_forged_key_set():
    state = bench.path("forged")
    foreign = bench.path("foreign")
    os.mkdir(state, 0o700)
    for folder, keys in ((state, "forged-keys"), (foreign, "foreign-keys")):
        done = bench.command("quorum", "init", "--demo", "--keys", "1", "--raise", "1", "--lower",
                             "1", "--out", bench.path(keys), "--state-dir", folder)
        assert done.returncode == 0, done.stderr
    process, _ = start("forged", "--state-dir", state)
    shutil.copy(os.path.join(foreign, "quorum", "keys.json"),
                os.path.join(state, "quorum", "keys.json"))
    offline("forged")
    bench.finish(process)
    folder = os.path.join(state, "forensics")
    image = os.path.join(folder, os.listdir(folder)[0])
    for keys, status in (("foreign-keys", 1), ("forged-keys", 0)):
        done = bench.command("forensics", "open", image, "--out", bench.path(keys + ".core"),
                             "--key", os.path.join(bench.path(keys), "demo-1.key"),
                             "--state-dir", state)
        assert done.returncode == status, (keys, done)


@tap.test("every end scrubs: no page of guest memory, rings or weights is left")
def check_scrub():
    plain, marker = marked_weights("marked")
    sealed = bench.path("marked.sealed")
    done = bench.command("weights", "seal", plain, sealed, "--uuid", ident("scrub"), *STATE)
    assert done.returncode == 0 and b"still exists" in done.stderr, done
    for end in ("offline", "stop", "kill"):
        process, log = start("scrub", "--weights", sealed)
        held = memfds(process.pid, "guillotine-memory", "guillotine-weights",
                      "guillotine-to-host", "guillotine-forensics")
        assert len(held) == 4, held
        assert any(marker in contents(fd) for fd in held.values())
        if end == "offline":
            offline("scrub")
        elif end == "stop":
            process.send_signal(signal.SIGTERM)
        else:
            for pid in os.listdir("/proc"):
                if pid.isdigit() and parent_of(pid) == process.pid and is_vmm(pid):
                    os.kill(int(pid), signal.SIGKILL)
        ended = bench.finish(process)
        for name, fd in held.items():
            assert not contents(fd).strip(b"\0"), (end, name)
            os.close(fd)
        assert SCRUBBED in forensic_events(log), (end, ended)
        os.unlink(log)
        os.unlink(log + ".checkpoint")
        assert not images("scrub")
    bench.check_nothing_left()


@tap.test("sealed weights give the same output, and their plaintext is never on the disk")
def check_weights():
    sealed = bench.path("demo.sealed")
    done = bench.command("weights", "seal", MODEL, sealed, "--uuid", "demo", *STATE)
    assert done.returncode == 0, done.stderr
    outputs = [bench.run([*STATE, "--name", "demo", "--image", LLM, "--port", "console", "--weights", file,
                          *PROMPT]) for file in (MODEL, sealed)]
    assert outputs[0].status == outputs[1].status == 0, [str(end) for end in outputs]
    assert len(outputs[0].stdout) > 20 and outputs[0].stdout == outputs[1].stdout
    assert "still exists" in outputs[1].stderr
    with open(sealed, "rb") as file:
        assert b"GGUF" not in file.read()[8192:]
    shown = json.loads(bench.command("weights", "inspect", "--json", sealed, *STATE).stdout)
    assert shown["plain_bytes"] == os.path.getsize(MODEL) and shown["plaintext_exists"], shown


@tap.test("weights keep their level, sealed, unsealed or sealed anew")
def check_identity():
    state = bench.path("identity")
    first, second = bench.path("one.sealed"), bench.path("two.sealed")
    for sealed in (first, second):
        done = bench.command("weights", "seal", MODEL, sealed, "--uuid", "identity", "--state-dir", state)
        assert done.returncode == 0, done.stderr
    place = ["--runtime-dir", bench.runtime, "--state-dir", state]
    arguments = ["--image", LLM, "--port", "console", "--weights"]
    process, _ = start("identity", "--state-dir", state, "--weights", first)
    offline("identity")
    assert bench.finish(process).status == 81
    for number, weights in enumerate((first, second, MODEL)):
        ended = bench.run(["--name", f"other-{number}", *arguments, weights, *PROMPT],
                          directories=place)
        assert ended.status == 81 and "shares its image or weights" in ended.stderr, ended


@tap.test("sealed weights that were changed, and unsealed ones, are refused before the VM starts")
def check_refused():
    with open(bench.path("demo.sealed"), "rb") as file:
        data = bytearray(file.read())
    data[len(data) // 2] ^= 4
    changed = bench.write("changed.sealed", bytes(data))
    ended = bench.run([*STATE, "--name", "demo", "--image", LLM, "--weights", changed])
    assert ended.status == 65 and "damaged" in ended.stderr, ended
    cut = bench.write("cut.sealed", bytes(data[:-70000]))
    ended = bench.run([*STATE, "--name", "demo", "--image", LLM, "--weights", cut])
    assert ended.status == 65 and "cut off" in ended.stderr, ended
    vm = bench.write_vm("plain.json", image=LLM, weights=[{"file": MODEL, "sealed": True}])
    ended = bench.run([*STATE, vm])
    assert ended.status == 65 and "not sealed" in ended.stderr, ended


@tap.test("without the key neither run nor inspect finds a model, nor does anybody on the disk")
def check_erase():
    plain, marker = marked_weights("erased")
    sealed = os.path.join(FOLDER, "erased.sealed")
    assert bench.command("weights", "seal", plain, sealed, "--uuid", ident("erased"),
                         *STATE).returncode == 0
    os.unlink(plain)
    process, _ = start("erased", "--weights", sealed, "--forensics")
    offline("erased")
    assert bench.finish(process).status == 81
    image, = images("erased")
    os.unlink(os.path.join(FOLDER, "keys", ident("erased") + ".key"))
    for folder, _, files in os.walk(FOLDER):
        for file in files:
            with open(os.path.join(folder, file), "rb") as opened:
                assert marker[:16] not in opened.read(), file
    assert bench.command("weights", "inspect", sealed, *STATE).returncode == 65
    ended = bench.run([*STATE, "--name", "erased", "--accept-level-reset", "--image", EVIDENCE,
                       "--weights", sealed])
    assert ended.status == 65 and "no key of " + ident("erased") in ended.stderr, ended
    assert open_image(image)[0].returncode == 65


@tap.test("a launch that cannot make a copy says so; an ordinary end gives the room back")
def check_reservation():
    process, _ = start("room", "--forensics")
    reserved = os.path.join(IMAGES, ident("room") + ".reserved")
    assert os.stat(reserved).st_blocks * 512 >= 128 << 20, "the room is not reserved"
    process.send_signal(signal.SIGTERM)
    bench.finish(process)
    assert not os.path.exists(reserved) and not images("room")
    os.mkdir(reserved)
    process, log = start("room", "--forensics")
    offline("room")
    ended = bench.finish(process)
    os.rmdir(reserved)
    assert ended.stderr.count("without a copy") == 1, ended
    assert SCRUBBED in forensic_events(log) and not images("room")
    ended = bench.run(["--no-forensics", "--image", bench.guests["hello.elf"]])
    assert "without a copy" in ended.stderr, ended


if __name__ == "__main__":
    passed = tap.run()
    bench.close()
    sys.exit(0 if passed else 1)
