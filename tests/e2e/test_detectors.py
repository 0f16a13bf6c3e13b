#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Detectors on running cells, and over recorded logs (docs/detectors.md).

Usage: test_detectors.py GUILLOTINE GUEST.elf...
"""

import base64
import json
import os
import re
import socket
import struct
import subprocess
import sys
import threading
import time

from guest_test import Bench, Tap, one_line, wait_until

bench = Bench(sys.argv[1], sys.argv[2:])
tap = Tap(after=bench.clean)
EXAMPLE = os.path.join(os.path.dirname(os.path.abspath(__file__)),
                       "../../scripts/examples/detector.py")
TOKEN = "sk-canary-7f3a"


def vm(detectors, *texts, name="watched", loopback=None, repeat=1, **keys):
    arguments = ["repeat", str(repeat)]
    for text in texts:
        arguments += ["loopback", "1", "0", text]
    keys.setdefault("arguments", arguments)
    log = bench.path(f"{name}-{bench.runs}.audit")
    keys.setdefault("image", bench.guests["ask.elf"])
    return bench.write_vm(f"{name}.json", name=name,
                          ports=[{"kind": "console"}, {"kind": "loopback", **(loopback or {})}],
                          audit={"file": log}, detectors=detectors, **keys), log


def alarms(log):
    return [bytes.fromhex(record["data"]).rstrip(b"\0").decode() for record in bench.audit(log)
            if record["type"] == "alarm"]


@tap.test("canary: a token in any form takes the VM to the level of the file, and is in the log")
def check_canary():
    canary = {"canary": {"level": "offline", "tokens": [{"text": TOKEN}]}}
    for said in (TOKEN, TOKEN[::-1], TOKEN.encode().hex(),
                 base64.b64encode(b"ab" + TOKEN.encode() + b"c").decode()):
        file, log = vm(canary, "hello", "x" + said + "y")
        ended = bench.run([file])
        assert ended.status == 81, ended
        assert any(text.startswith("detector canary: loopback: token 1") for text in alarms(log)), \
            alarms(log)
        level = [record for record in bench.audit(log) if record["type"] == "level"][-1]
        assert level["detail"] == 3 and b"canary" in bytes.fromhex(level["data"]), level
    file, log = vm({"canary": {"tokens": [{"text": TOKEN}]}}, TOKEN)
    ended = bench.run([file])
    assert ended.status == 0 and "canary" in ended.stderr and alarms(log), ended


@tap.test("denials: a storm of them; harmless work is left alone")
def check_denials():
    storm = {"denials": {"level": "offline", "count": 50, "within_ms": 60000}}
    file, log = vm(storm, arguments=["repeat", "500", "loopback", "9", "0", "x"])
    ended = bench.run([file])
    assert ended.status == 81, ended
    assert "detector denials: loopback: 50 requests denied" in alarms(log)[0], alarms(log)
    quiet = {kind: {"level": "offline"} for kind in ("rate", "entropy", "denials", "violations",
                                                     "timing")}
    file, log = vm(quiet, "a sentence of harmless work", repeat=400)
    ended = bench.run([file])
    assert ended.status == 0 and not alarms(log), ended


@tap.test("doorbells: a storm without requests; work that rings for its requests is left alone")
def check_doorbells():
    storm = {"doorbells": {"level": "offline", "per_s": 700}}
    file, log = vm(storm, image=bench.guests["ring.elf"], arguments=["100000000", "0"])
    ended = bench.run([file])
    assert ended.status == 81, ended
    assert re.match(r"detector doorbells: \d+ doorbells for \d+ requests in \d+ ms$",
                    alarms(log)[0]), alarms(log)
    # As fast as it can for some seconds, with pollers that sleep whenever they may.
    file, log = vm(storm, "a sentence of harmless work", repeat=100000,
                   loopback={"mode": "doorbell"})
    process = bench.start([file])
    bench.wait_running("watched", process)
    time.sleep(4)
    assert process.poll() is None and bench.port_status("watched", "loopback")["requests"] > 1000
    bench.command("kill", "--runtime-dir", bench.runtime, "watched")
    bench.finish(process)
    assert not alarms(log), alarms(log)


@tap.test("VM file: what is wrong has its place; tokens from files, in hexadecimal")
def check_files():
    bench.write("token", TOKEN + "\n")
    file, log = vm({"canary": {"tokens": [{"file": "token"}, {"hex": "00" * 8}]}}, TOKEN)
    assert bench.run([file]).status == 0 and len(alarms(log)) == 2  # and what it printed
    for detectors, message in (
            ({"rates": {}}, "/detectors/rates: unknown key, did you mean 'rate'?"),
            ({"rate": {"window_ms": 1}}, "/detectors/rate/window_ms: 1 is outside 10 to"),
            ({"rate": {"level": "decapitation"}}, "/detectors/rate/level: "),
            ({"canary": {}}, "missing key 'tokens'"),
            ({"canary": {"tokens": [{"text": "short"}]}}, "a token has 8 to 128 bytes"),
            ({"canary": {"tokens": [{"text": TOKEN, "hex": "00"}]}}, "one of"),
            ({"canary": {"tokens": [{"hex": "0G" * 8}]}}, "hexadecimal"),
            ({"canary": {"tokens": [{"file": "nowhere"}]}}, "nowhere"),
            ({"external": [{"name": "x", "socket": "s" * 200}]}, "at most 107 bytes")):
        file, _ = vm(detectors, "x")
        ended = bench.run([file])
        assert ended.status == 65, (detectors, ended)
        one_line(ended.stderr, message)
    file, _ = vm({"external": [{"name": "gone", "socket": "nobody.sock"}]}, "x")
    ended = bench.run([file])
    assert ended.status == 75 and "detector gone" in ended.stderr, ended


@tap.test("replay: the alarms of a run are those of its log; thresholds can be tried")
def check_replay():
    file, log = vm({"canary": {"tokens": [{"text": TOKEN}]}, "denials": {"count": 3}},
                   loopback={"audit": "full"},
                   arguments=["loopback", "1", "0", TOKEN] + ["loopback", "9", "0", "x"] * 5)
    assert bench.run([file]).status == 0
    assert len(alarms(log)) == 3, alarms(log)
    settings = bench.write("tune.json", json.dumps(
        {"canary": {"tokens": [{"text": TOKEN}]}, "denials": {"count": 3}}))
    done = bench.command("detector", "replay", "--json", "--detectors", settings, log)
    assert done.returncode == 0, done
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [entry["detector"] for entry in told[:-1]] == ["canary", "denials"], told
    assert told[-1]["alarms"] == 2  # the console has no payloads in the log
    done = bench.command("detector", "replay", log)
    assert done.stdout.splitlines()[-1].endswith(b" 0 alarms"), done
    assert bench.command("detector", "list").stdout.startswith(b"rate ")
    assert bench.command("detector", "replay", bench.path("no.audit")).returncode != 0
    assert bench.command("detector", "--help").stdout.startswith(b"Usage:")


def external(name="mine", **keys):
    return {"external": [{"name": name, "socket": "detector.sock", **keys}]}


@tap.test("external: the example detector, as it ships")
def check_example():
    path = bench.path("detector.sock")
    process = subprocess.Popen([sys.executable, EXAMPLE, path, "offline", "plutonium"])
    try:
        assert wait_until(lambda: os.path.exists(path), 10)
        file, log = vm(external(), "fine", repeat=300)
        ended = bench.run([file])
        assert ended.status == 0 and not alarms(log), ended
        file, log = vm(external(), "some plutonium")
        ended = bench.run([file])
        assert ended.status == 81, ended
        assert alarms(log)[0] == "detector mine: port loopback says plutonium", alarms(log)
        file, log = vm(external(level="none"), "some plutonium")
        ended = bench.run([file])
        assert ended.status == 0 and alarms(log), "an alarm goes no higher than the file"
    finally:
        process.kill()
        process.wait()


class Detector:
    """A detector that does what a test wants with each connection."""

    def __init__(self, act):
        self.path = bench.path("detector.sock")
        if os.path.exists(self.path):
            os.unlink(self.path)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen()
        self.thread = threading.Thread(target=self.run, args=(act,), daemon=True)
        self.thread.start()

    def run(self, act):
        connection, _ = self.listener.accept()
        with connection:
            try:
                self.read_frame(connection)
                act(self, connection)
            except (OSError, EOFError):
                pass

    @staticmethod
    def read(connection, length):
        data = b""
        while len(data) < length:
            part = connection.recv(length - len(data))
            if not part:
                raise EOFError
            data += part
        return data

    def read_frame(self, connection):
        length, _ = struct.unpack("<II", self.read(connection, 8))
        return self.read(connection, length)

    @staticmethod
    def verdict(connection, number, level=0, text=b""):
        connection.sendall(struct.pack("<IIQII", 16 + len(text), 3, number, level, 0) + text)


def number_of(body):
    return struct.unpack_from("<Q", body)[0]


@tap.test("external: one that dies, lags or talks nonsense is an alarm with the level of the file")
def check_bad():
    Detector(lambda detector, connection: time.sleep(20))  # reads nothing: its queue fills
    file, log = vm(external(timeout_ms=60000, on_failure="offline"),
                   arguments=["flood", "loopback", "0"], image=bench.guests["ports.elf"])
    ended = bench.run([file])
    assert ended.status == 81 and "too far behind" in alarms(log)[0], (ended, alarms(log))

    def die(detector, connection):
        detector.read_frame(connection)

    def lag(detector, connection):
        while True:
            detector.read_frame(connection)

    def say(bytes_):
        def act(detector, connection):
            detector.read_frame(connection)
            connection.sendall(bytes_)
            time.sleep(5)
        return act

    frames = {"no such frame": struct.pack("<II", 16, 9) + bytes(16),
              "a frame of that length": struct.pack("<II", 1 << 30, 3),
              "that it was not shown": struct.pack("<IIQII", 16, 3, 1 << 60, 0, 0),
              "a level that is none": struct.pack("<IIQII", 16, 3, 1, 4, 0)}
    cases = [(die, "it has gone"), (lag, "no verdict in time")] + \
        [(say(frame), why) for why, frame in frames.items()]
    for act, why in cases:
        Detector(act)
        file, log = vm(external(timeout_ms=300, on_failure="offline"), "hello")
        ended = bench.run([file])
        assert ended.status == 81, (why, ended)
        assert any(why in text for text in alarms(log)), (why, alarms(log))


@tap.test("external: terminal escapes in a verdict are harmless")
def check_escapes():
    def act(detector, connection):
        body = detector.read_frame(connection)
        detector.verdict(connection, number_of(body), 1, b"\x1b[31mred\n")
        while True:
            detector.verdict(connection, number_of(detector.read_frame(connection)))
    Detector(act)
    file, log = vm(external(level="none"), "hello")
    ended = bench.run([file])
    assert ended.status == 0 and "\x1b" not in ended.stderr and "red" in ended.stderr, ended


@tap.test("external: at Probation nothing happens before its verdict; at Standard nobody waits")
def check_synchronous():
    shown = threading.Event()
    go_on = threading.Event()

    def act(detector, connection):
        seen = 0
        while True:
            body = detector.read_frame(connection)
            if b"wait for it" in body:
                shown.set()
                go_on.wait(30)
            seen = number_of(body)
            detector.verdict(connection, seen)

    Detector(act)
    file, log = vm(external(timeout_ms=60000), name="held")
    with open(file, encoding="utf-8") as source:
        described = json.load(source)
    described.update(image=bench.guests["ports.elf"], arguments=["message-echo", "message", "2"],
                     ports=[{"kind": "message", "probation": True}])
    process = bench.start([bench.write("held.json", json.dumps(described))])
    bench.wait_running("held", process)

    def message(command, *rest):
        return subprocess.Popen([bench.guillotine, "message", command, "--runtime-dir",
                                 bench.runtime, *rest, "held", "message"], stdout=subprocess.PIPE)

    assert message("send", "--text", "quick").wait(10) == 0
    assert message("receive").communicate(timeout=10)[0] == b"QUICK"
    done = bench.command("isolate", "--runtime-dir", bench.runtime, "held", "probation")
    assert done.returncode == 0, done
    message("send", "--text", "wait for it").wait(10)
    assert shown.wait(10), "the detector did not see it"
    receiver = message("receive")
    time.sleep(0.5)
    assert receiver.poll() is None, "it passed before the verdict"
    go_on.set()
    assert receiver.communicate(timeout=10)[0] == b"WAIT FOR IT"
    ended = bench.finish(process)
    assert ended.status == 0 and not re.search("detector", ended.stderr), ended
    bench.check_nothing_left()


def main():
    try:
        return 0 if tap.run() else 1
    finally:
        bench.close()


sys.exit(main())
