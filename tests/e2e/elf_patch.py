# SPDX-License-Identifier: Apache-2.0
"""Bad images, made from a good one by changing bytes of its headers."""

import struct

EM_AARCH64 = 183
ET_DYN = 3
ET_REL = 1
PT_LOAD = 1
PT_INTERP = 3
PT_TLS = 7
PF_X, PF_W, PF_R = 1, 2, 4

# Offsets in Elf64_Ehdr and Elf64_Phdr.
E_CLASS, E_TYPE, E_MACHINE, E_ENTRY, E_PHOFF, E_PHNUM = 4, 16, 18, 24, 32, 56
P_TYPE, P_FLAGS, P_OFFSET, P_VADDR, P_FILESZ, P_MEMSZ = 0, 4, 8, 16, 32, 40
PHDR_SIZE = 56


class Elf:
    """A mutable copy of an ELF file."""

    def __init__(self, path):
        with open(path, "rb") as file:
            self.data = bytearray(file.read())

    def get(self, form, offset):
        return struct.unpack_from("<" + form, self.data, offset)[0]

    def put(self, form, offset, value):
        struct.pack_into("<" + form, self.data, offset, value)

    def program(self, index):
        """Offset of a program header."""
        return self.get("Q", E_PHOFF) + index * PHDR_SIZE

    def loads(self):
        """Indices of the loadable segments."""
        return [i for i in range(self.get("H", E_PHNUM))
                if self.get("I", self.program(i) + P_TYPE) == PT_LOAD]

    def others(self):
        """Indices of the other program headers."""
        return [i for i in range(self.get("H", E_PHNUM)) if i not in self.loads()]


def bad_images(good):
    """Yields (what, bytes, words of the message)."""

    def make(change):
        elf = Elf(good)
        change(elf)
        return bytes(elf.data)

    def header(form, offset, value):
        return make(lambda elf: elf.put(form, offset, value))

    def segment(number, form, offset, value):
        return make(lambda elf: elf.put(form, elf.program(elf.loads()[number]) + offset, value))

    def other(kind):
        return make(lambda elf: elf.put("I", elf.program(elf.others()[0]) + P_TYPE, kind))

    def onto_first(elf):
        first, last = elf.loads()[0], elf.loads()[-1]
        elf.put("Q", elf.program(last) + P_VADDR, elf.get("Q", elf.program(first) + P_VADDR))

    whole = make(lambda elf: None)
    yield "no ELF file", b"#!/bin/sh\n" * 100, "not an ELF file"
    yield "shorter than a header", whole[:63], "not an ELF file"
    yield "empty", b"", "empty"
    yield "32 bits", header("B", E_CLASS, 1), "64-bit"
    yield "another machine", header("H", E_MACHINE, EM_AARCH64), "machine 183"
    yield "ET_DYN", header("H", E_TYPE, ET_DYN), "ET_DYN"
    yield "ET_REL", header("H", E_TYPE, ET_REL), "ET_EXEC"
    yield "no program headers", header("H", E_PHNUM, 0), "program headers"
    yield "65,535 program headers", header("H", E_PHNUM, 0xffff), "program headers"
    yield "program headers behind the end", header("Q", E_PHOFF, len(whole)), "truncated"
    yield "program headers at 2^64", header("Q", E_PHOFF, 2**64 - 8), "truncated"
    yield "truncated", whole[:4096], "truncated"
    yield "segment behind the end", segment(0, "Q", P_OFFSET, 1 << 40), "truncated"
    yield "segment of 2^64 bytes", segment(0, "Q", P_MEMSZ, 2**64 - 1), "segment"
    yield "file size beyond memory size", segment(0, "Q", P_MEMSZ, 1), "segment"
    yield "writable and executable", segment(0, "I", P_FLAGS, PF_R | PF_W | PF_X), (
        "writable and executable")
    yield "segments that overlap", make(onto_first), "overlaps"
    yield "segment at address 0", segment(0, "Q", P_VADDR, 0), "outside"
    yield "segment in the upper half", segment(0, "Q", P_VADDR, 0xffffffff80000000), "outside"
    yield "segment over the system pages", segment(0, "Q", P_VADDR, 0x7f0000000000), "outside"
    yield "entry outside of code", header("Q", E_ENTRY, 0x123), "entry"
    yield "interpreter", other(PT_INTERP), "dynamically linked"
    yield "thread-local storage", other(PT_TLS), "thread-local"
