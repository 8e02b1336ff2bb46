# SPDX-License-Identifier: GPL-2.0-or-later
"""Run one scenario in a guest, QEMU in software emulation: no privilege on this machine, no KVM."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading

import image

# Seconds without a word from the guest.
SILENCE = 450


def disk(where):
    """An empty filesystem for layers."""
    path = os.path.join(where, "disk.img")
    image.filesystem(path, 4 << 30, "-N", "400000")
    return path


def boot(top, where, arguments):
    initrd = image.initramfs(top, where, os.environ.get("LAMINA") or
                             os.path.join(image.BUILD, "lamina"))
    drives = []
    for n, (path, more) in enumerate(((os.path.join(top, "root.img"), ",snapshot=on"),
                                      (disk(where), ""))):
        drives += ["-drive", f"file={path},format=raw,if=none,id=d{n},cache=unsafe{more}",
                   "-device", f"virtio-blk-pci,drive=d{n}"]
    return subprocess.Popen(
        ["qemu-system-x86_64", "-accel", "tcg,thread=multi,tb-size=256", "-cpu", "Nehalem", "-M",
         "q35", "-m", "1536", "-nodefaults", "-kernel", image.vmlinuz(top), "-initrd", initrd,
         "-serial", "stdio", "-display", "none", "-no-reboot"] + drives +
        ["-append", "console=ttyS0 quiet panic=-1 reboot=t mitigations=off nokaslr no_timer_check "
         f"tsc=reliable random.trust_cpu=on lamina={','.join(arguments)}"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


class Timer:
    """Ends the guest when it has been silent for too long."""

    def __init__(self, guest):
        self.guest, self.timer, self.fired = guest, None, False

    def fire(self):
        self.fired = True
        self.guest.kill()

    def again(self):
        self.stop()
        factor = float(os.environ.get("LAMINA_TIME_FACTOR", "1"))
        self.timer = threading.Timer(SILENCE * factor, self.fire)
        self.timer.start()

    def stop(self):
        if self.timer:
            self.timer.cancel()


def follow(guest):
    """Print what it says; returns how many checks passed and failed."""
    passed = failed = 0
    ended = False
    timer = Timer(guest)
    timer.again()
    try:
        for raw in guest.stdout:
            timer.again()
            line = raw.decode("utf-8", "replace").rstrip()
            passed += line.startswith("ok - ")
            failed += line.startswith("not ok - ")
            ended = line.startswith("ENDED ")
            if ended:
                break
            if line != "ALIVE":
                print(line, flush=True)
    finally:
        timer.stop()
    if timer.fired:
        print(f"not ok - the guest said nothing for {SILENCE} seconds")
    elif not ended:
        print("not ok - the guest ended before its scenario did")
    return passed, failed + (timer.fired or not ended)


def main(*arguments):
    # So that the guest ends when this is told to.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    where = tempfile.mkdtemp(prefix="lamina-guest.")
    try:
        guest = boot(image.base(), where, list(arguments) + sys.argv[1:])
        try:
            passed, failed = follow(guest)
        finally:
            guest.kill()
            guest.wait()
    finally:
        shutil.rmtree(where)
    print(f"{passed} passed, {failed} failed")
    sys.exit(0 if passed and not failed else 1)
