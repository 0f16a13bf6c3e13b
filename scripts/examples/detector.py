#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An external detector (docs/detectors.md): alarms if a request says a forbidden word.

Usage: detector.py SOCKET LEVEL WORD...

Listens on SOCKET for the supervisors of VMs, one after the other. LEVEL is what it asks for:
probation, severed or offline. Only Python's standard library.
"""

import json
import os
import socket
import struct
import sys

HELLO, RECORD, VERDICT = 1, 2, 3
LEVELS = {"none": 0, "probation": 1, "severed": 2, "offline": 3}
# The audit record (policy/audit_record.h), 80 bytes; data follows.
AUDIT = struct.Struct("<IHHQQQQQQIIIIHBBI")
PAYLOAD, REQUEST_SIDE = 11, 0


def read_exactly(connection, length):
    data = b""
    while len(data) < length:
        part = connection.recv(length - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def read_frame(connection):
    length, kind = struct.unpack("<II", read_exactly(connection, 8))
    return kind, read_exactly(connection, length)


def verdict(connection, number, level=0, text=""):
    """On all records up to this one."""
    text = text.encode()[:120]
    connection.sendall(struct.pack("<IIQII", 16 + len(text), VERDICT, number, level, 0) + text)


def serve(connection, level, words):
    kind, body = read_frame(connection)
    hello = json.loads(body)
    if kind != HELLO or hello["format"] != "guillotine-detector/1":
        raise ValueError("not a supervisor of this protocol")
    longest = max(map(len, words))
    tails = {}  # what each port said last: a word may be split over requests
    while True:
        _, body = read_frame(connection)
        (number,) = struct.unpack_from("<Q", body)
        fields = AUDIT.unpack_from(body, 8)
        kind, port, length, detail = fields[1], fields[2], fields[10], fields[16]
        said = ""
        if kind == PAYLOAD and detail == REQUEST_SIDE:
            data = tails.get(port, b"") + body[88:88 + length]
            tails[port] = data[-longest:]
            found = [word for word in words if word in data]
            if found:
                tails[port] = b""
                said = f"port {hello['ports'][port]['name']} says {found[0].decode()}"
        verdict(connection, number, level if said else 0, said)


def main():
    path, level, words = sys.argv[1], LEVELS[sys.argv[2]], [word.encode() for word in sys.argv[3:]]
    if os.path.exists(path):
        os.unlink(path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        os.chmod(path, 0o600)
        listener.listen()
        while True:
            connection, _ = listener.accept()
            with connection:
                try:
                    serve(connection, level, words)
                except (EOFError, OSError):
                    pass


if __name__ == "__main__":
    main()
