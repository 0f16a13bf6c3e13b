# SPDX-License-Identifier: Apache-2.0
"""The emulated machine: QEMU without KVM, whose processor has AMD's virtualization.

Output of the job, its errors and the report of how it went leave the guest through three ports of
their own (virtio-serial), each a Unix socket here. The serial port has the kernel's messages.
"""

import contextlib
import os
import selectors
import shutil
import socket
import subprocess
import sys
import tempfile
import time

from image import BedError

QEMU = "qemu-system-x86_64"
# One thread per processor: if they took turns, one that executes `pause` would wait for a tenth of
# a second, and so would every loop that waits for another processor. hold_kvm.py has the price.
# Without five-level page tables, which each walk in software would pay for.
PROCESSOR = "max,la57=off"
KERNEL_PARAMETERS = "console=ttyS0 panic=-1 loglevel=4 random.trust_cpu=on"
PORTS = ("output", "errors", "report")


class Machine:
    """What the options say: processors, their topology, memory."""

    def __init__(self, options):
        self.cpus = options.cpus
        self.memory = options.memory
        self.numa = options.numa
        self.append = options.append
        self.topology = [(name, value) for name, value in
                         (("sockets", options.sockets), ("cores", options.cores),
                          ("threads", options.threads)) if value]
        if self.numa and self.cpus < 2:
            raise BedError("--numa makes two nodes: it needs --cpus 2 or more")

    def arguments(self):
        """QEMU's options for all of that."""
        smp = ",".join([str(self.cpus)] + [f"{name}={value}" for name, value in self.topology])
        found = ["-smp", smp, "-m", str(self.memory)]
        if self.numa:
            for node, (first, last) in enumerate(((0, self.cpus // 2 - 1),
                                                  (self.cpus // 2, self.cpus - 1))):
                found += ["-object", f"memory-backend-ram,id=memory{node},size={self.memory // 2}M",
                          "-numa", f"node,nodeid={node},cpus={first}-{last},memdev=memory{node}"]
        return found


def command_line(machine, kernel, initrd, root, folder, shell):
    """QEMU's whole command line."""
    append = f"{KERNEL_PARAMETERS} {machine.append}".strip()
    command = [QEMU, "-M", "q35,usb=off,vmport=off", "-accel", "tcg,thread=multi", "-cpu",
               PROCESSOR, *machine.arguments(), "-nodefaults", "-no-user-config", "-display",
               "none", "-no-reboot", "-kernel", os.path.join(kernel, "vmlinuz"), "-initrd", initrd,
               "-append", append, "-drive", f"file={root},format=raw,if=virtio,readonly=on",
               "-serial", f"file:{folder}/console.log", "-monitor",
               f"unix:{folder}/monitor,server=on,wait=off", "-device", "virtio-serial-pci"]
    for number, name in enumerate(PORTS, 1):
        command += ["-chardev", f"socket,id={name},path={folder}/{name}", "-device",
                    f"virtserialport,chardev={name},nr={number},name={name}"]
    if shell:
        command += ["-chardev", "stdio,id=terminal,signal=off", "-device",
                    "virtconsole,chardev=terminal,nr=4"]
    return command


class Run:
    """One boot of the bed, from the start of QEMU to its end."""

    def __init__(self, machine, kernel, initrd, root, on_output, on_report, shell=False):
        self.on = {"output": on_output[0], "errors": on_output[1], "report": self.reported}
        self.on_report = on_report
        self.lines = b""
        self.is_over = False
        self.deadline = self.limit = 0
        self.folder = tempfile.mkdtemp(prefix="guillotine-bed-")
        self.console = os.path.join(self.folder, "console.log")
        self.listeners = {}
        for name in PORTS:
            self.listeners[name] = socket.socket(socket.AF_UNIX)
            self.listeners[name].bind(os.path.join(self.folder, name))
            self.listeners[name].listen(1)
        initrd_path = os.path.join(self.folder, "initrd")
        with open(initrd_path, "wb") as file:
            file.write(initrd)
        self.command = command_line(machine, kernel, initrd_path, root, self.folder, shell)
        self.shell = shell

    def reported(self, data):
        """Cuts the report into lines."""
        self.lines += data
        *whole, self.lines = self.lines.split(b"\n")
        for line in whole:
            words = line.decode(errors="replace").split()
            if words == ["over"]:
                self.is_over = True
            elif words[:1] == ["ready"]:
                self.deadline = time.monotonic() + self.limit
            self.on_report(words)

    def go(self, boot_seconds, seconds):
        """Boots, and passes on what comes, until the machine is off. False if that took longer than
        `boot_seconds` until it was ready and `seconds` from then on."""
        self.deadline = time.monotonic() + boot_seconds
        self.limit = seconds
        try:
            process = subprocess.Popen(self.command, stdin=None if self.shell else
                                       subprocess.DEVNULL, stdout=None, stderr=None)
        except FileNotFoundError as error:
            raise BedError(f"{QEMU} is not installed: run scripts/packages --bed") from error
        try:
            return self.listen(process)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()

    def listen(self, process):
        with selectors.DefaultSelector() as selector, contextlib.ExitStack() as stack:
            for name, listener in self.listeners.items():
                selector.register(listener, selectors.EVENT_READ, ("accept", name))
            while process.poll() is None:
                if time.monotonic() > self.deadline:
                    return False
                for key, _ in selector.select(0.2):
                    self.handle(selector, stack, key)
            # What was sent just before the end.
            while selector.get_map() and (ready := selector.select(0)):
                for key, _ in ready:
                    self.handle(selector, stack, key)
        return True

    def handle(self, selector, stack, key):
        kind, name = key.data
        if kind == "accept":
            connection = stack.enter_context(key.fileobj.accept()[0])
            selector.unregister(key.fileobj)
            selector.register(connection, selectors.EVENT_READ, ("read", name))
            return
        data = key.fileobj.recv(65536)
        if data:
            self.on[name](data)
        else:
            selector.unregister(key.fileobj)

    def console_tail(self, lines=30):
        """The last of the kernel's messages."""
        try:
            with open(self.console, encoding="utf-8", errors="replace") as file:
                return "".join(file.readlines()[-lines:])
        except OSError:
            return ""

    def close(self, keep):
        """Removes the run's folder, or says where it is."""
        for listener in self.listeners.values():
            listener.close()
        if keep:
            print(f"bed: kept: {self.folder}", file=sys.stderr)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)
