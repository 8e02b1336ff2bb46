# SPDX-License-Identifier: GPL-2.0-or-later
"""A client has a file open while it is changed on the server: 1 copied up, renamed and moved; 2 one
of its names removed, and the last one; 4 written through a handle, never copied up before."""

import errno
import os
import signal

from lib import (TOP, check, drop_caches, exists, fails, get, opened, put, run, same, same_tree,
                 wait_for, whole)
from servers import D, LAYERS, M

# What a restart is said to bring: only in the guest can the kernel's caches be dropped.
CACHES = "" if TOP else ", caches dropped"


def lay(lower):
    for name in ("first", "second"):
        os.makedirs(f"{lower}/one-{name}/dir")
        os.makedirs(f"{lower}/one-{name}/other")
        put(f"{lower}/one-{name}/dir/file", "from below")
        put(f"{lower}/one-{name}/dir/beside", "beside")
    os.makedirs(lower + "/two")
    for name in ("x", "y", "z"):
        put(f"{lower}/two/{name}-a", "two names " + name)
        os.link(f"{lower}/two/{name}-a", f"{lower}/two/{name}-b")
    for name in ("last-client", "last-server", "last-restart"):
        put(f"{lower}/two/{name}", name)
    os.makedirs(lower + "/four/parent/sub")
    for name in ("cold", "moved", "big", "mapped", "truncated", "mode"):
        put(f"{lower}/four/parent/sub/{name}", name * 1000)
    os.symlink("parent/sub/cold", lower + "/four/link")


# ---- 1 ----

class Moving:
    """A file that is moved about on the server while the client has it and its directory open."""

    def __init__(self, server, name):
        self.server, self.top, self.path = server, name, "dir/file"
        self.written, self.gone = "from below", []

    def at(self, where, path):
        return f"{where}/{self.top}/{path}"

    def write(self, text):
        put(self.at(self.server.there, self.path), text)
        self.written = text

    def rename(self, old, new):
        """Rename OLD, the file or a directory above it, to NEW, and write so that bytes differ."""
        os.rename(self.at(self.server.there, old), self.at(self.server.there, new))
        self.gone.append(self.path)
        self.path = new + self.path[len(old):]
        self.gone = [path for path in self.gone if path != self.path]
        self.write(f"{self.path} now")

    def agrees(self, fd):
        same(whole(fd).decode(), self.written)
        now = os.fstat(fd)
        there = os.stat(self.at(M, self.path))
        same((there.st_ino, there.st_size, there.st_nlink), (now.st_ino, len(self.written), 1))
        same(get(self.at(M, self.path)).decode(), self.written)
        parent, name = os.path.split(self.path)
        assert name in os.listdir(self.at(M, parent)), "the listing does not have it"
        for path in self.gone:
            assert not exists(self.at(M, path)), f"{path} is still there"


STEPS = (
    ("write (copy up)", lambda m: m.write("copied up")),
    ("rename", lambda m: m.rename("dir/file", "dir/renamed")),
    ("move to another directory", lambda m: m.rename("dir/renamed", "other/moved")),
    ("rename the parent", lambda m: m.rename("other", "parent")),
    ("write again", lambda m: m.write("again")),
    ("rename again", lambda m: m.rename("parent/moved", "parent/file")),
    ("move again", lambda m: m.rename("parent/file", "dir/file")),
    ("rename the parent again", lambda m: m.rename("dir", "dir2")),
)


def one(server):
    ways = [("one-first", None, "")]
    if not TOP:
        ways.append(("one-second", drop_caches, CACHES))
    for name, between, say in ways:
        moving = Moving(server, name)
        with opened(moving.at(M, "dir/file")) as fd, opened(moving.at(M, "dir")) as directory:
            same(whole(fd).decode(), "from below")
            for step, act in STEPS:
                with check(f"1 open file: {step}{say}"):
                    act(moving)
                    if between:
                        between()
                    moving.agrees(fd)
            with check(f"1 open directory: its listing{say}"):
                same(sorted(os.listdir(directory)), ["beside", "file"])
            with check(f"1 after a restart{CACHES}{say}"):
                server.cold()
                moving.agrees(fd)
                moving.write("after the restart")
                moving.agrees(fd)


# ---- 2 ----

def two(server):
    there, here = server.there + "/two/", M + "/two/"
    for name, cold in (("x", False), ("y", True)):
        say = ", restarted" + CACHES if cold else ""
        with opened(here + name + "-a") as fd:
            with check(f"2 two names: the opened one removed on the server{say}"):
                same(os.fstat(fd).st_nlink, 2)
                os.unlink(there + name + "-a")
                if cold:
                    server.cold()
                same(whole(fd).decode(), "two names " + name)
                same(os.fstat(fd).st_nlink, 1)
                fails(errno.ENOENT, os.stat, here + name + "-a")
            with check(f"2 two names: a write by the other one is read{say}"):
                put(there + name + "-b", "written by the other")
                if cold:
                    server.cold()
                same(whole(fd).decode(), "written by the other")
                same(os.stat(here + name + "-b").st_ino, os.fstat(fd).st_ino)
    with check("2 two names: the opened one removed by the client"):
        with opened(here + "z-a") as fd:
            os.unlink(here + "z-a")
            server.cold()
            same(whole(fd).decode(), "two names z")
            put(here + "z-b", "the other")
            same(whole(fd).decode(), "the other")
        same(get(here + "z-b").decode(), "the other")
    last(server, there, here)


def old_or_stale(fd, data):
    try:
        same(whole(fd), data)
    except OSError as e:
        same(errno.errorcode[e.errno], "ESTALE")


def last(server, there, here):
    with check("2 last name removed by the client: reads and writes go on"):
        with opened(here + "last-client", os.O_RDWR) as fd:
            os.unlink(here + "last-client")
            same(whole(fd), b"last-client")
            os.pwrite(fd, b"LAST", 0)
            os.fsync(fd)
            server.cold()
            same(whole(fd), b"LAST-client")
        # The client removes its name for it after the close, and does not wait for that.
        wait_for("the hidden name to go", lambda: not [n for n in os.listdir(here)
                                                       if n.startswith(".nfs")])
        assert not exists(here + "last-client"), "the old name is back"
    with check("2 last name removed on the server: the old bytes or ESTALE, at its path nothing"):
        with opened(here + "last-server") as fd:
            os.unlink(there + "last-server")
            old_or_stale(fd, b"last-server")
            fails(errno.ENOENT, os.stat, here + "last-server")
            put(there + "last-server", "another file")
            old_or_stale(fd, b"last-server")
            same(get(here + "last-server"), b"another file")
    wanted = "ESTALE" if server.complete else "ESTALE or the old bytes"
    with check(f"2 last name removed on the server, then a restart: {wanted}"):
        with opened(here + "last-restart") as fd:
            os.unlink(there + "last-restart")
            server.cold()
            if server.complete:
                fails(errno.ESTALE, os.pread, fd, 100, 0)
            else:
                old_or_stale(fd, b"last-restart")
            fails(errno.ENOENT, os.stat, here + "last-restart")


# ---- 4 ----

def four(server):
    """Opened for writing by the client, then made cold, so that nothing but the handle is known."""
    here, there = M + "/four/parent/sub/", server.there + "/four/parent/sub/"
    wanted = {"cold": b"COLD", "moved": b"MOVED", "big": b"B" * 3000000, "mapped": b"MAPPED"}
    for name, data in wanted.items():
        with check(f"4 write through a cold handle: {name}"):
            with opened(here + name, os.O_RDWR) as fd:
                if name == "moved":
                    os.rename(there + "moved", server.there + "/four/moved")
                    os.rename(server.there + "/four/moved", there + "moved")
                server.cold()
                os.pwrite(fd, data, 0)
                os.fsync(fd)
                wanted[name] = data + (name * 1000).encode()[len(data):]
                same(os.pread(fd, 1 << 23, 0), wanted[name])
            same(get(here + name), wanted[name])
    with check("4 truncate and chmod through a cold handle"):
        with opened(here + "truncated", os.O_RDWR) as fd, opened(here + "mode") as other:
            server.cold()
            os.ftruncate(fd, 5)
            os.fchmod(other, 0o600)
            os.utime(other, (1000, 2000))
        wanted["truncated"] = b"trunc"
    with check("4 a write into a directory that was moved while nobody looked"):
        with opened(here + "cold", os.O_RDWR) as fd:
            os.rename(server.there + "/four/parent", server.there + "/four/moved-parent")
            server.cold()
            os.pwrite(fd, b"MOVE", 0)
            os.fsync(fd)
            os.rename(server.there + "/four/moved-parent", server.there + "/four/parent")
        wanted["cold"] = b"MOVE" + wanted["cold"][4:]
    with check("4 all is there after a remount"):
        server.remount()
        for name, data in wanted.items():
            same(get(here + name), data)
        st = os.stat(here + "mode")
        same((st.st_mode & 0o7777, int(st.st_mtime)), (0o600, 2000))
        same(get(M + "/four/link"), wanted["cold"])
    with check("4 and below nothing has changed"):
        same(get(D + "/lower/four/parent/sub/cold"), b"cold" * 1000)
    with check("4 Linux's overlayfs sees the same"):
        same_as_kernel(server)


def same_as_kernel(server):
    server.no_client()
    server.stop(signal.SIGTERM)
    kernel, plain = TOP + "/run/kernel", D + "/plain/four"
    os.makedirs(kernel, exist_ok=True)
    run(["mount", "-t", "overlay", "-o", LAYERS + ",index=on,redirect_dir=on", "overlay",
         kernel])
    os.makedirs(plain, exist_ok=True)
    run(f"cp -a {kernel}/four/. {plain}; umount {kernel}")
    server.start()
    server.client()
    same_tree(M + "/four", plain, times=True)


def go(server):
    one(server)
    two(server)
    four(server)
