#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""mounted.py [GROUP...]: what the guest does with the kernel's client (tests/guest/inside), done here
with programs over libnfs: cp, tar, git, make, rm, fsx, random changes of names, 100,000 names, open files
that are moved, restarts.  What the client cannot do stands at the top of mount_libnfs.c; no check
is left out for it but those of version 4.2, and those that drop the machine's caches."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(HERE)


def compiled(top):
    """The client and fsx, where servers.py looks for them."""
    os.mkdir(os.path.join(top, "guest"))
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "fuse3", "libnfs"], check=True,
                           stdout=subprocess.PIPE, encoding="ascii").stdout.split()
    for source, more in (("nfs/mount_libnfs.c", flags), ("clients/fsx.c", [])):
        name = os.path.splitext(os.path.basename(source))[0]
        subprocess.run(["cc", "-std=gnu17", "-O2", "-Wall", "-Wextra", "-Werror", "-o",
                        os.path.join(top, "guest", name), os.path.join(TESTS, source)] + more,
                       check=True)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def scenario(top, groups):
    """Returns how many checks passed and failed, and whether all was done."""
    lamina = os.path.realpath(os.environ.get("LAMINA") or "build/lamina")
    env = dict(os.environ, LAMINA=lamina, LAMINA_SCENARIO=top,
               LAMINA_SCENARIO_PORT=str(free_port()))
    counts = {"ok": 0, "not ok": 0}
    with subprocess.Popen([sys.executable, os.path.join(TESTS, "guest", "inside", "scenario.py"),
                           "libnfs"] + groups, env=env, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, encoding="utf-8") as process:
        for line in process.stdout:
            what = line.partition(" - ")[0]
            if what in counts:
                counts[what] += 1
            if line.strip() != "ALIVE":
                print(line, end="", flush=True)
    return counts["ok"], counts["not ok"], process.returncode


def main():
    # The processes in the background have the output too, and end with the test's namespace.
    top = tempfile.mkdtemp(prefix="lamina-mounted.")
    passed = failed = 0
    try:
        os.chmod(top, 0o755)
        for name in ("m", "s", "x", "d", "run"):
            os.mkdir(os.path.join(top, name))
        compiled(top)
        passed, failed, status = scenario(top, sys.argv[1:])
        failed += status != 0 and failed == 0
    finally:
        for name in ("m", "s"):
            subprocess.run(["umount", "-l", os.path.join(top, name)], check=False,
                           stderr=subprocess.DEVNULL)
        shutil.rmtree(top, ignore_errors=True)
    print(f"{passed} passed, {failed} failed", flush=True)
    os._exit(0 if passed and not failed else 1)


main()
