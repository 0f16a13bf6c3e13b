# SPDX-License-Identifier: Apache-2.0
"""The audit log cannot lie: every change of a log is found, and proofs hold elsewhere too."""

import base64
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time

from guest_test import Bench, Skip, Tap, one_line

bench = Bench(sys.argv[1], sys.argv[2:])
tap = Tap(bench.clean)
HEADER_BYTES = 128
PLACE = bench.directories() # one installation: one key
STATE = bench.state
# SubjectPublicKeyInfo of an Ed25519 key, without the key.
ED25519_PREFIX = bytes.fromhex("302a300506032b6570032100")


def record_log(name, *options, guest="hello.elf", arguments=(), status=0):
    """Runs a cell and returns its log."""
    log = bench.path(f"{name}.audit")
    ended = bench.run(["--name", name, "--audit", log, "--image", bench.guests[guest], "--port",
                       "console", *options, "--", *arguments], directories=PLACE)
    assert ended.status == status, ended
    return log


def verify(log, *options):
    return bench.command("audit", "verify", "--state-dir", STATE, *options, log)


def read(path):
    with open(path, "rb") as file:
        return file.read()


def records_of(content):
    """The records of a file, as bytes."""
    found = []
    at = HEADER_BYTES
    while at < len(content):
        size = int.from_bytes(content[at:at + 4], "little")
        found.append(content[at:at + size])
        at += size
    return found


def copy_of(log, name):
    """A copy of a log with its checkpoint, in a place of its own."""
    copy = bench.path(f"{name}.audit")
    shutil.copy(log, copy)
    shutil.copy(log + ".checkpoint", copy + ".checkpoint")
    return copy


def caught(path, what, *options):
    done = verify(path, *options)
    assert done.returncode == 65, f"{what}: {done}"
    one_line(done.stderr.decode())


# An implementation of RFC 9162 of its own.

def leaf_hash(data):
    return hashlib.sha256(b"\0" + data).digest()


def node_hash(left, right):
    return hashlib.sha256(b"\1" + left + right).digest()


def tree_root(leaves):
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    left = 1 << (len(leaves) - 1).bit_length() - 1
    return node_hash(tree_root(leaves[:left]), tree_root(leaves[left:]))


def check_inclusion(proof, root):
    first, last = proof["leaf_index"], proof["tree_size"] - 1
    value = bytes.fromhex(proof["leaf_hash"])
    for step in map(bytes.fromhex, proof["path"]):
        if not last:
            return False
        if first & 1 or first == last:
            value = node_hash(step, value)
            while not first & 1 and first:
                first, last = first >> 1, last >> 1
        else:
            value = node_hash(value, step)
        first, last = first >> 1, last >> 1
    return last == 0 and value == root


def check_consistency(proof, root):
    old, size = proof["from_size"], proof["tree_size"]
    path = [bytes.fromhex(step) for step in proof["path"]]
    start = bytes.fromhex(proof["from_root"])
    if old == size:
        return not path and start == root
    if old & (old - 1) == 0:
        path = [start] + path
    first, last = old - 1, size - 1
    while first & 1:
        first, last = first >> 1, last >> 1
    old_value = value = path[0]
    for step in path[1:]:
        assert last > 0
        if first & 1 or first == last:
            old_value, value = node_hash(step, old_value), node_hash(step, value)
            while not first & 1 and first:
                first, last = first >> 1, last >> 1
        else:
            value = node_hash(value, step)
        first, last = first >> 1, last >> 1
    return last == 0 and value == root and old_value == start


def check_note(text, vkey):
    """Checks a checkpoint's signature with OpenSSL. Returns origin, size and root."""
    name, number, encoded = vkey.strip().split("+", 2)
    key = base64.b64decode(encoded)
    assert key[0] == 1
    expected = hashlib.sha256(name.encode() + b"\n" + key).digest()[:4]
    assert expected.hex() == number
    body, signatures = text.split("\n\n")
    body += "\n"
    mark, signer, signature = signatures.rstrip("\n").split(" ")
    assert mark == "\u2014" and signer == name
    signature = base64.b64decode(signature)
    assert signature[:4] == expected
    public = bench.write("key.der", ED25519_PREFIX + key[1:])
    done = subprocess.run(["openssl", "pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey",
                           public, "-rawin", "-in", bench.write("note", body), "-sigfile",
                           bench.write("signature", signature[4:])],
                          capture_output=True, check=False)
    assert done.returncode == 0, done
    origin, size, root = body.splitlines()[:3]
    return origin, int(size), base64.b64decode(root)


@tap.test("a log that a run wrote is verified, whole and as a copy without its checkpoint")
def check_good():
    log = record_log("good")
    done = verify(log, "--json")
    said = json.loads(done.stdout)
    assert done.returncode == 0 and said["verified"] and said["sealed"], done
    assert said["records"] == len(records_of(read(log)))
    alone = bench.write("alone.audit", read(log))
    assert verify(alone).returncode == 0, "a seal is enough"
    assert verify(log, "--key", os.path.join(STATE, "keys", "log.pub")).returncode == 0
    assert os.stat(os.path.join(STATE, "keys", "log.key")).st_mode & 0o077 == 0


@tap.test("a log says by their SHA-256 what was started, and under which policy")
def check_measures():
    def measures(log):
        return {r["detail"]: r["data"][:64] for r in bench.audit(log) if r["type"] == "measure"}

    backend, image = (os.path.join(os.path.dirname(bench.guillotine), "guillotine-backend"),
                      bench.guests["hello.elf"])
    vm = bench.write_vm("measured.json", image=image, ports=[
        {"kind": "console"}, {"kind": "loopback", "process": True}])
    log = bench.path("measured.audit")
    assert bench.run(["--name", "measured", "--audit", log, vm], directories=PLACE).status == 0
    expected = {1: os.path.join(os.path.dirname(bench.guillotine), "guillotine-vmm"), 2: vm,
                3: image, 5: backend}
    found = measures(log)
    for detail, path in expected.items():
        assert found[detail] == hashlib.sha256(read(path)).hexdigest(), path
    policies = [measures(record_log(f"policy-{number}", *options))[6] for number, options in
                enumerate([[], [], ["--port", "loopback"]])]
    assert policies[0] == policies[1] != policies[2], policies


@tap.test("every byte of log and checkpoint counts")
def check_flips():
    log = record_log("flip", arguments=["x"])
    copy = copy_of(log, "flipped")
    for suffix in ("", ".checkpoint"):
        content = read(log + suffix)
        for at in range(len(content)):
            changed = bytearray(content)
            changed[at] ^= 1 << at % 8
            bench.write("flipped.audit" + suffix, bytes(changed))
            caught(copy, f"byte {at} of the log{suffix}")
        bench.write("flipped.audit" + suffix, content)
    assert verify(copy).returncode == 0


@tap.test("every byte of a sealed log without checkpoint counts")
def check_flips_sealed():
    content = read(bench.path("flip.audit"))
    for at in range(len(content)):
        changed = bytearray(content)
        changed[at] ^= 0x80 >> at % 8
        caught(bench.write("sealed.audit", bytes(changed)), f"byte {at}")


@tap.test("records that are dropped, doubled, moved or cut off are missed")
def check_structure():
    log = bench.path("flip.audit")
    content = read(log)
    copy = copy_of(log, "shape")
    head, records = content[:HEADER_BYTES], records_of(content)
    for i in range(len(records)):
        for name, changed in (
                ("drop", records[:i] + records[i + 1:]),
                ("double", records[:i] + records[i:i + 1] + records[i:]),
                ("swap", records[:i] + records[i:i + 2][::-1] + records[i + 2:])):
            if changed == records:
                continue
            # As it is, and with the numbers put right again.
            fixed = [r[:8] + k.to_bytes(8, "little") + r[16:] for k, r in enumerate(changed)]
            for variant in (changed, fixed):
                if variant == records:
                    continue
                bench.write("shape.audit", head + b"".join(variant))
                caught(copy, f"{name} {i}")
    for length in range(len(content)):
        bench.write("shape.audit", content[:length])
        caught(copy, f"cut to {length}")
    bench.write("shape.audit", content + records[-1])
    caught(copy, "longer")


@tap.test("a log cut at a record is truncated with its checkpoint, and unproven without")
def check_tail():
    content = read(bench.path("flip.audit"))
    records = records_of(content)
    cut = content[:len(content) - len(records[-1]) - len(records[-2])]
    path = bench.write("tail.audit", cut)
    done = verify(path)
    assert done.returncode == 65 and b"tail unproven" in done.stderr, done
    done = verify(path, "--checkpoint", bench.path("flip.audit.checkpoint"))
    assert done.returncode == 65 and b"truncated" in done.stderr, done


@tap.test("two logs spliced, or signed by another key, are no log")
def check_splice():
    first, second = record_log("splice-a"), record_log("splice-b", arguments=["y"])
    a, b = read(first), read(second)
    for at in range(1, len(records_of(a))):
        mixed = a[:HEADER_BYTES] + b"".join(records_of(a)[:at] + records_of(b)[at:])
        for checkpoint in (first, second):
            path = bench.write("mixed.audit", mixed)
            shutil.copy(checkpoint + ".checkpoint", path + ".checkpoint")
            caught(path, f"spliced at {at}")
    shutil.copy(second + ".checkpoint", first + ".checkpoint")
    caught(first, "the checkpoint of another log")
    other = bench.path("other-state")
    os.mkdir(other, 0o700)
    log = bench.path("forged.audit")
    done = bench.command("run", "--runtime-dir", bench.runtime, "--state-dir", other, "--audit", log,
                         "--name", "forged", "--image", bench.guests["hello.elf"])
    assert done.returncode == 0, done
    caught(log, "signed by a wrong key")
    assert verify(log, "--key", os.path.join(other, "keys", "log.pub")).returncode == 0


@tap.test("proofs and signatures hold for an implementation of its own")
def check_proofs():
    log = bench.path("flip.audit")
    vkey = read(os.path.join(STATE, "keys", "log.pub")).decode()
    leaves = [leaf_hash(record) for record in records_of(read(log))]
    origin, size, root = check_note(read(log + ".checkpoint").decode(), vkey)
    assert size == len(leaves) and root == tree_root(leaves)
    assert origin == vkey.split("+")[0] + "/flip"
    for index in range(size):
        done = bench.command("audit", "prove", "--state-dir", STATE, "--record", str(index), log)
        proof = json.loads(done.stdout)
        assert bytes.fromhex(proof["leaf_hash"]) == leaves[index]
        assert check_note(proof["checkpoint"], vkey)[1:] == (size, root)
        assert check_inclusion(proof, root), proof
        assert not check_inclusion({**proof, "leaf_index": (index + 1) % size}, root), proof
        done = bench.command("audit", "prove", "--state-dir", STATE, "--from", str(index + 1), log)
        proof = json.loads(done.stdout)
        assert bytes.fromhex(proof["from_root"]) == tree_root(leaves[:index + 1])
        assert check_consistency(proof, root), proof
    done = bench.command("audit", "prove", "--state-dir", STATE, "--record", str(size), log)
    assert done.returncode == 1, done


@tap.test("a log goes on where it ended, and refuses to go on if it was changed")
def check_goes_on():
    log = record_log("again")
    first = read(log)
    record_log("again", "--witness", bench.path("witness"))
    assert read(log).startswith(first) and verify(log).returncode == 0
    vkey = read(os.path.join(STATE, "keys", "log.pub")).decode()
    notes = read(bench.path("witness")).decode().split("\nguillotine/")
    assert check_note("guillotine/" * (len(notes) > 1) + notes[-1], vkey)[1] == len(records_of(read(log)))
    content, checkpoint = read(log), read(log + ".checkpoint")
    for name, changed, note in (("changed", content[:200] + b"?" + content[201:], checkpoint),
                                ("shortened", content[:-len(records_of(content)[-1])], checkpoint),
                                ("checkpoint missing", content, None)):
        bench.write("again.audit", changed)
        if note:
            bench.write("again.audit.checkpoint", note)
        else:
            os.unlink(log + ".checkpoint")
        ended = bench.run(["--name", "again", "--audit", log, "--image", bench.guests["hello.elf"],
                           "--port", "console"], directories=PLACE)
        assert ended.status == 65 and ended.stdout == b"", f"{name}: {ended}"
        one_line(ended.stderr, "again.audit")
        assert read(log) == changed, name


def start_silent(name, log, guest, word):
    """A model that parks, and the recorder of its log."""
    process = bench.start(["--image", bench.guests[guest], "--port", "console", "--name", name,
                           "--audit", log, "--", word], directories=PLACE)
    bench.wait_running(name, process)
    time.sleep(0.3)
    done = subprocess.run(["ps", "-o", "pid=,comm=", "--ppid", str(process.pid)],
                          capture_output=True, check=False, text=True)
    recorders = [line.split()[0] for line in done.stdout.splitlines() if "guillotine-reco" in line]
    assert len(recorders) == 1, done
    return process, int(recorders[0])


@tap.test("a recorder that hangs isolates the model, also one that says nothing")
def check_recorder_hangs():
    process, recorder = start_silent("hangs", bench.path("hangs.audit"), "port_life.elf", "deaf")
    # It keeps off the model's cores, as its supervisor does.
    if len(os.sched_getaffinity(0)) > 1:
        assert os.sched_getaffinity(recorder) == os.sched_getaffinity(process.pid)
        assert os.sched_getaffinity(recorder) < os.sched_getaffinity(0)
    os.kill(recorder, signal.SIGSTOP)
    ended = bench.finish(process)
    assert ended.status == 81, ended
    one_line(ended.stderr, "stalled")
    bench.check_nothing_left()


@tap.test("a recorder that dies isolates the model; the next run notes the torn tail")
def check_recorder_dies():
    log = bench.path("dies.audit")
    process, recorder = start_silent("dies", log, "attack_hang.elf", "park")
    os.kill(recorder, signal.SIGKILL)
    ended = bench.finish(process)
    assert ended.status == 81, ended
    one_line(ended.stderr, "recorder")
    with open(log, "ab") as file:
        file.write(b"torn")
    assert verify(log).returncode == 65
    record_log("dies") # another image: nothing of the isolated one
    assert verify(log).returncode == 0
    notes = [r for r in bench.audit(log) if r["type"] == "config" and r["source"] == "recorder"]
    assert len(notes) == 1, notes
    bench.check_nothing_left()


@tap.test("a log in several files is one log, and its budget stops the ports")
def check_rotation():
    log = bench.path("rotated.audit")
    vm = bench.write_vm("rotated.json", image=bench.guests["honest.elf"],
                        ports=[{"name": "console", "kind": "console"}],
                        audit={"file": log, "rotate_bytes": 131072})
    ended = bench.run([vm, "--", "write", "3000", "0"], directories=PLACE)
    assert ended.outcome == "exit:3000", ended
    assert verify(log).returncode == 0, verify(log)
    assert os.path.getsize(log) <= 131072
    content = read(log + ".1")
    for at in (0, 64, 72, 80, 127, 500):
        bench.write("rotated.audit.1", content[:at] + bytes([content[at] ^ 1]) + content[at + 1:])
        caught(log, f"byte {at} of the second file")
    os.unlink(log + ".1")
    caught(log, "a file is missing")
    log = bench.path("budget.audit")
    vm = bench.write_vm("budget.json", image=bench.guests["honest.elf"],
                        ports=[{"name": "console", "kind": "console"}],
                        audit={"file": log, "budget_bytes": 262144})
    process = bench.start(["--name", "budget", vm, "--", "write-for-ever"], directories=PLACE)
    time.sleep(1.5)
    shown = bench.command("ports", "--json", "--runtime-dir", PLACE[1], "budget")
    assert json.loads(shown.stdout)["audit_full"] is True, shown
    process.send_signal(signal.SIGTERM)
    ended = bench.finish(process)
    assert ended.stderr.count("used up its budget") == 1, ended
    assert ended.status == 143, ended
    # The budget, and what the one poller's ring still held.
    assert os.path.getsize(log) < 262144 + (1 << 20) + 65536
    assert verify(log).returncode == 0, verify(log)
    assert [r["type"] for r in bench.audit(log)][-2:] == ["end", "seal"]


@tap.test("filters, follow and arguments", needs_kvm=False)
def check_cli():
    for arguments in (["cat", "--type", "nonsense", "x"], ["cat", "--since", "yesterday", "x"],
                      ["prove", "x"], ["verify"], ["cat", "--port"]):
        assert bench.command("audit", *arguments).returncode == 64, arguments
    log = bench.path("flip.audit")
    if not os.path.exists(log):
        raise Skip("no log without KVM")
    done = bench.command("audit", "cat", "--type", "end", "--json", log)
    assert [json.loads(line)["type"] for line in done.stdout.splitlines()] == ["end"]
    assert not bench.command("audit", "cat", "--until", "2001-01-01T00:00:00Z", log).stdout
    followed = bench.command("audit", "follow", "--json", log)
    assert followed.stdout == bench.command("audit", "cat", "--json", log).stdout


def main():
    try:
        return 0 if tap.run() else 1
    finally:
        bench.close()


if __name__ == "__main__":
    sys.exit(main())
