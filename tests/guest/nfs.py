#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's own NFS client, in a guest without privilege on the host, against `lamina nfs`.

Debian's cloud kernel is downloaded and unpacked, never installed; the guest is busybox, the modules
for NFS and tests/guest/init.sh.  The server is changed, restarted and killed under it.
"""

import glob
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "nfs"))
from client import Server, same, OK  # pylint: disable=wrong-import-position

MODULES = ["virtio_pci", "virtio_net", "nfsv3"]
LIMIT = 240
CACHE = os.environ.get("LAMINA_GUEST_CACHE") or os.path.join(
    os.path.dirname(os.path.dirname(HERE)), "build", "guest")


def kernel():
    """The directory with an unpacked kernel package."""
    os.makedirs(CACHE, exist_ok=True)
    if not glob.glob(os.path.join(CACHE, "boot", "vmlinuz-*")):
        depends = subprocess.run(["apt-cache", "depends", "linux-image-cloud-amd64"], check=True,
                                 stdout=subprocess.PIPE, encoding="ascii").stdout
        package = [line.split()[-1] for line in depends.split("\n") if "linux-image-6" in line][0]
        subprocess.run(["apt-get", "download", "-qq", package], check=True, cwd=CACHE)
        for deb in glob.glob(os.path.join(CACHE, "*.deb")):
            subprocess.run(["dpkg-deb", "-x", deb, CACHE], check=True)
            os.unlink(deb)
    return CACHE


def add_module(top, name, order):
    """Put the module after those that it needs; nothing if it is built in."""
    found = glob.glob(os.path.join(top, "lib", "modules", "*", "kernel", "**",
                                   name.replace("_", "[_-]") + ".ko*"), recursive=True)
    if not found or found[0] in order:
        return
    with open(found[0], "rb") as file:
        depends = re.search(rb"\0depends=([^\0]*)\0", file.read())[1].decode("ascii")
    for other in filter(None, depends.split(",")):
        add_module(top, other, order)
    order.append(found[0])


def initramfs(top, where):
    root = os.path.join(where, "root")
    for name in ("bin", "proc", "sys", "dev", "tmp", "modules"):
        os.makedirs(os.path.join(root, name))
    shutil.copy("/bin/busybox", os.path.join(root, "bin"))
    shutil.copy(os.path.join(HERE, "init.sh"), os.path.join(root, "init"))
    os.chmod(os.path.join(root, "init"), 0o755)
    subprocess.run(["cc", "-static", "-O1", "-o", os.path.join(root, "bin", "mount_nfs"),
                    os.path.join(HERE, "mount_nfs.c")], check=True)
    order = []
    for name in MODULES:
        add_module(top, name, order)
    for path in order:
        shutil.copy(path, os.path.join(root, "modules"))
    with open(os.path.join(root, "modules", "order"), "w", encoding="ascii") as file:
        file.write("".join(os.path.basename(path) + "\n" for path in order))
    image = os.path.join(where, "initramfs")
    with open(image, "wb") as file:
        subprocess.run("find . | busybox cpio -o -H newc 2>/dev/null", shell=True, check=True, cwd=root,
                       stdout=file)
    return image


class Host:
    """What the guest asks for."""

    def __init__(self, server):
        self.s = server

    def do(self, what):
        if what in ("restart", "kill"):
            for _ in range(1 if what == "restart" else 5):
                self.s.stop(signal.SIGTERM if what == "restart" else signal.SIGKILL)
                self.s.start()
        with self.s.client() as c:
            root = c.root()
            if what in ("copy-up", "rename", "move", "parent1", "parent2"):
                self.move(c, root, what)
            elif what == "drop-one":
                same(c.remove(root, "two-a").status, OK)
            same(c.create(root, "done-" + what, mode=0o644).status, OK)

    def move(self, c, root, what):
        steps = ["copy-up", "rename", "move", "parent1", "parent2"]
        n = steps.index(what)
        paths = ["dir/file", "dir/file", "dir/renamed", "other/moved", "parent1/moved"]
        fh = c.walk(paths[n])
        # The guest has read 3 bytes in each step and reads the next 3 now.
        same(c.write(fh, what[:3], 3 * (n + 1)).status, OK)
        if n == 0:
            same(c.write(fh, "cop", 0).status, OK)
        if what == "rename":
            same(c.rename(c.walk("dir"), "file", c.walk("dir"), "renamed").status, OK)
        elif what == "move":
            same(c.rename(c.walk("dir"), "renamed", c.walk("other"), "moved").status, OK)
        elif what == "parent1":
            same(c.rename(root, "other", root, "parent1").status, OK)
        elif what == "parent2":
            same(c.rename(root, "parent1", root, "parent2").status, OK)
            same(c.write(fh, "-end", 18).status, OK)


def boot(top, image, port):
    vmlinuz = glob.glob(os.path.join(top, "boot", "vmlinuz-*"))[0]
    return subprocess.Popen(
        ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "Nehalem", "-M", "q35", "-m",
         "512", "-nodefaults", "-kernel", vmlinuz, "-initrd", image, "-netdev", "user,id=n0",
         "-device", "virtio-net-pci,netdev=n0", "-serial", "stdio", "-display", "none",
         "-no-reboot", "-append",
         "console=ttyS0 quiet panic=-1 reboot=t mitigations=off nokaslr no_timer_check "
         f"tsc=reliable random.trust_cpu=on nfsport={port}"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def follow(guest, host):
    passed = failed = 0
    finished = False
    for raw in guest.stdout:
        line = raw.decode("utf-8", "replace").strip()
        if line.startswith("STEP "):
            host.do(line[5:])
        elif line.startswith("ok "):
            passed += 1
        elif line.startswith("not ok "):
            failed += 1
        elif line == "FINISHED":
            finished = True
        if not line.startswith("ok "):
            print(line, flush=True)
    return passed, failed + (not finished)


def main():
    where = tempfile.mkdtemp(prefix="lamina-guest.")
    try:
        top = kernel()
        image = initramfs(top, where)
        with Server() as s:
            s.lower("dir/file", "old" + "....." * 4)
            s.lower("other/x", "x")
            s.lower("two-a", "abcdefghi")
            os.link(s.path("lower", "two-a"), s.path("lower", "two-b"))
            s.lower("lower-only", "never copied up")
            guest = boot(top, image, s.port)
            timer = threading.Timer(LIMIT, guest.kill)
            timer.start()
            try:
                passed, failed = follow(guest, Host(s))
            finally:
                timer.cancel()
                guest.kill()
                guest.wait()
    finally:
        shutil.rmtree(where)
    print(f"{passed} passed, {failed} failed")
    return 0 if passed and not failed else 1


sys.exit(main())
