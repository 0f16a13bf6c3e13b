#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A level sticks to a VM, its image and its weights, whatever happens to names and files.

Usage: test_register.py GUILLOTINE GUEST.elf...
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

from guest_test import Bench, Skip, Tap, one_line, wait_until

bench = Bench(sys.argv[1], sys.argv[2:])
tap = Tap(after=bench.clean)
ISOLATED = 81
VIOLATION = 80
HONEST = bench.guests["honest.elf"]
EVIL = bench.guests["attack_memory.elf"]
SPIN = bench.guests["attack_hang.elf"]


def run(directories, arguments, guest=None):
    """Runs in a state directory that several launches share."""
    return bench.run(arguments + (["--", *guest] if guest else []), directories=directories)


def violate(directories, *options):
    ended = run(directories, ["--image", EVIL, *options], ["write-code"])
    assert ended.status == VIOLATION, ended


def refused(directories, arguments, *words, guest=("write-code",)):
    ended = run(directories, arguments, guest)
    assert ended.status == ISOLATED, ended
    one_line(ended.stderr, "level", *words)
    bench.check_nothing_left()
    return ended


def listed(directories):
    done = bench.command("register", "list", "--json", *directories[2:])
    assert done.returncode == 0, done
    return json.loads(done.stdout)


def status(directories, name):
    done = bench.command("status", name, "--json", *directories[2:])
    assert done.returncode == 0, done
    return json.loads(done.stdout)


def state_file(directories, name):
    vms = status(directories, name)
    assert len(vms) == 1, vms
    return os.path.join(directories[3], "vms", vms[0]["uuid"] + ".state")


@tap.test("a model that violated is not launched again, and the message says why and what to do")
def check_again():
    place = bench.directories()
    violate(place, "--name", "evil")
    refused(place, ["--image", EVIL, "--name", "evil"], "evil", "offline since 2", "hypervisor",
            "--accept-level-reset")
    shown = status(place, "evil")[0]
    assert shown["level"] == "offline" and not shown["running"] and not shown["key_set"], shown
    text = bench.command("status", "evil", *place[2:])
    assert text.returncode == 0 and b"offline since" in text.stdout, text


@tap.test("renamed, unnamed, copied or in another VM file: the level is the same")
def check_rename():
    place = bench.directories()
    violate(place, "--name", "evil")
    copy = bench.path("copy.elf")
    shutil.copy(EVIL, copy)
    vm = bench.write_vm("renamed.json", name="another", image=copy, vcpus=2)
    for arguments in (["--image", EVIL, "--name", "angel"], ["--image", EVIL],
                      ["--image", copy, "--name", "angel"], [vm]):
        refused(place, arguments, "shares its image or weights")
    assert len(listed(place)) == 1, "a refused launch registers nothing"


@tap.test("the same weights under another name, with another image, from another inode")
def check_weights():
    place = bench.directories()
    weights = bench.write("weights-a", b"w" * 70000)
    copy = bench.write("weights-b", b"w" * 70000)
    other = bench.write("weights-c", b"v" * 70000)
    violate(place, "--name", "evil", "--weights", weights)
    refused(place, ["--image", HONEST, "--weights", copy], "shares", guest=("exit", "0"))
    refused(place, ["--image", HONEST, "--weights", other, "--weights", copy], "shares",
            guest=("exit", "0"))
    assert run(place, ["--image", HONEST, "--weights", other], ["exit", "3"]).status == 3


@tap.test("a VM that is redefined keeps its level, and its new files share it")
def check_redefine():
    place = bench.directories()
    uuid = "11111111-2222-4333-8444-555555555555"
    vm = bench.write_vm("redefined.json", uuid=uuid, name="first", image=EVIL)
    assert run(place, [vm], ["write-code"]).status == VIOLATION
    vm = bench.write_vm("redefined.json", uuid=uuid, name="second", image=HONEST)
    refused(place, [vm], "second", guest=("exit", "0"))
    refused(place, ["--uuid", uuid, "--image", HONEST], "offline", guest=("exit", "0"))
    # Neither has the refused definition tainted files that never ran as this VM.
    assert run(place, ["--image", HONEST], ["exit", "4"]).status == 4
    # One that runs under the UUID is bound to it from then on.
    fresh = bench.directories()
    assert run(fresh, ["--uuid", uuid, "--image", HONEST], ["exit", "4"]).status == 4
    assert run(fresh, ["--uuid", uuid, "--image", EVIL], ["write-code"]).status == VIOLATION
    refused(fresh, ["--image", HONEST, "--name", "new"], "shares", guest=("exit", "0"))


@tap.test("--accept-level-reset starts at Standard, once, and stands in the audit log")
def check_reset():
    place = bench.directories()
    log = bench.path("reset.audit")
    violate(place, "--name", "evil")
    ended = run(place, ["--image", EVIL, "--name", "evil", "--accept-level-reset", "--audit", log],
                ["no-such-attack"])
    assert ended.status < 64 and "reset" in ended.stderr, ended
    types = [record["type"] for record in bench.audit(log) if record["type"] != "measure"]
    assert types[:3] == ["start", "config", "state"], types
    assert status(place, "evil")[0]["level"] == "standard"
    violate(place, "--name", "evil")
    refused(place, ["--image", EVIL, "--name", "evil"])


@tap.test("with a key set, no flag resets a level")
def check_key_set():
    place = bench.directories()
    violate(place, "--name", "evil")
    done = bench.command("quorum", "init", "--demo", "--state-dir", place[3], "--out",
                         bench.path("register-keys"))
    assert done.returncode == 0, done
    ended = run(place, ["--image", EVIL, "--name", "evil", "--accept-level-reset"], ["write-code"])
    assert ended.status == 64 and "quorum" in ended.stderr, ended
    ended = refused(place, ["--image", EVIL, "--name", "evil"], "quorum")
    assert "--accept-level-reset" not in ended.stderr, ended


@tap.test("ordinary ends keep the level: exit, Ctrl-C, kill")
def check_ordinary():
    place = bench.directories()
    for how in ("SIGINT", "kill"):
        process = bench.start(["--image", SPIN, "--port", "console", "--name", "calm", "--",
                               "spin"], directories=place)
        bench.wait_running("calm", process)
        assert status(place, "calm")[0]["running"] is True
        if how == "kill":
            bench.command("kill", "calm", "--runtime-dir", bench.runtime)
        else:
            process.send_signal(signal.SIGINT)
        bench.finish(process)
        shown = status(place, "calm")
        assert len(shown) == 1 and shown[0]["level"] == "standard", shown
        assert shown[0]["running"] is False, shown
    assert status(place, "calm")[0]["launches"] == 2


@tap.test("isolated by an operator: Offline stays; Probation is there from the next start on")
def check_isolated():
    place = bench.directories()
    for level, end in (("probation", "kill"), ("offline", None)):
        process = bench.start(["--image", SPIN, "--port", "console", "--name", "raised", "--",
                               "spin"], directories=place)
        bench.wait_running("raised", process)
        bench.command("isolate", "--runtime-dir", bench.runtime, "raised", level)
        if end:
            bench.command("kill", "raised", "--runtime-dir", bench.runtime)
        assert bench.finish(process).status == 81
        assert status(place, "raised")[0]["level"] == level
        if level == "probation":
            process = bench.start(["--image", SPIN, "--port", "console", "--name", "raised", "--",
                                   "spin"], directories=place)
            assert bench.wait_running("raised", process)["level"] == "probation"
            bench.command("kill", "raised", "--runtime-dir", bench.runtime)
            bench.finish(process)
    refused(place, ["--image", SPIN, "--name", "raised"], "operator", guest=("spin",))


@tap.test("at Severed a VM starts, and its vCPUs do not run")
def check_severed():
    place = bench.directories()
    arguments = ["--image", bench.guests["port_life.elf"], "--port", "loopback:loop", "--name",
                 "cut", "--", "survive", "loop"]
    process = bench.start(arguments, directories=place)
    bench.wait_running("cut", process)
    assert bench.command("isolate", "--runtime-dir", bench.runtime, "cut", "severed").returncode == 0
    bench.command("kill", "cut", "--runtime-dir", bench.runtime)
    bench.finish(process)
    process = bench.start(arguments, directories=place)
    shown = bench.wait_running("cut", process)
    assert shown["level"] == "severed", shown
    time.sleep(0.3)
    after = bench.wait_running("cut", process)
    assert after["ports"][0]["requests"] == 0, after
    bench.command("kill", "cut", "--runtime-dir", bench.runtime)
    ended = bench.finish(process)
    assert ended.status == 81 and ended.result["first_exit_ns"] == 0, ended


@tap.test("a supervisor that is killed leaves Offline")
def check_unclean():
    place = bench.directories()
    process = bench.start(["--image", SPIN, "--port", "console", "--name", "dead", "--", "spin"],
                          directories=place)
    bench.wait_running("dead", process)
    process.kill()
    bench.finish(process)
    assert wait_until(lambda: status(place, "dead")[0]["level"] == "offline", 2)
    bench.clean()  # of the socket that it left
    refused(place, ["--image", SPIN, "--name", "dead"], "cleanly", guest=("spin",))


@tap.test("one UUID runs once at a time; the same files under the same name are two VMs then")
def check_in_use():
    place = bench.directories()
    arguments = ["--image", SPIN, "--port", "console", "--name", "twin", "--", "spin"]
    process = bench.start(arguments, directories=place)
    bench.wait_running("twin", process)
    uuid = status(place, "twin")[0]["uuid"]
    ended = run(place, ["--image", SPIN, "--name", "triplet", "--uuid", uuid], ["spin"])
    assert ended.status == 75 and "running" in ended.stderr, ended
    other = bench.start(["--image", SPIN, "--port", "console", "--", "spin"], directories=place)
    assert wait_until(lambda: len(listed(place)) == 2, 5)
    for child in (process, other):
        child.send_signal(signal.SIGTERM)
        bench.finish(child)
    assert {vm["level"] for vm in listed(place)} == {"standard"}


@tap.test("a state file that is missing, truncated, replaced, writable or a link is Offline")
def check_state_file():
    place = bench.directories()
    honest = ["--image", HONEST, "--name", "honest"]
    assert run(place, honest, ["exit", "3"]).status == 3
    path = state_file(place, "honest")
    with open(path, "rb") as file:
        whole = file.read()

    def check(*words):
        refused(place, honest, *words, guest=("exit", "3"))
        refused(place, ["--image", HONEST, "--name", "alias"], *words, guest=("exit", "3"))

    def put(data):
        if os.path.lexists(path):
            os.unlink(path)
        with open(path, "wb") as file:
            file.write(data)
        os.chmod(path, 0o600)

    # What may be whole is left alone until somebody puts it right.
    os.unlink(path)
    os.symlink(bench.write("elsewhere", whole), path)
    check("link")
    put(whole)
    os.chmod(path, 0o666)
    check("only this user")
    os.chmod(path, 0o600)
    assert run(place, honest, ["exit", "3"]).status == 3
    # What is lost is lost: an older copy does not bring it back.
    with open(path, "rb") as file:
        whole = file.read()
    for length in (0, 1, 512, 4096, len(whole) - 1):
        put(whole[:length])
        check("truncated")
    os.unlink(path)
    check("missing")
    shown = status(place, "honest")[0]
    assert shown["level"] == "offline" and os.path.getsize(path) == len(whole), shown
    put(whole)
    check("rolled back")


@tap.test("a flipped byte anywhere in the state file is Offline")
def check_flipped():
    place = bench.directories()
    honest = ["--image", HONEST, "--name", "honest"]
    for _ in range(2):
        assert run(place, honest, ["exit", "3"]).status == 3
    path = state_file(place, "honest")
    with open(path, "r+b") as file:
        whole = file.read()
        for offset in [*range(0, 512), *range(512, 4096, 97), *range(4096, len(whole))]:
            os.pwrite(file.fileno(), bytes([whole[offset] ^ 0x10]), offset)
            level = status(place, "honest")[0]["level"]
            assert level == "offline", f"byte {offset}: {level}"
            os.pwrite(file.fileno(), whole[offset:offset + 1], offset)
        os.pwrite(file.fileno(), bytes([whole[100] ^ 1]), 100)
    refused(place, honest, "damaged", guest=("exit", "3"))
    ended = run(place, [*honest, "--accept-level-reset"], ["exit", "3"])
    assert ended.status == 3, ended
    assert run(place, honest, ["exit", "3"]).status == 3, "the file is whole again"


@tap.test("a state file that is rolled back is found by the audit log")
def check_rolled_back():
    place = bench.directories()
    honest = ["--image", HONEST, "--name", "honest"]
    assert run(place, honest, ["exit", "3"]).status == 3
    path = state_file(place, "honest")
    with open(path, "rb") as file:
        old = file.read()
    for _ in range(2):
        assert run(place, honest, ["exit", "3"]).status == 3
    with open(path, "r+b") as file:
        file.write(old)
    ended = run(place, honest, ["exit", "3"])
    assert ended.status == ISOLATED, ended
    one_line(ended.stderr, "rolled back")
    assert status(place, "honest")[0]["level"] == "offline"


@tap.test("a state file from before a violation is no way back, whatever log the launch has")
def check_rolled_back_elsewhere():
    place = bench.directories()
    evil = ["--image", EVIL, "--name", "evil"]
    assert run(place, evil, ["no-such-attack"]).status < 64
    path = state_file(place, "evil")
    with open(path, "rb") as file:
        old = file.read()
    assert run(place, evil, ["write-code"]).status == VIOLATION
    with open(path, "r+b") as file:
        file.write(old)
    assert status(place, "evil")[0]["level"] == "offline"
    refused(place, [*evil, "--audit", bench.path("elsewhere.audit")], "rolled back")
    refused(place, ["--image", EVIL, "--name", "alias", "--audit", bench.path("alias.audit")])


@tap.test("a register whose last entry a power cut tore goes on, and loses nobody")
def check_torn_register():
    place = bench.directories()
    done = bench.command("quorum", "init", "--demo", "--state-dir", place[3], "--out",
                         bench.path("torn-keys"))
    assert done.returncode == 0, done
    assert run(place, ["--image", HONEST, "--name", "first"], ["exit", "3"]).status == 3
    path = os.path.join(place[3], "register")
    for number, length in enumerate((1, 512, 1023)):
        with open(path, "rb") as file:
            whole = file.read()
        with open(path, "ab") as file:
            file.write(whole[:length])
        assert run(place, ["--image", HONEST, "--name", "first"], ["exit", "3"]).status == 3
        assert run(place, ["--image", HONEST, "--name", f"n{number}"], ["exit", "3"]).status == 3
        assert os.path.getsize(path) % 1024 == 0
        assert len(listed(place)) == 2 + number
    # The last entry of them is of a VM that ran.
    os.truncate(path, os.path.getsize(path) - 500)
    refused(place, ["--image", HONEST, "--name", "first"], "damaged", guest=("exit", "3"))


@tap.test("a register that is missing, cut or changed makes every launch Offline")
def check_register():
    place = bench.directories()
    assert run(place, ["--image", HONEST, "--name", "first"], ["exit", "3"]).status == 3
    violate(place, "--name", "evil")
    path = os.path.join(place[3], "register")
    with open(path, "rb") as file:
        whole = file.read()
    assert len(whole) == 3072, "two VMs, and that the second one is Offline"
    flipped = bytearray(whole)
    flipped[200] ^= 1
    for content, word in ((b"", "lost"), (whole[:1024], "lost"), (whole[:1500], "damaged"),
                          (bytes(flipped), "damaged"), (whole[1024:], "damaged")):
        with open(path, "wb") as file:
            file.write(content)
        refused(place, ["--image", SPIN, "--name", "new"], word, guest=("spin",))
    os.unlink(path)
    refused(place, ["--image", EVIL, "--name", "new"], "lost")
    # What is accepted starts anew, and what is left of the others stays Offline by UUID.
    ended = run(place, ["--image", HONEST, "--name", "first", "--accept-level-reset"],
                ["exit", "3"])
    assert ended.status == 3, ended
    assert run(place, ["--image", HONEST, "--name", "first"], ["exit", "3"]).status == 3
    assert [vm["level"] for vm in listed(place)].count("offline") == 2, listed(place)


@tap.test("a disk without room: no launch, and nothing is lowered")
def check_full_disk():
    if os.geteuid() != 0:
        raise Skip("needs root to mount a small file system")
    folder = bench.path("small")
    os.mkdir(folder)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "none", folder], check=True)
    try:
        place = ["--runtime-dir", bench.runtime, "--state-dir", folder]
        violate(place, "--name", "evil")
        with open(os.path.join(folder, "filler"), "wb", buffering=0) as file:
            try:
                while file.write(b"x" * 4096):
                    pass
            except OSError:
                pass
        refused(place, ["--image", EVIL, "--name", "evil"])
        ended = run(place, ["--image", SPIN, "--name", "new"], ["spin"])
        assert ended.status in (ISOLATED, 75), ended
        os.unlink(os.path.join(folder, "filler"))
        refused(place, ["--image", EVIL, "--name", "evil"])
    finally:
        subprocess.run(["umount", folder], check=True)


@tap.test("a file that changed under the same name and size is measured again")
def check_measured_again():
    place = bench.directories()
    weights = bench.write("mutable", b"a" * 4096)
    os.utime(weights, (1, 1))
    digests = set()
    for content in (b"a", b"b", b"c"):
        with open(weights, "r+b") as file:
            file.write(content * 4096)
        os.utime(weights, (1, 1))  # the same mtime: only ctime tells
        run(place, ["--image", HONEST, "--name", "n", "--weights", weights], ["exit", "0"])
        digests |= {tuple(vm["weights_sha256"]) for vm in listed(place)}
    assert len(digests) == 3, digests
    # A large one, which the separate program hashes, gives what sha256sum gives.
    large = bench.write("large", os.urandom(3 << 20))
    run(place, ["--image", HONEST, "--name", "l", "--weights", large], ["exit", "0"])
    expected = subprocess.run(["sha256sum", large], check=True, capture_output=True).stdout[:64]
    assert listed(place)[-1]["weights_sha256"] == [expected.decode()], listed(place)[-1]


def main():
    try:
        return 0 if tap.run() else 1
    finally:
        bench.check_nothing_left()
        bench.close()


sys.exit(main())
