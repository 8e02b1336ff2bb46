# SPDX-License-Identifier: GPL-2.0-or-later
"""What is measured: the plain filesystem, the kernel's overlayfs, programs that serve an overlay.

A target is set up anew for each measurement with an upper layer of its own and torn down after it.
"""

import os
import subprocess
import time

import trees


class SetupError(Exception):
    """A target cannot be mounted or unmounted."""


def processes():
    return {int(p) for p in os.listdir("/proc") if p.isdigit()}


def cpu_seconds(pids):
    """CPU time that processes have used in all their threads."""
    total = 0
    for pid in pids:
        try:
            threads = os.listdir(f"/proc/{pid}/task")
        except OSError:
            continue
        for tid in threads:
            try:
                with open(f"/proc/{pid}/task/{tid}/schedstat", encoding="ascii") as f:
                    total += int(f.read().split()[0])
            except (OSError, IndexError):
                pass
    return total / 1e9


def resident_bytes(pids):
    """Memory that processes have to themselves or their share of what they share."""
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
                total += sum(int(line.split()[1]) * 1024 for line in f if line.startswith("Pss:"))
        except OSError:
            pass
    return total


class Target:
    """The base: a directory `root` to work in, for one measurement at a time."""

    overlay = True

    def __init__(self, name, base, options=""):
        self.name = name
        self.base = base
        self.options = options
        self.volatile = "volatile" in options.split(",")
        self.servers = set()
        self.serial = 0

    def up(self, tree):
        self.serial += 1
        self.scratch = os.path.join(self.base, f"{self.name}-{self.serial}")
        self.root = os.path.join(self.scratch, "mnt")
        for d in ("upper", "work", "mnt"):
            os.makedirs(os.path.join(self.scratch, d))
        options = f"lowerdir={':'.join(tree.layers)}," \
                  f"upperdir={self.scratch}/upper,workdir={self.scratch}/work"
        if self.options:
            options += "," + self.options
        before = processes()
        result = subprocess.run(self.command(options), stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, timeout=60, check=False)
        if result.returncode or not os.path.ismount(self.root):
            raise SetupError(f"{self.name}: {result.stdout.decode(errors='replace').strip()}")
        self.servers = processes() - before

    def command(self, options):
        raise NotImplementedError

    def down(self):
        result = subprocess.run(["umount", self.root], stderr=subprocess.PIPE, timeout=60,
                                check=False)
        if result.returncode:
            subprocess.run(["umount", "-l", self.root], check=False)
        deadline = time.monotonic() + 20
        while any(alive(pid) for pid in self.servers) and time.monotonic() < deadline:
            time.sleep(0.01)
        self.servers = set()
        trees.remove(self.scratch)
        if result.returncode:
            raise SetupError(f"{self.name}: {result.stderr.decode(errors='replace').strip()}")


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
            return f.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Kernel(Target):
    def command(self, options):
        return ["mount", "-t", "overlay", "overlay", "-o", options, self.root]


class Program(Target):
    def __init__(self, name, base, path, options=""):
        super().__init__(name, base, options)
        self.path = path

    def command(self, options):
        return [self.path, "-o", options, self.root]


class Raw(Target):
    """The flat tree itself, or a copy of it if the work changes what is there."""

    overlay = False

    def up(self, tree, copy=False):
        self.serial += 1
        self.scratch = None
        self.root = tree.flat
        if copy:
            self.scratch = self.root = os.path.join(self.base, f"{self.name}-{self.serial}")
            subprocess.run(["cp", "-a", tree.flat, self.root], check=True)

    def down(self):
        if self.scratch:
            trees.remove(self.scratch)
