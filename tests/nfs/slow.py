#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Changes that take long.  The upper filesystem is frozen, so that a copy-up stands still for as long
as the test wants: others are told to come again, reading goes on, and in the end all is done."""

import os
import signal
import struct
import subprocess
import threading

from client import *  # pylint: disable=wildcard-import,unused-wildcard-import


def run(*command):
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


class Frozen(Server):
    """A server whose upper layer is on a filesystem of its own that can be frozen."""

    def __init__(self, **more):
        super().__init__(**more)
        self.fs, self.image = self.path("fs"), self.path("image")
        run("truncate", "-s", "64M", self.image)
        run("mkfs.ext4", "-q", "-F", self.image)
        os.mkdir(self.fs)
        run("mount", "-o", "loop,noatime", self.image, self.fs)
        for name in ("upper", "work"):
            os.rmdir(self.path(name))
            os.mkdir(os.path.join(self.fs, name))
            os.symlink(os.path.join("fs", name), self.path(name))
        self.frozen = False

    def freeze(self):
        run("fsfreeze", "--freeze", self.fs)
        self.frozen = True

    def thaw(self):
        if self.frozen:
            run("fsfreeze", "--unfreeze", self.fs)
        self.frozen = False

    def stuck(self):
        """How many of the server's threads wait for the filesystem."""
        n, worker = 0, self.worker()
        for task in os.listdir(f"/proc/{worker}/task"):
            with open(f"/proc/{worker}/task/{task}/stat", encoding="ascii") as file:
                n += file.read().rsplit(")", 1)[1].split()[0] == "D"
        return n

    def await_stuck(self, n):
        while self.stuck() < n:
            time.sleep(0.02)

    def __exit__(self, *exc):
        self.thaw()
        if self.process:
            self.stop(signal.SIGKILL)
        for _ in range(600):  # the last threads of what was killed may take a moment to go
            if subprocess.run(["umount", self.fs], stderr=subprocess.DEVNULL,
                              check=False).returncode == 0:
                break
            time.sleep(0.05)
        else:
            raise AssertionError("the filesystem stays busy")
        super().__exit__(*exc)


class Writer(threading.Thread):
    """One WRITE, which may take long."""

    def __init__(self, s, fh, data):
        super().__init__()
        self.s, self.fh, self.data, self.result = s, fh, data, None
        self.start()

    def run(self):
        with self.s.client() as c:
            c.sock.settimeout(250)
            self.result = c.write(self.fh, self.data)


@case
def come_again():
    """while a file is copied up, others that would change it are told JUKEBOX; a retry succeeds"""
    with Frozen() as s:
        s.lower("big", b"b" * (4 << 20))
        s.lower("other", "other")
        with s.client() as c:
            root, big, other = c.root(), c.walk("big"), c.walk("other")
            s.freeze()
            first = Writer(s, big, b"FIRST")
            s.await_stuck(1)
            time.sleep(1.2)  # who waits for longer than a second keeps the others from waiting
            same(c.write(big, b"second", 100).status, JUKEBOX)
            same(c.setattr(big, mode=0o600).status, JUKEBOX)
            same(c.setattr(big, size=10).status, JUKEBOX)
            same(c.rename(root, "big", root, "moved").status, JUKEBOX)
            same(c.link(big, root, "linked").status, JUKEBOX)
            # Nobody who reads has to wait, not even for the same file.
            same(c.read(big, 0, 8).data, b"b" * 8)
            same(c.getattr(big).attr["size"], 4 << 20)
            same(c.read(other).data, b"other")
            same(sorted(e.name for e in c.list(root)), [b".", b"..", b"big", b"other"])
            assert first.is_alive()
            s.thaw()
            first.join()
            same(first.result.status, OK)
            same(c.write(big, b"second", 100).status, OK)
            same(c.rename(root, "big", root, "moved").status, OK)
            same(c.read(big, 0, 5).data, b"FIRST")
            same(c.read(big, 99, 8).data, b"bsecondb")


@case
def some_are_left():
    """changes that take long do not take all workers: the next one is told JUKEBOX, reading goes on"""
    with Frozen(extra=["--threads", "4"]) as s:
        names = [f"f{i}" for i in range(4)]
        for name in names:
            s.lower(name, name)
        with s.client() as c:
            handles = [c.walk(name) for name in names]
            s.freeze()
            writers = [Writer(s, fh, b"NEW") for fh in handles[:2]]
            s.await_stuck(2)
            time.sleep(1.2)
            for _ in range(3):
                same(c.write(handles[2], b"NEW").status, JUKEBOX)
            same(c.read(handles[3]).data, b"f3")
            s.thaw()
            for writer in writers:
                writer.join()
                same(writer.result.status, OK)
            same(c.write(handles[2], b"NEW").status, OK)


@case
def replay_of_a_long_one():
    """the same request again, while the first one is being done, is not done a second time"""
    with Frozen() as s:
        s.lower("gone", "x")
        with s.client() as c, s.client() as again:
            root = c.root()
            message = c.pack(12, opaque(root) + opaque("gone"))
            s.freeze()
            c.send_record(message)
            s.await_stuck(1)
            again.send_record(message)
            s.thaw()
            first = c.recv_record()
            same(c.reply(first).u32(), OK)
            # The second one got the first one's answer, or was dropped: then it is asked once more.
            again.sock.settimeout(3)
            try:
                second = again.recv_record()
            except TimeoutError:
                again.sock.settimeout(60)
                again.send_record(message)
                second = again.recv_record()
            same(second, first)


@case
def of_a_lone_client():
    """who was waited for is answered on the same connection while what it asked copies a file up"""
    with Frozen() as s:
        for i in range(3):
            s.lower(f"big{i}", b"b" * (1 << 20))
        s.lower("other", "other")
        with s.client() as c:
            handles, other = [c.walk(f"big{i}") for i in range(3)], c.walk("other")
        for fh in handles:
            s.freeze()
            with s.lone_client(other) as c:
                slow = c.pack(7, opaque(fh) + u64(0) + u32(3, FILE_SYNC) + opaque("NEW"))
                c.send_record(slow)
                s.await_stuck(1)
                for _ in range(3):
                    same(c.read(other).data, b"other")
                same(c.read(fh, 0, 3).data, b"bbb")
                s.thaw()
                answer = c.recv_record()
                same(c.reply(answer, struct.unpack(">I", slow[:4])[0]).u32(), OK)
                same(c.read(fh, 0, 4).data, b"NEWb")


@case
def at_the_same_time():
    """who was not the only one to change something is not told what was before; who was, is"""
    with Frozen() as s:
        with s.client() as c, s.client() as other:
            root = c.root()
            d, fh = c.mkdir(root, "d").fh, c.create(root, "f").fh
            for name in "abxy":
                same(c.create(d, name).status, OK)
            to = opaque(d)
            for one, two in (
                    ((12, to + opaque("a")), (12, to + opaque("b"))),
                    ((7, opaque(fh) + u64(0) + u32(1, FILE_SYNC) + opaque("x")),
                     (7, opaque(fh) + u64(1) + u32(1, FILE_SYNC) + opaque("y"))),
                    ((14, to + opaque("x") + opaque(root) + opaque("x")),
                     (14, to + opaque("y") + opaque(root) + opaque("y")))):
                s.freeze()
                c.send_record(c.pack(*one))
                s.await_stuck(1)
                other.send_record(other.pack(*two))
                s.await_stuck(2)
                s.thaw()
                for asked in (c, other):
                    r = asked.reply(asked.recv_record())
                    status, (before, after) = r.u32(), r.wcc()
                    same((status, before), (OK, None))
                    assert after
            alone = c.mkdir(d, "alone")
            assert alone.before and alone.before["mtime"] != alone.after["mtime"]
            assert c.write(fh, "z").before


@case
def many_under_way():
    """of one connection 32 requests are under way and no more is read; others are served meanwhile"""
    with Frozen(extra=["--threads", "64"]) as s:
        with s.client() as c, s.client() as other:
            root = c.root()
            handles = [c.create(root, f"f{i}").fh for i in range(40)]
            messages = [c.pack(7, opaque(fh) + u64(0) + u32(1, UNSTABLE) + opaque("x"))
                        for fh in handles]
            s.freeze()
            for message in messages:
                c.send_record(message)
            s.await_stuck(32)
            for _ in range(20):
                same(other.getattr(handles[39]).attr["size"], 0)
                same(s.stuck(), 32)
            s.thaw()
            answers = {record[:4]: record for record in (c.recv_record() for _ in messages)}
            for message in messages:
                same(c.reply(answers[message[:4]]).u32(), OK)
            for fh in handles:
                same(other.getattr(fh).attr["size"], 1)


main()
