#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Bad input: one line that says what to do, the documented status, nothing left behind.

Usage: test_bad_input.py GUILLOTINE GUEST.elf...
"""

import os
import shutil
import stat
import subprocess
import sys
import threading

from elf_patch import bad_images
from guest_test import Bench, Skip, Tap, one_line

NOBODY = 65534
BAD_FILE, USAGE, NO_KVM, RESOURCES, ISOLATED = 65, 64, 69, 75, 81

bench = Bench(sys.argv[1], sys.argv[2:])
tap = Tap(after=bench.clean)
HONEST = ["--image", bench.guests["honest.elf"]]


def refused(arguments, status, *words, **keys):
    """A launch that must fail with `status` and one line that has all `words`."""
    ended = bench.run(arguments, **keys)
    assert ended.status == status, f"expected status {status}: {ended}"
    assert ended.stdout == b"", ended
    one_line(ended.stderr, "guillotine: ", *words)
    bench.check_nothing_left()
    return ended


# VM files: what is wrong, text, place, words.
VM_FILES = [
    ("unknown key", '{"format":"guillotine-vm/1","image":"x","bogus":1}', "1:41: /bogus",
     ["unknown key", "known: "]),
    ("duplicate key", '{"format":"guillotine-vm/1","image":"x",\n  "image":"y"}', "2:3: /image",
     ["duplicate key"]),
    ("unknown key in a port",
     '{"format":"guillotine-vm/1","image":"x","ports":[\n{"kind":"console","rate":5}]}',
     "2:19: /ports/0/rate", ["unknown key"]),
    ("duplicate key in a port",
     '{"format":"guillotine-vm/1","image":"x","ports":[{"kind":"console",\n\n"kind":"console"}]}',
     "3:1: /ports/0/kind", ["duplicate key"]),
    ("comma too many", '{"format":"guillotine-vm/1","image":"x",}', "1:41: ", []),
    ("trailing data", '{"format":"guillotine-vm/1","image":"x"} x', "1:42: ", []),
    ("newer format", '{"format":"guillotine-vm/2","image":"x"}', "1:11: /format", ["newer"]),
    ("no format", '{"image":"x"}', "1:1: ", ["format"]),
    ("no image", '{"format":"guillotine-vm/1"}', "1:1: ", ["image"]),
    ("number out of range", '{"format":"guillotine-vm/1","image":"x","vcpus":17}',
     "1:49: /vcpus", ["1 to 16"]),
    ("number with a fraction", '{"format":"guillotine-vm/1","image":"x","vcpus":1.5}',
     "1:49: /vcpus", []),
    ("wrong type", '{"format":"guillotine-vm/1","image":5}', "1:37: /image", []),
    ("not an object", "[]", "1:1: ", []),
    ("empty", "", "1:1: ", []),
    ("escape sequences", '{"format":"guillotine-vm/1","image":"x","\\u001b[2J":1}', "1:41: ",
     ["unknown key"]),
    ("cores that overlap",
     '{"format":"guillotine-vm/1","image":"x",'
     '"placement":{"model_cores":"0","hypervisor_cores":"0"}}',
     "1:91: /placement/hypervisor_cores", ["model_cores"]),
    ("two ports of one name",
     '{"format":"guillotine-vm/1","image":"x","ports":[{"kind":"console"},{"kind":"console"}]}',
     "1:69: /ports/1", ["console"]),
]


def check_vm_file(text, place, words):
    path = bench.write("bad.json", text)
    refused([path], BAD_FILE, f"{path}:{place}", *words)


@tap.test("VM file: invalid UTF-8, a directory, a FIFO, missing, unreadable", needs_kvm=False)
def check_vm_file_kinds():
    path = bench.write("utf8.json", b'{"format":"guillotine-vm/1","image":"\xff"}')
    refused([path], BAD_FILE, path)
    refused([bench.folder], BAD_FILE, "directory")
    fifo = bench.path("fifo.json")
    os.mkfifo(fifo)
    refused([fifo], BAD_FILE, fifo)
    refused([bench.path("missing.json")], BAD_FILE, "missing.json", "No such file")
    refused([bench.write("large.json", b" " * (2 << 20))], BAD_FILE, "large.json")


@tap.test("image: a directory, missing, a FIFO, a device")
def check_image_kinds():
    refused(["--image", bench.folder], BAD_FILE, "directory")
    refused(["--image", bench.path("missing.elf")], BAD_FILE, "missing.elf", "No such file")
    fifo = bench.path("fifo.elf")
    os.mkfifo(fifo)
    refused(["--image", fifo], BAD_FILE, "not a regular file")
    refused(["--image", "/dev/zero"], BAD_FILE, "not a regular file")


def check_image(data, words):
    refused(["--image", bench.write("bad.elf", data), "--", "exit", "0"], BAD_FILE, words)


@tap.test("image: one bad byte in its headers is refused or runs contained")
def check_image_fuzz():
    with open(bench.guests["honest.elf"], "rb") as file:
        good = file.read()
    for offset in range(0, 64 + 4 * 56, 3):
        data = bytearray(good)
        data[offset] ^= 0x81
        ended = bench.run(["--image", bench.write("fuzz.elf", bytes(data)), "--", "exit", "5"],
                          timeout=10)
        # What runs is another program: it may end as it likes, but only by its own status.
        own = ended.outcome.startswith("exit:") and ended.status <= 63
        assert own or ended.status in (BAD_FILE, RESOURCES, 80), f"byte {offset}: {ended}"
        if not own:
            one_line(ended.stderr)
    bench.check_nothing_left()


@tap.test("weights: missing, empty, a directory, a device, too many")
def check_weights():
    for option in ("--weights", "--weights-copy"):
        refused([*HONEST, option, bench.path("missing.gguf")], BAD_FILE, "missing.gguf")
        refused([*HONEST, option, bench.write("empty.gguf", b"")], BAD_FILE, "empty")
        refused([*HONEST, option, bench.folder], BAD_FILE, "directory")
        refused([*HONEST, option, "/dev/zero"], BAD_FILE, "not a regular file")
    some = bench.write("some.gguf", b"x")
    refused([*HONEST, *["--weights", some] * 17], USAGE, "16")
    assert bench.run([*HONEST, *["--weights", some] * 16, "--", "exit", "4"]).status == 4


def run_truncated(option):
    """Truncates a weights file while the guest waits, then lets it touch the last page."""
    weights = bench.write("weights.gguf", b"\1" * (4 << 20))
    process = bench.start([*HONEST, "--port", "console", option, weights, "--", "touch-weights"],
                          stdin=subprocess.PIPE)
    watchdog = threading.Timer(20, process.kill)
    watchdog.start()
    try:
        assert process.stdout.readline() == b"ready\n"
        os.truncate(weights, 4096)
        ended = bench.finish(process, data=b"x")
    finally:
        watchdog.cancel()
    return ended


@tap.test("weights: truncated while the cell runs")
def check_truncated():
    ended = run_truncated("--weights")
    assert ended.status == ISOLATED, ended
    assert ended.result["outcome"] == "isolated", ended
    one_line(ended.stderr, "truncated")
    bench.check_nothing_left()


@tap.test("weights: a private copy does not notice")
def check_truncated_copy():
    ended = run_truncated("--weights-copy")
    assert ended.outcome == "exit:1", ended


@tap.test("cores that do not exist, overlap, are too few, are no list")
def check_cores():
    refused([*HONEST, "--model-cores", "999"], USAGE, "999", "usable")
    refused([*HONEST, "--hypervisor-cores", "999"], USAGE, "999", "usable")
    cpu = str(min(os.sched_getaffinity(0)))
    refused([*HONEST, "--model-cores", cpu, "--hypervisor-cores", cpu], USAGE, "overlap")
    refused([*HONEST, "--vcpus", "2", "--model-cores", cpu], RESOURCES, "2 vCPUs", "1 given")
    for text in ("", "x", "1-", "3-1", "0,,1", "99999"):
        refused([*HONEST, "--model-cores", text], USAGE)


@tap.test("more memory than the host has, and too little")
def check_memory():
    refused([*HONEST, "--memory", "1024GiB"], RESOURCES, "the host has", "--memory")
    refused([*HONEST, "--memory", "1MiB"], RESOURCES, "memory")
    for text in ("x", "-1", "1.5GiB", "99999999999999999999", "1TB"):
        refused([*HONEST, "--memory", text], USAGE, "--memory")


@tap.test("vCPUs, ports, names that are none")
def check_options():
    for text in ("0", "17", "-1", "x", "1.5"):
        refused([*HONEST, "--vcpus", text], USAGE, "--vcpus")
    refused([*HONEST, "--port", "disk"], USAGE, "console")
    refused([*HONEST, "--port", "console", "--port", "console"], USAGE, "console")
    refused([*HONEST, "--port", "console:UPPER"], USAGE, "UPPER")
    for name in ("Upper", "-x", "a/b", "", "x" * 64):
        refused([*HONEST, "--name", name], USAGE, "--name")
    refused([*HONEST, "--require", "much"], USAGE, "strict")
    refused([*HONEST, "--expect", "violation:"], USAGE, "--expect")


@tap.test("arguments that are too long")
def check_long_arguments():
    ended = bench.run([*HONEST, "--", "exit", "3", "x" * 60000])
    assert ended.status == 3, ended
    refused([*HONEST, "--", "exit", "3", "x" * 70000], USAGE, "65536")


@tap.test("directories that cannot be used")
def check_directories():
    path = bench.write("a-file", "x")
    done = bench.command("run", *HONEST, "--runtime-dir", path, "--state-dir", bench.state)
    assert done.returncode == RESOURCES, done
    one_line(done.stderr.decode(), path)
    done = bench.command("run", *HONEST, "--runtime-dir", bench.runtime, "--state-dir", path)
    assert done.returncode == RESOURCES, done
    one_line(done.stderr.decode(), path)
    bench.check_nothing_left()


def as_root():
    if os.geteuid() != 0:
        raise Skip("needs root")
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        raise Skip("this host denies mount namespaces")


def in_namespace(script, *arguments):
    """Runs a shell script in a mount namespace of its own; "$@" is guillotine run and more."""
    command = [bench.guillotine, "run", *bench.directories(), *arguments]
    return subprocess.run(["unshare", "-m", "sh", "-c", script, "sh", *command],
                          capture_output=True, timeout=30, check=False)


@tap.test("/dev/kvm is missing")
def check_kvm_missing():
    as_root()
    done = in_namespace('mount -t tmpfs none /dev && exec "$@"', *HONEST,
                        "--", "exit", "0")
    assert done.returncode == NO_KVM, done
    one_line(done.stderr.decode(), "/dev/kvm", "kvm_intel", "kvm_amd")
    bench.check_nothing_left()


@tap.test("/dev/kvm is another device")
def check_kvm_other():
    as_root()
    done = in_namespace('mount --bind /dev/null /dev/kvm && exec "$@"', *HONEST, "--", "exit", "0")
    assert done.returncode == NO_KVM, done
    one_line(done.stderr.decode(), "/dev/kvm")
    bench.check_nothing_left()


def reachable_by_all(path):
    """Can a user without rights execute this file?"""
    while path != "/":
        if not os.stat(path).st_mode & stat.S_IXOTH:
            return False
        path = os.path.dirname(path)
    return True


def copy_for_nobody():
    """The programs in a place that everybody may read, and directories that are nobody's."""
    folder = bench.path("everybody")
    if not os.path.exists(folder):
        os.mkdir(folder, 0o755)
        for name in ("guillotine", "guillotine-vmm", "guillotine-recorder", "guillotine-digest",
                     "guillotine-actuator"):
            shutil.copy2(os.path.join(os.path.dirname(bench.guillotine), name), folder)
        for name in ("honest.elf", "hello.elf", "attack_memory.elf"):
            shutil.copy2(bench.guests[name], folder)
        for name in os.listdir(folder):
            os.chmod(os.path.join(folder, name), 0o755)
        for name in ("run", "state"):
            os.mkdir(os.path.join(folder, name), 0o700)
            os.chown(os.path.join(folder, name), NOBODY, NOBODY)
    if not reachable_by_all(os.path.join(folder, "guillotine")):
        raise Skip(f"{folder} is not readable by all")
    return folder


def run_as_nobody(script, guest, *arguments, options=()):
    folder = copy_for_nobody()
    command = ["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups",
               "--no-new-privs", "--inh-caps=-all",
               os.path.join(folder, "guillotine"), "run",
               "--runtime-dir", os.path.join(folder, "run"),
               "--state-dir", os.path.join(folder, "state"),
               "--image", os.path.join(folder, guest), *options, "--", *arguments]
    return subprocess.run(["unshare", "-m", "sh", "-c", script, "sh", *command],
                          capture_output=True, timeout=30, check=False)


@tap.test("/dev/kvm may not be opened")
def check_kvm_denied():
    as_root()
    done = run_as_nobody('exec "$@"', "honest.elf", "exit", "0")
    if done.returncode == 0:
        raise Skip("everybody may open /dev/kvm here")
    assert done.returncode == NO_KVM, done
    one_line(done.stderr.decode(), "/dev/kvm", "group kvm")
    bench.check_nothing_left()


def script_with_open_device():
    """Puts a copy of /dev/kvm that everybody may open in its place, in the namespace only."""
    node = bench.path("kvm-node")
    device = os.stat("/dev/kvm").st_rdev
    if not os.path.exists(node):
        try:
            os.mknod(node, 0o666 | stat.S_IFCHR, device)
            os.chmod(node, 0o666)
        except OSError as error:
            raise Skip(f"mknod: {error.strerror}") from error
    return f'mount --bind {node} /dev/kvm && exec "$@"'


@tap.test("an unprivileged user who may open /dev/kvm runs everything")
def check_unprivileged():
    as_root()
    script = script_with_open_device()
    done = run_as_nobody(script, "honest.elf", "exit", "33")
    if done.returncode == NO_KVM and b"permission denied" in done.stderr:
        raise Skip("device nodes cannot be used where the tests run")
    assert done.returncode == 33, done
    # A layer that the host denies is named, once, in one line.
    if done.stderr:
        one_line(done.stderr.decode(), "sandbox layers")
    done = run_as_nobody(script, "hello.elf", "from nobody", options=["--port", "console"])
    assert done.returncode == 0 and b"from nobody" in done.stdout, done
    done = run_as_nobody(script, "attack_memory.elf", "write-code",
                         options=["--expect", "violation:write-code"])
    assert done.returncode == 0, done
    folder = copy_for_nobody()
    assert not os.listdir(os.path.join(folder, "run"))
    bench.check_nothing_left()


def main():
    for what, text, place, words in VM_FILES:
        tap.add(f"VM file: {what}",
                lambda text=text, place=place, words=words: check_vm_file(text, place, words),
                needs_kvm=False)
    for what, data, words in bad_images(bench.guests["honest.elf"]):
        tap.add(f"image: {what}", lambda data=data, words=words: check_image(data, words))
    try:
        return 0 if tap.run() else 1
    finally:
        bench.close()


sys.exit(main())
