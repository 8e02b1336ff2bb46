#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Handles stay good: over changes on the server, restarts and kills; replays do no harm."""

import os
import shutil
import signal
import subprocess
import threading

from client import *  # pylint: disable=wildcard-import,unused-wildcard-import

HOWS = (signal.SIGTERM, signal.SIGKILL)


def restart(s, how):
    status = s.stop(how)
    same(status, 0 if how == signal.SIGTERM else -signal.SIGKILL)
    s.start()
    return s.client()


@case
def copied_up_and_moved():
    """a handle from before a copy-up, renames of the file and of its parent, twice, and restarts"""
    for how in (None,) + HOWS:
        with Server() as s:
            s.lower("dir/file", "old bytes")
            s.lower("other/x", "x")
            c = s.client()
            fh, d, root = c.walk("dir/file"), c.walk("dir"), c.root()
            first = c.getattr(fh).attr
            same(c.read(fh).data, b"old bytes")
            other = s.client()
            steps = [
                lambda: other.write(other.walk("dir/file"), "new bytes!"),
                lambda: other.rename(d, "file", d, "renamed"),
                lambda: other.rename(d, "renamed", other.walk("other"), "moved"),
                lambda: other.rename(root, "other", root, "parent1"),
                lambda: other.rename(root, "parent1", root, "parent2"),
            ]
            for i, step in enumerate(steps):
                same((i, step().status), (i, OK))
                if how:
                    c.close()
                    other.close()
                    c = restart(s, how)
                    other = s.client()
                got = c.getattr(fh)
                same((i, got.status), (i, OK))
                for name in ("fileid", "fsid", "type", "nlink"):
                    same((i, name, got.attr[name]), (i, name, first[name]))
                same((i, c.read(fh).data), (i, b"new bytes!"))
            same(c.walk("parent2/moved"), fh)
            same(c.lookup(d, "file").status, NOENT)
            same(c.lookup(c.walk("parent2"), "..").fh, root)
            c.close()
            other.close()


@case
def two_names():
    """of two names the opened one goes, then the last one"""
    for how in HOWS:
        with Server() as s:
            s.lower("a", "data")
            os.link(s.path("lower", "a"), s.path("lower", "b"))
            c = s.client()
            root, fh = c.root(), c.walk("a")
            same(c.walk("b"), fh)
            same(c.remove(root, "a").status, OK)
            same(c.read(fh).data, b"data")
            same(c.getattr(fh).attr["nlink"], 1)
            c.close()
            c = restart(s, how)
            same(c.read(fh).data, b"data")
            same(c.getattr(fh).attr["nlink"], 1)
            same(c.write(fh, "DATA").status, OK)
            same(c.read(c.walk("b")).data, b"DATA")
            c.close()
            c = restart(s, how)
            same(c.read(fh).data, b"DATA")
            same(c.walk("b"), fh)
            # What a client does with a file that it has open.
            same(c.rename(root, "b", root, ".nfs0001").status, OK)
            same(c.read(fh).data, b"DATA")
            same(c.remove(root, ".nfs0001").status, OK)
            same(c.getattr(fh).status, STALE)
            c.close()
            c = restart(s, how)
            same(c.getattr(fh).status, STALE)
            c.close()


@case
def restart_between_any():
    """a restart after each step of a small job: all of it is there, nothing twice"""
    for how in HOWS:
        with Server() as s:
            s.lower("low", "lower data")
            c = s.client()
            root = c.root()
            d = c.mkdir(root, "d", mode=0o755).fh
            c.close()
            c = restart(s, how)
            f = c.create(d, "f", mode=0o644).fh
            c.close()
            c = restart(s, how)
            verf = c.write(f, "first ", 0, UNSTABLE).verf
            c.close()
            c = restart(s, how)
            # The verifier has changed: what was not committed is written again.
            assert c.commit(f).verf != verf
            verf = c.write(f, "first ", 0, UNSTABLE).verf
            same(c.commit(f).verf, verf)
            c.close()
            c = restart(s, how)
            same(c.read(f).data, b"first ")
            same(c.write(f, "second", 6, FILE_SYNC).status, OK)
            low = c.walk("low")
            c.close()
            c = restart(s, how)
            # Never looked up by this server, and never copied up.
            same(c.write(low, "LOWER").status, OK)
            c.close()
            c = restart(s, how)
            same(c.read(low).data, b"LOWER data")
            same(c.link(f, root, "f2").status, OK)
            c.close()
            c = restart(s, how)
            same(c.rename(d, "f", root, "f3").status, OK)
            c.close()
            c = restart(s, how)
            same(c.read(f).data, b"first second")
            same(c.getattr(f).attr["nlink"], 2)
            same(sorted(e.name for e in c.list(root)),
                 [b".", b"..", b"d", b"f2", b"f3", b"low"])
            same(sorted(e.name for e in c.list(d)), [b".", b".."])
            c.close()
            s.stop()
            with open(s.path("upper", "f2"), encoding="ascii") as file:
                same(file.read(), "first second")
            with open(s.path("lower", "low"), encoding="ascii") as file:
                same(file.read(), "lower data")
            s.start()


@case
def listing_over_restarts():
    """a listing goes on after a restart with the cookies from before"""
    with Server() as s:
        for i in range(500):
            s.lower(f"d/{i}", "x")
        c = s.client()
        d = c.walk("d")
        names, cookie, verf = [], 0, b"\0" * 8
        while True:
            one = c.readdir(d, cookie, verf, 4096)
            same(one.status, OK)
            names += [e.name for e in one.entries]
            if one.eof:
                break
            cookie, verf = one.entries[-1].cookie, one.verf
            c.close()
            c = restart(s, HOWS[len(names) % 2])
        same(len(names), 502)
        same(len(set(names)), 502)
        c.close()


@case
def replays():
    """what comes twice under one number is done once and answered alike"""
    with Server() as s:
        s.lower("gone", "x")
        s.lower("from", "x")
        with s.client() as c:
            root, fh = c.root(), c.walk("from")
            requests = [
                (8, opaque(root) + opaque("made") + u32(GUARDED) + sattr(mode=0o600)),
                (9, opaque(root) + opaque("dir") + sattr(mode=0o700)),
                (10, opaque(root) + opaque("sym") + sattr() + opaque("target")),
                (11, opaque(root) + opaque("fifo") + u32(FIFO) + sattr(mode=0o600)),
                (12, opaque(root) + opaque("gone")),
                (15, opaque(fh) + opaque(root) + opaque("linked")),
                (14, opaque(root) + opaque("from") + opaque(root) + opaque("to")),
                (13, opaque(root) + opaque("dir")),
                (2, opaque(fh) + sattr(mode=0o604) + u32(0)),
            ]
            for i, (proc, body) in enumerate(requests):
                message = c.pack(proc, body)
                c.send_record(message)
                first = c.recv_record()
                same((proc, c.reply(first).u32()), (proc, OK))
                # On the same connection, and as after a broken one from another port.
                c.send_record(message)
                assert c.recv_record() == first, proc
                with s.client() as again:
                    again.send_record(message)
                    assert again.recv_record() == first, proc
                # The same number for something else is something else.
                xid = struct.unpack(">I", message[:4])[0]
                same(c.call(1, opaque(root), xid=xid).u32(), OK)
                if i == 4:
                    # After the name was made again the replay must not take it.
                    same(c.create(root, "gone").status, OK)
                    c.send_record(message)
                    assert c.recv_record() == first
                    same(c.lookup(root, "gone").status, OK)


@case
def exclusive_over_restart():
    """an exclusive CREATE whose answer was lost with the server succeeds once more"""
    for how in HOWS:
        with Server() as s:
            c = s.client()
            root = c.root()
            fh = c.create(root, "x", EXCLUSIVE, b"\x01\x02\x03\x04\x05\x06\x07\x08").fh
            c.close()
            c = restart(s, how)
            again = c.create(root, "x", EXCLUSIVE, b"\x01\x02\x03\x04\x05\x06\x07\x08")
            same((again.status, again.fh), (OK, fh))
            c.close()


@case
def another_export():
    """handles of one export are useless on another one, with keys of its own or a shared one"""
    with Server() as one, Server() as two:
        with one.client() as a, two.client() as b:
            same(b.getattr(a.root()).status, BADHANDLE)
            assert a.getattr(a.root()).attr["fsid"] != b.getattr(b.root()).attr["fsid"]
        key = one.path("key")
        with open(key, "wb") as file:
            file.write(os.urandom(16))
        for s in (one, two):
            s.stop()
            s.extra = ["--key-file", key]
            s.start()
        with one.client() as a, two.client() as b:
            same(b.getattr(a.root()).status, BADHANDLE)


def filesystems(s, names):
    """Mount an image for each of NAMES, in this order; returns their device numbers by name."""
    for name in names:
        image = s.path(name + ".img")
        if not os.path.exists(image):
            subprocess.run(["truncate", "-s", "32M", image], check=True)
            subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
        os.makedirs(s.path("fs-" + name), exist_ok=True)
        subprocess.run(["mount", "-o", "loop", image, s.path("fs-" + name)], check=True)
    return {name: os.stat(s.path("fs-" + name)).st_dev for name in names}


def no_filesystems(s, names):
    for name in names:
        subprocess.run(["umount", s.path("fs-" + name)], check=True)


@case
def another_machine_start():
    """handles are good when the layers come back under other device numbers, as after a reboot"""
    with Server() as s:
        s.stop()
        names = ["one", "two"]
        before = filesystems(s, names)
        try:
            layers(s)
            s.start()
            with s.client() as c:
                handles = {path: c.walk(path) for path in ("low", "dir/up", "dir", "both")}
                same(c.write(handles["both"], "COPIED").status, OK)
                new = c.create(handles["dir"], "new").fh
            s.stop()
            for _ in range(20):  # others take such devices too
                no_filesystems(s, names)
                names.reverse()
                after = filesystems(s, names)
                if all(before[name] != after[name] for name in names):
                    break
            else:
                raise AssertionError("the device numbers stay the same")
            s.start()
            with s.client() as c:
                same(c.read(handles["low"]).data, b"low")
                same(c.read(handles["both"]).data, b"COPIED below")
                same(c.read(handles["dir/up"]).data, b"up")
                same(c.lookup(handles["dir"], "new").fh, new)
                for path, fh in handles.items():
                    same(c.walk(path), fh)
            s.stop()
        finally:
            if s.process:
                s.stop()
            no_filesystems(s, names)


def layers(s):
    """Layers on the filesystems of their own."""
    for name, where in (("lower", "one"), ("upper", "two"), ("work", "two")):
        shutil.rmtree(s.path(name))
        os.mkdir(s.path("fs-" + where, name))
        os.symlink(os.path.join("fs-" + where, name), s.path(name))
    s.lower("low", "low")
    s.lower("both", "copied below")
    s.lower("dir/file", "file")
    os.mkdir(s.path("upper", "dir"))
    with open(s.path("upper", "dir", "up"), "w", encoding="ascii") as file:
        file.write("up")


@case
def the_key():
    """the key is made once, 16 bytes for root alone; a damaged one is an error, not a new key"""
    with Server() as s:
        path = s.path("work", "lamina", "nfs-key")
        st = os.stat(path)
        same((st.st_size, st.st_mode & 0o7777, st.st_uid), (16, 0o600, 0))
        with open(path, "rb") as file:
            key = file.read()
        s.stop()
        s.start()
        with open(path, "rb") as file:
            same(file.read(), key)
        s.stop()
        os.truncate(path, 15)
        try:
            s.start()
            raise AssertionError("started with a damaged key")
        except RuntimeError:
            s.process = None
        os.unlink(path)
        s.start()


@case
def drains():
    """what was asked before SIGTERM is answered, under load from many clients"""
    with Server() as s:
        with s.client() as c:
            root = c.root()
        made, unknown = [], []

        def work(number):
            with s.client() as c:
                for i in range(100000):
                    name = f"{number}-{i}"
                    try:
                        if c.create(root, name, mode=0o600).status == OK:
                            made.append(name)
                    except (Closed, OSError):
                        unknown.append(name)
                        return
        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        while len(made) < 100:
            time.sleep(0.01)
        same(s.stop(), 0)
        for thread in threads:
            thread.join()
        there = set(os.listdir(s.path("upper")))
        assert set(made) <= there, set(made) - there
        assert there <= set(made) | set(unknown)
        s.start()


@case
def with_a_mount():
    """lamina mount --nfs: what one side changes the other sees at once"""
    with Server() as s:
        s.lower("file", "old data")
        s.lower("dir/sub", "x")
        s.stop()
        layers = (f"lowerdir={s.path('lower')},upperdir={s.path('upper')},"
                  f"workdir={s.path('work')}")
        mnt = s.path("mnt")
        s.command = lambda: [s.program, "mount", "-f", "-o", layers, "--nfs",
                             f"127.0.0.1:{s.port}", "--nfs-allow", "127.0.0.1,no_root_squash",
                             mnt]
        s.start()
        try:
            check_coherence(s, mnt)
        finally:
            subprocess.run(["umount", "-l", mnt], check=False, stderr=subprocess.DEVNULL)
            same(s.process.wait(60), 0)
            s.process = None


def mounted(s):
    """Let S serve through a mount as well, and return where."""
    s.stop()
    layers = f"lowerdir={s.path('lower')},upperdir={s.path('upper')},workdir={s.path('work')}"
    s.command = lambda: [s.program, "mount", "-f", "-o", layers, "--nfs", f"127.0.0.1:{s.port}",
                         "--nfs-allow", "127.0.0.1,no_root_squash", s.path("mnt")]
    s.start()
    return s.path("mnt")


@case
def moved_by_both_sides():
    """open on one side; the other writes, renames, moves, renames the parent, twice"""
    with Server() as s:
        for i in range(2):
            s.lower(f"dir{i}/file", f"old{i}")
            s.lower(f"to{i}/x", "x")
        mnt = mounted(s)
        try:
            with s.client() as c:
                check_moves(s, mnt, c)
        finally:
            subprocess.run(["umount", "-l", mnt], check=False, stderr=subprocess.DEVNULL)
            same(s.process.wait(60), 0)
            s.process = None


def check_moves(s, mnt, c):
    def at(*names):
        return os.path.join(mnt, *names)

    # The client of NFS holds a handle, the mount changes.
    fh = c.walk("dir0/file")
    for i, path in enumerate(("renamed", "again")):
        before = at("dir0", "file" if i == 0 else "renamed")
        with open(before, "w", encoding="ascii") as file:
            file.write(f"new{i}")
        same(c.read(fh).data, f"new{i}".encode())
        os.rename(before, at("dir0", path))
        same(c.walk(f"dir0/{path}"), fh)
    os.rename(at("dir0", "again"), at("to0", "moved"))
    os.rename(at("to0"), at("p1"))
    os.rename(at("p1"), at("p2"))
    same(c.walk("p2/moved"), fh)
    same(c.read(fh).data, b"new1")
    same(c.lookup(c.root(), "to0").status, NOENT)
    # The mount holds a descriptor, NFS changes.
    fd = os.open(at("dir1", "file"), os.O_RDONLY)
    ino = os.fstat(fd).st_ino
    d, root = c.walk("dir1"), c.root()
    for i, (old, new) in enumerate((("file", "renamed"), ("renamed", "again"))):
        same(c.write(c.walk(f"dir1/{old}"), f"NEW{i}").status, OK)
        same(os.pread(fd, 9, 0), f"NEW{i}".encode())
        same(c.rename(d, old, d, new).status, OK)
        same(os.stat(at("dir1", new)).st_ino, ino)
        assert not os.path.exists(at("dir1", old))
    same(c.rename(d, "again", c.walk("to1"), "moved").status, OK)
    same(c.rename(root, "to1", root, "q1").status, OK)
    same(c.rename(root, "q1", root, "q2").status, OK)
    same(os.stat(at("q2", "moved")).st_ino, ino)
    same(os.pread(fd, 9, 0), b"NEW1")
    # Two names, one taken by each side; the last one goes while the mount has it open.
    same(c.link(c.walk("q2/moved"), root, "second").status, OK)
    same(os.fstat(fd).st_nlink, 2)
    os.unlink(at("q2", "moved"))
    same(c.getattr(c.walk("second")).attr["nlink"], 1)
    same(c.remove(root, "second").status, OK)
    same((os.fstat(fd).st_nlink, os.pread(fd, 9, 0)), (0, b"NEW1"))
    os.close(fd)


@case
def mount_goes_away():
    """the mount is taken away while clients of NFS change what it has cached: the server ends"""
    for _ in range(3):
        with Server() as s:
            for i in range(50):
                s.lower(f"d/{i}", "x")
            mnt = mounted(s)
            stop = threading.Event()

            def look(mnt=mnt, stop=stop):
                while not stop.is_set():
                    try:
                        for name in os.listdir(os.path.join(mnt, "d")):
                            read_file(mnt, "d", name)
                    except OSError:
                        pass

            def change(s=s, stop=stop):
                try:
                    with s.client() as c:
                        d = c.walk("d")
                        for i in range(1000000):
                            if stop.is_set():
                                return
                            c.create(d, f"{i % 20}", UNCHECKED, size=0)
                            c.rename(d, f"{i % 20}", d, f"{i % 17}")
                except (Closed, OSError, AssertionError):
                    pass
            threads = [threading.Thread(target=f) for f in (look, change, change, change)]
            for thread in threads:
                thread.start()
            time.sleep(0.3)
            subprocess.run(["umount", "-l", mnt], check=True)
            stop.set()
            same(s.process.wait(100), 0)
            s.process = None
            for thread in threads:
                thread.join()


def read_file(*names):
    with open(os.path.join(*names), encoding="ascii") as file:
        return file.read()


def check_coherence(s, mnt):
    with s.client() as c:
        root = c.root()
        same(read_file(mnt, "file"), "old data")
        same(os.stat(os.path.join(mnt, "file")).st_ino, c.getattr(c.walk("file")).attr["fileid"])
        fd = os.open(os.path.join(mnt, "file"), os.O_RDONLY)
        same(c.write(c.walk("file"), "NEW data and more").status, OK)
        same(os.pread(fd, 100, 0), b"NEW data and more")
        same(os.fstat(fd).st_size, 17)
        assert not os.path.exists(os.path.join(mnt, "new"))
        made = c.create(root, "new", mode=0o600)
        # What the kernel changes is not counted, so nobody is told that only the own change happened.
        same((made.status, made.before), (OK, None))
        assert os.path.exists(os.path.join(mnt, "new"))
        same(sorted(os.listdir(mnt)), ["dir", "file", "new"])
        same(c.remove(root, "new").status, OK)
        assert not os.path.exists(os.path.join(mnt, "new"))
        same(sorted(os.listdir(mnt)), ["dir", "file"])
        same(c.rename(root, "file", c.walk("dir"), "moved").status, OK)
        assert not os.path.exists(os.path.join(mnt, "file"))
        same(read_file(mnt, "dir", "moved"), "NEW data and more")
        same(c.setattr(c.walk("dir/moved"), mode=0o611).status, OK)
        same(os.stat(os.path.join(mnt, "dir", "moved")).st_mode & 0o777, 0o611)
        with open(os.path.join(mnt, "dir", "moved"), "w", encoding="ascii") as file:
            file.write("by fuse")
        same(c.read(c.walk("dir/moved")).data, b"by fuse")
        os.rename(os.path.join(mnt, "dir", "moved"), os.path.join(mnt, "back"))
        same(c.read(c.walk("back")).data, b"by fuse")
        # The mount has it open: reads go on although NFS takes the last name.
        same(c.remove(root, "back").status, OK)
        same(os.fstat(fd).st_nlink, 0)
        same(os.pread(fd, 100, 0), b"by fuse")
        os.close(fd)


main()
