#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes what the Linux guests of the tests boot: Debian's kernel, the one that the bed runs on too,
and an initramfs of busybox, the modules for our devices, and the tests' init.

Usage: guest_image.py FOLDER    writes vmlinuz, the vmlinux in it, and initrd.cpio there
"""

import os
import stat
import struct
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "bed"))

import image  # noqa: E402

UNPACKERS = {b"\x1f\x8b": ["busybox", "gunzip", "-c"], b"\xfd7zXZ": ["busybox", "unxz", "-c"],
             b"\x02!L\x18": ["lz4", "-dc"], b"\x28\xb5\x2f\xfd": ["zstd", "-dc"]}
MODULES = ["virtio_mmio", "virtio_console", "virtio_blk", "virtio-rng", "vsock",
           "vmw_vsock_virtio_transport"]


def initramfs(kernel):
    archive = image.Cpio()
    for name in ("dev", "proc", "sys", "tmp", "mnt"):
        archive.folder(name)
    archive.entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    archive.file("bin/busybox", image.read(image.find_program("busybox")), 0o755)
    for name in os.listdir(os.path.join(HERE, "guest")):
        archive.file(name, image.read(os.path.join(HERE, "guest", name)), 0o755)
    archive.file("bin/guillotine-agent", image.read(os.path.join(image.BUILD, "guillotine-agent")),
                 0o755)
    archive.file("bin/stream_probe",
                 image.read(os.path.join(image.BUILD, "tests", "linux", "stream_probe")), 0o755)
    order = image.module_order(kernel, MODULES)
    names = [os.path.basename(path) for path in order]
    for path, name in zip(order, names):
        archive.file(f"modules/{name}", image.read(path))
    archive.file("modules/order", ("\n".join(names) + "\n").encode())
    return archive.finish()


def unpacked(kernel):
    """The vmlinux inside of a bzImage (boot.rst: payload_offset, payload_length), or None."""
    start = (kernel[0x1f1] + 1) * 512
    offset, length = struct.unpack_from("<II", kernel, 0x248)
    payload = kernel[start + offset:start + offset + length]
    for magic, command in UNPACKERS.items():
        if payload.startswith(magic):
            # The length behind it is not the program's to understand.
            done = subprocess.run(command, input=payload, capture_output=True, check=False)
            return done.stdout if done.stdout.startswith(b"\x7fELF") else None
    return None


def write_if_changed(path, content):
    if not os.path.exists(path) or image.read(path) != content:
        with open(path + ".new", "wb") as file:
            file.write(content)
        os.rename(path + ".new", path)


def make(folder):
    """Returns the paths of kernel and initramfs."""
    os.makedirs(folder, exist_ok=True)
    kernel = image.kernel_folder()
    paths = os.path.join(folder, "vmlinuz"), os.path.join(folder, "initrd.cpio")
    packed = image.read(os.path.join(kernel, "vmlinuz"))
    whole = os.path.join(folder, "vmlinux")
    if not os.path.exists(whole) or image.read(paths[0]) != packed:
        write_if_changed(whole, unpacked(packed) or b"")
    if not os.path.getsize(whole):
        os.unlink(whole)
    write_if_changed(paths[0], packed)
    write_if_changed(paths[1], initramfs(kernel))
    return paths


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    print("\n".join(make(sys.argv[1])))
