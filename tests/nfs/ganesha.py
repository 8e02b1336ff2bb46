#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""nfs-ganesha's VFS back end exports a mount by FUSE: what a client holds stays good while files
are copied up, renamed, moved and lose names behind the server's back.

Ganesha wants an rpcbind, so this runs in a network namespace of its own, with a /run of its own."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from client import Client, NOENT, OK, STALE, case, main, same

LAMINA = os.environ.get("LAMINA") or "build/lamina"
NFS_PORT, MOUNT_PORT = 2049, 20048
CONFIG = """\
NFS_CORE_PARAM {{
	Protocols = 3;
	NFS_Port = {nfs};
	MNT_Port = {mount};
	Enable_NLM = false;
	Enable_RQUOTA = false;
	Enable_UDP = false;
}}
EXPORT {{
	Export_Id = 1;
	Path = {path};
	Pseudo = /x;
	Access_Type = RW;
	Squash = No_Root_Squash;
	SecType = sys;
	Filesystem_Id = 7.7;
	FSAL {{ Name = VFS; }}
}}
MDCACHE {{ Dir_Chunk = 0; }}
EXPORT_DEFAULTS {{ Attr_Expiration_Time = 0; }}
"""


def listening(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


def wait_for(what, function):
    end = time.monotonic() + 60
    while not function():
        if time.monotonic() > end:
            raise RuntimeError("waited for " + what)
        time.sleep(0.05)


class Ganesha:
    """Layers, a mount of them, ganesha over it, a client of it."""

    def __init__(self):
        self.top = tempfile.mkdtemp(prefix="lamina-ganesha.")
        for name in ("lower", "upper", "work", "x"):
            os.mkdir(self.path(name))
        self.process = None

    def path(self, *names):
        return os.path.join(self.top, *names)

    def lower(self, name, data):
        path = self.path("lower", name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="ascii") as file:
            file.write(data)

    def there(self, name):
        return self.path("x", name)

    def start(self):
        layers = (f"lowerdir={self.path('lower')},upperdir={self.path('upper')},"
                  f"workdir={self.path('work')},nfs_export=on")
        subprocess.run([LAMINA, "mount", "-o", layers, self.path("x")], check=True)
        with open(self.path("config"), "w", encoding="ascii") as file:
            file.write(CONFIG.format(nfs=NFS_PORT, mount=MOUNT_PORT, path=self.path("x")))
        self.process = subprocess.Popen(
            ["ganesha.nfsd", "-F", "-f", self.path("config"), "-L", self.path("log"), "-p",
             self.path("pid"), "-N", "NIV_EVENT"], stdin=subprocess.DEVNULL)
        wait_for("ganesha", lambda: listening(NFS_PORT) and listening(MOUNT_PORT))
        with Client(MOUNT_PORT) as c:
            end = time.monotonic() + 60
            got = c.mnt(self.path("x"))
            while got.status and time.monotonic() < end:
                time.sleep(0.2)
                got = c.mnt(self.path("x"))
            assert got.status == OK, got
            return got.fh

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        subprocess.run(["umount", self.path("x")], check=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.stop()
        shutil.rmtree(self.top)


def get(path):
    with open(path, encoding="ascii") as file:
        return file.read()


def put(path, data):
    with open(path, "w", encoding="ascii") as file:
        file.write(data)


@case
def moved():
    """A handle reads the new bytes after copy-up, rename, move and rename of the parent, twice."""
    with Ganesha() as g:
        g.lower("dir/file", "from below")
        g.lower("other/beside", "beside")
        root = g.start()
        with Client(NFS_PORT) as c:
            fh = c.walk("dir/file", root)
            same(c.read(fh).data, b"from below")
            number = c.getattr(fh).attr["fileid"]
            put(g.there("dir/file"), "copied up")
            same(c.read(fh).data, b"copied up")
            path = "dir/file"
            for old, new in (("dir/file", "dir/renamed"), ("dir/renamed", "other/moved"),
                             ("other", "parent"), ("parent/moved", "parent/again"),
                             ("parent/again", "dir/again"), ("dir", "last")):
                os.rename(g.there(old), g.there(new))
                path = new + path[len(old):]
                put(g.there(path), path)
                same(c.read(fh).data, path.encode())
                same(c.getattr(fh).attr["fileid"], number)
                same(c.getattr(c.walk(path, root)).attr["fileid"], number)


@case
def names():
    """One of two names goes, then the other: the handle reads as long as there is one."""
    with Ganesha() as g:
        g.lower("a", "two names")
        os.link(g.path("lower", "a"), g.path("lower", "b"))
        root = g.start()
        with Client(NFS_PORT) as c:
            fh = c.walk("a", root)
            os.unlink(g.there("a"))
            same(c.read(fh).data, b"two names")
            put(g.there("b"), "by the other")
            same(c.read(fh).data, b"by the other")
            same(c.lookup(root, "a").status, NOENT)
            same(c.remove(root, "b").status, OK)
            assert c.getattr(fh).status in (OK, STALE), c.getattr(fh)
            assert not os.path.exists(g.there("b"))


@case
def written():
    """Written through a handle, never copied up before: there after a remount, below untouched."""
    with Ganesha() as g:
        g.lower("dir/file", "from below")
        root = g.start()
        with Client(NFS_PORT) as c:
            fh = c.walk("dir/file", root)
            put("/proc/sys/vm/drop_caches", "2")
            same(c.write(fh, "FROM").status, OK)
            same(c.commit(fh).status, OK)
            same(c.create(c.walk("dir", root), "new", mode=0o600).status, OK)
        g.stop()
        root = g.start()
        with Client(NFS_PORT) as c:
            same(c.read(c.walk("dir/file", root)).data, b"FROM below")
            same(c.getattr(c.walk("dir/new", root)).attr["mode"], 0o600)
            same(get(g.there("dir/file")), "FROM below")
        same(get(g.path("lower", "dir", "file")), "from below")


def inside():
    if os.environ.get("GANESHA_INSIDE"):
        return
    os.environ["GANESHA_INSIDE"] = "1"
    os.execvp("unshare", ["unshare", "--net", "--mount", "--propagation", "private", "--pid",
                          "--fork", "--kill-child", "--mount-proc", sys.executable] + sys.argv)


inside()
subprocess.run("ip link set lo up && mount -t tmpfs run /run && mkdir /run/rpcbind /run/ganesha &&"
               "rpcbind -w", shell=True, check=True)
main()
