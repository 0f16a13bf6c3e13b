# SPDX-License-Identifier: Apache-2.0
"""What the emulated host boots from: its kernel, its initramfs and its root file system.

The kernel and its modules come from a Debian package that is downloaded once. Everything else is
copied from this host: programs of Debian packages with the shared libraries that they need,
Python's standard library, our tests, and what was built. The initramfs mounts the root file system,
an ext4 image that the guest cannot write to: neither a test nor a crash changes what the next sees.
"""

import glob
import gzip
import hashlib
import io
import os
import re
import shutil
import stat
import subprocess
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HERE = os.path.join(ROOT, "tests", "bed")
BUILD = os.path.join(ROOT, "build")
# Where both are in the guest. Not below /tmp and the like, which are file systems of their own.
GUEST_ROOT = "/guillotine"
GUEST_BUILD = "/guillotine/build"

KERNEL_META_PACKAGE = "linux-image-cloud-amd64"
# With everything that they depend on, in this order. A path is below the modules' kernel/.
MODULES = ["virtio_pci", "virtio_blk", "virtio_console", "kvm-amd", "msr", "dummy"]

# Programs that tests call and busybox lacks or does in another way. Those that this host has not
# are left out: a test that needs one says so.
PROGRAMS = ["bash", "strace", "taskset", "setpriv", "unshare", "prlimit", "chrt",
            "nsenter", "openssl", "curl", "ip", "ss", "stdbuf"]
# Libraries that are loaded by name while a program runs, so that ldd does not show them.
LOADED_LIBRARIES = ["libnss_files.so.2", "libnss_dns.so.2", "libgcc_s.so.1", "libresolv.so.2"]
LIBRARY_FOLDER = "/usr/lib/x86_64-linux-gnu"
# Of Python's library: no part of the standard library, or huge and for nobody here.
PYTHON_LEFT_OUT = {"dist-packages", "test", "idlelib", "lib2to3", "tkinter", "ensurepip",
                   "pydoc_data", "turtledemo"}

# Of the sources. Folders are copied whole.
SOURCES = ["tests/e2e", "tests/bed", "docs", "models/agent", "models/demo", "scripts"]
# Of the build folder: programs and files that tests name only through their neighbours.
BUILT = ["guillotine", "guillotine-*", "*.elf", "llm-host", "agent-host", "*.json", "*.gguf",
         "tests/guests/*.elf", "tests/e2e/fallen_*", "linux-guest/*"]
BUILT_LEFT_OUT = re.compile(r"\.p$|\.p/|compile_commands\.json$")

# Folders that other file systems are mounted on, or that must be there.
FOLDERS = ["dev", "proc", "sys", "tmp", "run", "var", "root", "etc", "home", "mnt", "bed"]
LINKS = {"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64"}
ETC = {
    "passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"
              "user:x:1000:1000:user:/tmp:/bin/sh\n",
    "group": "root:x:0:\nnogroup:x:65534:\nuser:x:1000:\n",
    "hosts": "127.0.0.1 localhost bed\n::1 localhost\n",
    "hostname": "bed\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    "resolv.conf": "",
}
# The image's size beyond its files: metadata, and room for growing tables.
IMAGE_SLACK = 1.15
IMAGE_EXTRA_MIB = 16
# Older images are removed when one more is made.
KEPT_IMAGES = 2


class BedError(Exception):
    """The bed itself cannot do its work; the message says what to do."""


def call(command, **keys):
    """Runs a program of this host and returns its output; a failure is an error of the bed."""
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True, **keys).stdout
    except FileNotFoundError as error:
        raise BedError(f"{command[0]} is not installed: run scripts/packages --bed") from error
    except subprocess.CalledProcessError as error:
        said = (error.stderr or error.stdout or "").strip()
        raise BedError(f"{' '.join(command)} failed: {said[-800:]}") from error


def cache_folder():
    """Where kernel and images are kept: $XDG_CACHE_HOME/guillotine-bed or build/bed-cache."""
    home = os.environ.get("XDG_CACHE_HOME")
    folder = os.path.join(home, "guillotine-bed") if home else os.path.join(BUILD, "bed-cache")
    os.makedirs(folder, exist_ok=True)
    return folder


# The kernel


def download_kernel(folder):
    """Downloads the cloud kernel that Debian has now and unpacks it into the cache."""
    depends = re.search(r"Depends: (linux-image-\S+-cloud-amd64)",
                        call(["apt-cache", "depends", KERNEL_META_PACKAGE]))
    if not depends:
        raise BedError(f"apt knows no {KERNEL_META_PACKAGE}: the bed needs Debian 12's package "
                       "lists (apt-get update)")
    with tempfile.TemporaryDirectory(dir=folder) as work:
        # apt downloads as a user of its own, if that one can write here.
        call(["apt-get", "download", "-o", "APT::Sandbox::User=root", depends[1]], cwd=work)
        package = glob.glob(os.path.join(work, "*.deb"))[0]
        unpacked = os.path.join(work, "unpacked")
        call(["dpkg-deb", "-x", package, unpacked])
        version = os.listdir(os.path.join(unpacked, "lib/modules"))[0]
        kept = os.path.join(work, "kept")
        os.mkdir(kept)
        os.rename(os.path.join(unpacked, "boot", f"vmlinuz-{version}"),
                  os.path.join(kept, "vmlinuz"))
        os.rename(os.path.join(unpacked, "boot", f"config-{version}"), os.path.join(kept, "config"))
        os.rename(os.path.join(unpacked, "lib/modules", version, "kernel"),
                  os.path.join(kept, "modules"))
        target = os.path.join(folder, f"kernel-{version}")
        if not os.path.exists(target):
            os.rename(kept, target)
    return target


def kernel_folder():
    """The newest kernel of the cache, downloaded if there is none. Works offline afterwards."""
    folder = cache_folder()
    kept = glob.glob(os.path.join(folder, "kernel-*"))
    if kept:
        return max(kept, key=os.path.getmtime)
    return download_kernel(folder)


def module_order(kernel, wanted):
    """Paths of the wanted modules and of what they depend on, each after what it needs."""
    paths = {}
    for folder, _, names in os.walk(os.path.join(kernel, "modules")):
        for name in names:
            if name.endswith(".ko"):
                paths[name[:-3].replace("-", "_")] = os.path.join(folder, name)
    order = []

    def add(name):
        path = paths.get(name.replace("-", "_"))
        if not path:
            raise BedError(f"the kernel {os.path.basename(kernel)} has no module {name}")
        if path in order:
            return
        with open(path, "rb") as file:
            depends = re.search(rb"\0depends=([^\0]*)\0", file.read())
        for needed in depends[1].decode().split(",") if depends else []:
            if needed:
                add(needed)
        order.append(path)

    for name in wanted:
        add(name)
    return order


# The initramfs


class Cpio:
    """An archive in the format that the kernel unpacks, made in memory."""

    def __init__(self):
        self.out = io.BytesIO()
        self.inode = 0
        self.folders = set()

    def entry(self, name, mode, content=b"", device=(0, 0)):
        self.inode += 1
        fields = [self.inode, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(name) + 1, 0]
        self.out.write(b"070701" + b"".join(b"%08X" % field for field in fields))
        self.out.write(name.encode() + b"\0")
        self.pad()
        self.out.write(content)
        self.pad()

    def pad(self):
        self.out.write(b"\0" * (-self.out.tell() % 4))

    def folder(self, name):
        """A folder and all above it, once."""
        parts = name.split("/")
        for count in range(1, len(parts) + 1):
            path = "/".join(parts[:count])
            if path and path not in self.folders:
                self.folders.add(path)
                self.entry(path, stat.S_IFDIR | 0o755)

    def file(self, name, content, mode=0o644):
        self.folder(os.path.dirname(name))
        self.entry(name, stat.S_IFREG | mode, content)

    def finish(self):
        self.entry("TRAILER!!!", 0)
        return self.out.getvalue()


def read(path):
    with open(path, "rb") as file:
        return file.read()


def find_program(name):
    """A program of Debian's packages, or None; what else a PATH may hold is not for others."""
    return shutil.which(name, path="/usr/bin:/usr/sbin:/bin:/sbin")


def initramfs(kernel, job):
    """The initramfs of one boot. `job` is the shell script that the booted bed runs."""
    busybox = find_program("busybox")
    if not busybox:
        raise BedError("busybox is not installed: run scripts/packages --bed")
    archive = Cpio()
    for name in ("dev", "proc", "sys", "root"):
        archive.folder(name)
    archive.entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    archive.file("bin/busybox", read(busybox), 0o755)
    archive.file("init", read(os.path.join(HERE, "init")), 0o755)
    order = module_order(kernel, MODULES)
    names = [os.path.basename(path) for path in order]
    for path, name in zip(order, names):
        archive.file(f"modules/{name}", read(path))
    archive.file("modules/order", ("\n".join(names) + "\n").encode())
    archive.file("job", job.encode(), 0o755)
    return gzip.compress(archive.finish(), 1, mtime=0)


# The root file system


def shared_libraries(paths):
    """What the dynamically linked ones of these programs load, by ldd."""
    found = set()
    for path in paths:
        with open(path, "rb") as file:
            if file.read(4) != b"\x7fELF":
                continue
        done = subprocess.run(["ldd", path], capture_output=True, text=True, check=False)
        found.update(re.findall(r"(/\S+\.so\S*)", done.stdout))
    return found


class Contents:
    """What lies in the image: host paths, texts and links by their place in the guest."""

    def __init__(self):
        self.files = {}
        self.texts = dict(("etc/" + name, text) for name, text in ETC.items())
        self.links = dict(LINKS)

    def add(self, source, target=None):
        """A file, as what it leads to if it is a link. `target` is its place, or the host's."""
        place = (target or source).lstrip("/")
        for link, folder in LINKS.items():
            if place.startswith(link + "/"):
                place = folder + place[len(link):]
        self.files[place] = source

    def add_tree(self, source, target, left_out=frozenset()):
        for folder, folders, names in os.walk(source):
            folders[:] = sorted(set(folders) - left_out)
            for name in sorted(names):
                path = os.path.join(folder, name)
                if os.path.isfile(path):
                    self.add(path, os.path.join(target, os.path.relpath(path, source)))

    def fingerprint(self):
        """Changes when anything that would be in the image does."""
        digest = hashlib.sha256()
        for place, source in sorted(self.files.items()):
            status = os.stat(source)
            digest.update(f"{place}\0{status.st_mode}\0{status.st_size}\0{status.st_mtime_ns}\n"
                          .encode())
        rest = sorted(self.texts.items()), sorted(self.links.items()), FOLDERS
        digest.update(repr(rest).encode())
        return digest.hexdigest()[:16]


def add_host_programs(contents):
    """Programs of this host's packages."""
    version = os.path.basename(os.path.realpath(find_program("python3")))
    programs = [find_program(version)]
    for name in PROGRAMS:
        path = find_program(name)
        if path:
            programs.append(path)
            contents.add(path)
    contents.add(find_program("busybox"), "/usr/bin/busybox")
    library = f"/usr/lib/{version}"
    left_out = PYTHON_LEFT_OUT | set(map(os.path.basename, glob.glob(f"{library}/config-*")))
    contents.add_tree(library, library, left_out)
    contents.add(find_program(version))
    contents.links["usr/bin/python3"] = version
    programs += glob.glob(f"{library}/lib-dynload/*.so")
    for name in LOADED_LIBRARIES:
        if os.path.exists(os.path.join(LIBRARY_FOLDER, name)):
            contents.add(os.path.join(LIBRARY_FOLDER, name))
    return programs


def add_built(contents, commands):
    """Our programs, and every file of the build that the tests' commands name."""
    wanted = []
    for pattern in BUILT:
        wanted += glob.glob(os.path.join(BUILD, pattern))
    # Meson's commands start in the build folder.
    named = [os.path.normpath(os.path.join(BUILD, word))
             for command in commands for word in command]
    wanted += [path for path in named if path.startswith(BUILD + "/")]
    wanted = [path for path in wanted
              if os.path.isfile(path) and not BUILT_LEFT_OUT.search(os.path.relpath(path, BUILD))]
    for path in wanted:
        contents.add(path, guest_path(path))
    return wanted


def guest_path(word):
    """An argument of a meson test as it is in the guest."""
    if word.startswith(BUILD + "/../"):
        word = os.path.normpath(word)
    for here, there in ((BUILD, GUEST_BUILD), (ROOT, GUEST_ROOT)):
        if word == here or word.startswith(here + "/"):
            return there + word[len(here):]
    return word


def contents_for(commands):
    """Everything that the image has."""
    contents = Contents()
    programs = add_host_programs(contents)
    programs += add_built(contents, commands)
    for name in SOURCES:
        contents.add_tree(os.path.join(ROOT, name), os.path.join(GUEST_ROOT, name), {"__pycache__"})
    for command in commands:
        for word in map(os.path.normpath, command):
            if word.startswith(ROOT + "/") and not word.startswith(BUILD + "/"):
                if os.path.isfile(word):
                    contents.add(word, guest_path(word))
    for library in shared_libraries(programs):
        contents.add(library)
    return contents


def lay_out(contents, folder):
    """Copies everything to where it is in the image. Returns its size in bytes."""
    for name in FOLDERS + sorted(set(LINKS.values())):
        os.makedirs(os.path.join(folder, name), exist_ok=True)
    for name, target in contents.links.items():
        os.makedirs(os.path.dirname(os.path.join(folder, name)), exist_ok=True)
        os.symlink(target, os.path.join(folder, name))
    size = 0
    for place, source in contents.files.items():
        path = os.path.join(folder, place)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        shutil.copy2(source, path)
        size += os.path.getsize(path) + 4096
    for place, text in contents.texts.items():
        with open(os.path.join(folder, place), "w", encoding="utf-8") as file:
            file.write(text)
    # The applets that no real program stands for.
    for applet in call([find_program("busybox"), "--list"]).split():
        path = os.path.join(folder, "usr/bin", applet)
        if not os.path.lexists(path) and not os.path.lexists(
                os.path.join(folder, "usr/sbin", applet)):
            os.symlink("busybox", path)
    return size


def root_image(commands):
    """The image of the root file system for these tests; made again only if something changed."""
    contents = contents_for(commands)
    kept = os.path.join(cache_folder(), f"root-{contents.fingerprint()}.ext4")
    if os.path.exists(kept):
        os.utime(kept)
        return kept
    old = sorted(glob.glob(os.path.join(cache_folder(), "root-*.ext4")), key=os.path.getmtime)
    for path in old[:-KEPT_IMAGES]:
        os.unlink(path)
    with tempfile.TemporaryDirectory(dir=cache_folder()) as work:
        folder = os.path.join(work, "root")
        os.mkdir(folder, 0o755)
        mebibytes = int(lay_out(contents, folder) * IMAGE_SLACK / 2**20) + IMAGE_EXTRA_MIB
        made = os.path.join(work, "root.ext4")
        command = ["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-L", "bed", "-d",
                   folder, "-E", "root_owner=0:0", made, f"{mebibytes}M"]
        if os.geteuid() != 0:  # the files are root's in the guest
            command = ["unshare", "--user", "--map-root-user", *command]
        call(command)
        os.rename(made, kept)
    return kept
