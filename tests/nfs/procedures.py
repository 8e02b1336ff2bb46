#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Every procedure of NFSv3 and MOUNT v3, its results and its errors."""

import os
import stat

from client import *  # pylint: disable=wildcard-import,unused-wildcard-import


@case
def nulls():
    """NULL of both programs, under any credentials"""
    with Server() as s, s.client(None) as c:
        c.null()
        c.call(0, program=MOUNT).end()
        c.cred = u32(6, 0)
        c.null()


@case
def programs():
    """what is not there is refused in the words of RPC"""
    with Server() as s, s.client() as c:
        def refused(**more):
            try:
                c.call(more.pop("proc", 1), **more)
            except RpcError as error:
                return error.status
            return None
        same(refused(program=100227), ("accepted", 1))
        same(refused(program=100000), ("accepted", 1))
        same(refused(version=4), ("accepted", 2))
        same(refused(program=MOUNT, version=1), ("accepted", 2))
        same(refused(proc=22), ("accepted", 3))
        same(refused(program=MOUNT, proc=6), ("accepted", 3))
        same(refused(rpcvers=3), ("denied", 0, 2))
        same(refused(body=b"\0\0"), ("accepted", 4))
        c.cred = u32(6, 0)
        same(refused(), ("denied", 1, 5))
        c.cred = u32(1) + opaque(b"short")
        same(refused(), ("denied", 1, 1))
        # 17 groups are one too many.
        c.cred = u32(1) + opaque(u32(0, 0, 0, 0, 17) + u32(*range(17)))
        same(refused(), ("denied", 1, 1))
        c.cred = (0, 0)
        c.null()


@case
def mounting():
    """MNT of the root and below, and of what cannot be mounted"""
    with Server(extra=["--export", "/exp"]) as s:
        s.lower("dir/sub")
        s.lower("file", "x")
        os.symlink("dir", s.path("lower", "link"))
        with s.client() as c:
            root = c.mnt("/")
            same(root.flavors, [1])
            assert len(root.fh) <= 64
            same(c.mnt("").fh, root.fh)
            same(c.mnt("/exp").fh, root.fh)
            same(c.mnt("/exp/").fh, root.fh)
            sub = c.walk("dir/sub")
            same(c.mnt("/dir/sub").fh, sub)
            same(c.mnt("/exp//dir/./sub/").fh, sub)
            same(c.mnt("/none").status, 2)
            same(c.mnt("/expo").status, 2)
            same(c.mnt("relative").status, 2)
            same(c.mnt("/file").status, 20)
            same(c.mnt("/link/sub").status, 20)
            same(c.mnt("/dir/../dir").status, 13)
            same(c.mnt("/" + "n" * 300).status, 63)
            same(c.mnt("/" + "n/" * 3000).status, 63)
            same(c.mnt("/dir\0x").status, 2)
            same(c.call(2, program=MOUNT).u32(), 0)
            c.call(3, opaque("/"), program=MOUNT).end()
            c.call(4, program=MOUNT).end()
            r = c.call(5, program=MOUNT)
            same((r.u32(), r.opaque(), r.u32(), r.u32()), (1, b"/exp", 0, 0))
            r.end()


@case
def attributes():
    """GETATTR shows what stat shows in the layer, of each type"""
    with Server() as s:
        s.lower("file", "12345", 0o640)
        s.lower("dir")
        os.symlink("target", s.path("lower", "link"))
        os.mkfifo(s.path("lower", "fifo"))
        os.mknod(s.path("lower", "null"), stat.S_IFCHR | 0o666, os.makedev(1, 3))
        os.link(s.path("lower", "file"), s.path("lower", "other"))
        os.chown(s.path("lower", "file"), 7, 8)
        os.utime(s.path("lower", "file"), ns=(10**18 + 1, 10**18 + 2))
        with s.client() as c:
            kinds = {"file": REG, "dir": DIR, "link": LNK, "fifo": FIFO, "null": CHR}
            for name, kind in kinds.items():
                st = os.lstat(s.path("lower", name))
                got = c.getattr(c.walk(name)).attr
                same(got["type"], kind)
                for mine, theirs in (("mode", stat.S_IMODE(st.st_mode)), ("nlink", st.st_nlink),
                                     ("uid", st.st_uid), ("gid", st.st_gid)):
                    if (name, mine) != ("dir", "nlink"):
                        same((name, mine, got[mine]), (name, mine, theirs))
                if name != "dir":
                    same(got["size"], st.st_size)
                same(got["mtime"], divmod(st.st_mtime_ns, 10**9))
            same(c.getattr(c.walk("null")).attr["rdev"], (1, 3))
            same(c.getattr(c.walk("file")).attr["atime"], (10**9, 1))
            same(c.walk("file"), c.walk("other"))
            same(c.getattr(b"x" * 40).status, BADHANDLE)
            same(c.getattr(b"").status, BADHANDLE)


@case
def setting():
    """SETATTR of each attribute, its guard, and what it refuses"""
    with Server() as s:
        s.lower("file", "0123456789")
        s.lower("dir")
        with s.client() as c:
            fh = c.walk("file")
            ino = c.getattr(fh).attr["fileid"]
            out = c.setattr(fh, mode=0o600, uid=5, gid=6, size=4, atime=(1, 2), mtime=(3, 4))
            same(out.status, OK)
            same(out.before["size"], 10)
            a = out.after
            same((a["mode"], a["uid"], a["gid"], a["size"]), (0o600, 5, 6, 4))
            same((a["atime"], a["mtime"], a["fileid"]), ((1, 2), (3, 4), ino))
            same(c.read(fh).data, b"0123")
            same(open(s.path("lower", "file"), "rb").read(), b"0123456789")
            same(os.stat(s.path("upper", "file")).st_uid, 5)
            same(c.setattr(fh, size=100).after["size"], 100)
            same(c.read(fh).data, b"0123" + b"\0" * 96)
            now = c.setattr(fh, mtime="now", atime="now").after["mtime"][0]
            assert now > 10**9
            ctime = c.getattr(fh).attr["ctime"]
            same(c.setattr(fh, guard=(1, 1), mode=0o644).status, NOT_SYNC)
            same(c.setattr(fh, guard=ctime, mode=0o644).status, OK)
            same(c.setattr(fh).status, OK)
            same(c.setattr(fh, mtime=(1, 10**9)).status, INVAL)
            same(c.setattr(fh, size=1 << 63).status, FBIG)
            same(c.setattr(c.walk("dir"), size=0).status, ISDIR)
            same(c.setattr(b"\1" * 64, mode=0).status, BADHANDLE)


@case
def looking_up():
    """LOOKUP of names, of dots and of what is no name"""
    with Server() as s:
        s.lower("dir/file", "x")
        s.lower("n" * 255, "long")
        with s.client() as c:
            root, d = c.root(), c.walk("dir")
            found = c.lookup(d, "file")
            same((found.status, found.attr["type"], found.dir["type"]), (OK, REG, DIR))
            same(c.lookup(d, ".").fh, d)
            same(c.lookup(d, "..").fh, root)
            same(c.lookup(root, "..").fh, root)
            same(c.lookup(root, "n" * 255).status, OK)
            missing = c.lookup(d, "none")
            same((missing.status, missing.dir["type"]), (NOENT, DIR))
            same(c.lookup(found.fh, "x").status, NOTDIR)
            same(c.lookup(d, "").status, ACCES)
            same(c.lookup(d, "a/b").status, ACCES)
            same(c.lookup(d, b"file\0").status, ACCES)
            same(c.lookup(d, "n" * 256).status, NAMETOOLONG)
            same(c.lookup(d, "n" * 4096).status, NAMETOOLONG)


@case
def links():
    """SYMLINK and READLINK, of any target"""
    with Server() as s, s.client() as c:
        root = c.root()
        for name, target in (("a", b"x"), ("b", b"/etc/passwd"), ("c", b"../" * 1000),
                             ("d", b"t" * 4095), ("e", bytes(range(1, 256)))):
            made = c.symlink(root, name, target, mode=0o777)
            same((made.status, made.attr["type"]), (OK, LNK))
            same(c.readlink(made.fh).target, target)
            same(os.readlink(os.fsencode(s.path("upper", name))), target)
        same(c.symlink(root, "f", b"t" * 4096).status, NAMETOOLONG)
        same(c.symlink(root, "f", b"").status, INVAL)
        same(c.symlink(root, "f", b"a\0b").status, INVAL)
        same(c.symlink(root, "a", b"x").status, EXIST)
        same(c.readlink(root).status, INVAL)
        same(c.mknod(root, "p", FIFO, mode=0o600).status, OK)
        same(c.readlink(c.walk("p")).status, INVAL)


@case
def reading():
    """READ of parts, past the end, and of what is no file"""
    data = os.urandom(3 * 1024 * 1024 + 17)
    with Server() as s:
        s.lower("file", data)
        s.lower("empty", b"")
        s.lower("dir")
        with s.client() as c:
            fh = c.walk("file")
            for off, n in ((0, 1), (1, 2), (4095, 4098), (0, 1048576), (len(data) - 5, 5),
                           (len(data) - 5, 6), (len(data), 10), (len(data) + 5, 10), (7, 0)):
                got = c.read(fh, off, n)
                same((got.status, got.data), (OK, data[off:off + n]))
                same(bool(got.eof), off + len(got.data) >= len(data))
            big = c.read(fh, 0, 0xffffffff)
            same((big.count, big.data), (1048576, data[:1048576]))
            whole = b"".join(c.read(fh, at, 1048576).data for at in range(0, len(data), 1048576))
            assert whole == data
            same(c.read(fh, (1 << 64) - 1, 10).count, 0)
            empty = c.read(c.walk("empty"))
            same((empty.status, empty.count, empty.eof), (OK, 0, 1))
            same(c.read(c.walk("dir")).status, ISDIR)
            c.symlink(c.root(), "l", "x")
            same(c.read(c.walk("l")).status, INVAL)
            same(c.read(b"\2" * 40).status, BADHANDLE)


@case
def writing():
    """WRITE of the three kinds, and COMMIT"""
    data = os.urandom(1048576)
    with Server() as s:
        s.lower("file", "old bytes here")
        with s.client() as c:
            root = c.root()
            fh = c.walk("file")
            verfs = set()
            for how in (UNSTABLE, DATA_SYNC, FILE_SYNC):
                out = c.write(fh, "new", 4, how)
                same((out.status, out.count, out.committed), (OK, 3, how))
                verfs.add(out.verf)
            done = c.commit(fh)
            same(done.status, OK)
            verfs.add(done.verf)
            same(len(verfs), 1)
            same(c.read(fh).data, b"old newes here")
            same(c.write(fh, data, 1 << 20, UNSTABLE).count, len(data))
            same(c.read(fh, 1 << 20, 1 << 20).data, data)
            same(c.read(fh, 1000, 10).data, b"\0" * 10)
            same(c.write(fh, b"", 0).count, 0)
            same(c.write(fh, b"abcd", 0, count=2).count, 2)
            same(c.read(fh, 0, 4).data, b"abd ")
            same(c.write(fh, b"abcd", 0, count=5).status, INVAL)
            same(c.write(fh, b"abcd", 0, stable=3).status, INVAL)
            same(c.write(fh, b"abcd", (1 << 64) - 2).status, FBIG)
            same(c.write(fh, b"abcd", (1 << 63) - 2).status, FBIG)
            same(c.write(root, b"abcd").status, ISDIR)
            same(c.commit(root).status, ISDIR)
            out = c.write(fh, b"end", (1 << 21) - 1)
            same((out.before["size"], out.after["size"]), (1 << 21, (1 << 21) + 2))
            same(open(s.path("lower", "file"), "rb").read(), b"old bytes here")


@case
def creating():
    """CREATE in its three ways"""
    with Server() as s:
        s.lower("there", "content")
        s.lower("dir/sub")
        with s.client((0, 0)) as c:
            root = c.root()
            made = c.create(root, "new", mode=0o4751, uid=3, gid=4, size=10, mtime=(5, 6))
            same(made.status, OK)
            a = made.attr
            same((a["type"], a["mode"], a["uid"], a["gid"], a["size"], a["mtime"]),
                 (REG, 0o4751, 3, 4, 10, (5, 6)))
            same(c.lookup(root, "new").fh, made.fh)
            assert made.before and made.after["mtime"] >= made.before["mtime"]
            same(c.create(root, "new").status, EXIST)
            same(c.create(root, "there").status, EXIST)
            again = c.create(root, "there", UNCHECKED, mode=0o777)
            same((again.status, again.fh, again.attr["size"]), (OK, c.walk("there"), 7))
            assert again.attr["mode"] != 0o777
            same(c.create(root, "there", UNCHECKED, size=0).attr["size"], 0)
            same(c.create(root, "dir", UNCHECKED).status, EXIST)
            for name, status in ((".", EXIST), ("..", EXIST), ("", ACCES), ("a/b", ACCES),
                                 ("n" * 256, NAMETOOLONG)):
                same(c.create(root, name).status, status)
            same(c.create(made.fh, "x").status, NOTDIR)
            # A verifier that comes again is the same request again.
            verf = b"\xff\xee\xdd\xcc\xbb\xaa\x99\x88"
            one = c.create(root, "excl", EXCLUSIVE, verf)
            two = c.create(root, "excl", EXCLUSIVE, verf)
            same((one.status, two.status, one.fh), (OK, OK, two.fh))
            same(c.create(root, "excl", EXCLUSIVE, b"12345678").status, EXIST)
            same(c.setattr(one.fh, mode=0o644, atime="now", mtime="now").status, OK)
            same(c.create(root, "excl", EXCLUSIVE, verf).status, EXIST)


@case
def making():
    """MKDIR and MKNOD"""
    with Server() as s:
        s.lower("dir")
        with s.client() as c:
            root = c.root()
            made = c.mkdir(root, "new", mode=0o2755, gid=9)
            same((made.status, made.attr["type"], made.attr["gid"]), (OK, DIR, 9))
            same(c.mkdir(root, "dir").status, EXIST)
            same(c.mkdir(root, ".").status, EXIST)
            same(c.mkdir(made.fh, "deep", mode=0o700).status, OK)
            for name, kind in (("p", FIFO), ("s", SOCK), ("c", CHR), ("b", BLK)):
                got = c.mknod(root, name, kind, (5, 1), mode=0o640)
                same((got.status, got.attr["type"], got.attr["mode"]), (OK, kind, 0o640))
                if kind in (CHR, BLK):
                    same(got.attr["rdev"], (5, 1))
            same(c.mknod(root, "x", REG).status, BADTYPE)
            same(c.mknod(root, "x", 77).status, BADTYPE)
            # It would be a whiteout.
            same(c.mknod(root, "x", CHR, (0, 0), mode=0o600).status, PERM)
            c.cred = (1000, 1000)
            c.cred, admin = (0, 0), c.cred
            same(c.setattr(root, mode=0o777).status, OK)
            c.cred = admin
            same(c.mknod(root, "x", CHR, (5, 1), mode=0o600).status, PERM)
            same(c.mknod(root, "x", FIFO, mode=0o600).attr["uid"], 1000)


@case
def removing():
    """REMOVE and RMDIR, of lower and upper objects"""
    with Server() as s:
        s.lower("file", "x")
        s.lower("dir/child", "x")
        s.lower("empty")
        with s.client() as c:
            root = c.root()
            c.create(root, "up")
            file, up = c.walk("file"), c.walk("up")
            for name in ("file", "up"):
                out = c.remove(root, name)
                same(out.status, OK)
                assert out.before and out.after
                same(c.lookup(root, name).status, NOENT)
                same(c.remove(root, name).status, NOENT)
            same(c.getattr(up).status, STALE)
            same(c.getattr(file).status, STALE)
            same(c.remove(root, "dir").status, ISDIR)
            same(c.rmdir(root, "dir").status, NOTEMPTY)
            same(c.remove(c.walk("dir"), "child").status, OK)
            same(c.rmdir(root, "dir").status, OK)
            same(c.rmdir(root, "empty").status, OK)
            same(c.list(root) and sorted(e.name for e in c.list(root)), [b".", b".."])
            c.create(root, "f")
            same(c.rmdir(root, "f").status, NOTDIR)
            same(c.rmdir(root, ".").status, INVAL)
            same(c.rmdir(root, "..").status, EXIST)
            same(c.remove(root, "..").status, ACCES)
            same(c.remove(c.walk("f"), "x").status, NOTDIR)
            same(sorted(os.listdir(s.path("lower"))), ["dir", "empty", "file"])


@case
def renaming():
    """RENAME within and between directories, over what may be replaced"""
    with Server() as s:
        s.lower("a/file", "of a")
        s.lower("b/file", "of b")
        s.lower("b/sub/x", "x")
        with s.client() as c:
            a, b = c.walk("a"), c.walk("b")
            file, sub = c.walk("a/file"), c.walk("b/sub")
            ino = c.getattr(file).attr["fileid"]
            out = c.rename(a, "file", b, "moved")
            same(out.status, OK)
            assert out["from"][0] and out["to"][1]
            same(c.lookup(b, "moved").fh, file)
            same(c.getattr(file).attr["fileid"], ino)
            same(c.read(file).data, b"of a")
            same(c.rename(b, "moved", b, "file").status, OK)
            same(c.read(c.walk("b/file")).data, b"of a")
            same(c.rename(b, "sub", a, "sub2").status, OK)
            same(c.lookup(sub, "..").fh, a)
            same(c.read(c.walk("a/sub2/x")).data, b"x")
            same(c.rename(b, "none", a, "x").status, NOENT)
            same(c.rename(a, "sub2", sub, "into").status, INVAL)
            same(c.rename(b, "file", c.root(), "a").status, ISDIR)
            same(c.rename(c.root(), "b", a, "sub2").status, NOTEMPTY)
            same(c.rename(c.root(), "b", b, "..").status, INVAL)
            same(c.rename(b, "file", a, "n" * 256).status, NAMETOOLONG)
            same(c.rename(file, "x", a, "y").status, NOTDIR)


@case
def linking():
    """LINK: one file, more names"""
    with Server() as s:
        s.lower("dir/file", "data")
        with s.client() as c:
            root, fh = c.root(), c.walk("dir/file")
            out = c.link(fh, root, "second")
            same((out.status, out.attr["nlink"]), (OK, 2))
            same(c.lookup(root, "second").fh, fh)
            same(c.write(fh, "DATA").status, OK)
            same(c.read(c.walk("second")).data, b"DATA")
            same(c.link(fh, root, "second").status, EXIST)
            same(c.link(root, root, "x").status, ISDIR)
            same(c.link(fh, fh, "x").status, NOTDIR)
            same(c.remove(c.walk("dir"), "file").status, OK)
            same(c.getattr(fh).attr["nlink"], 1)
            same(c.read(fh).data, b"DATA")


@case
def listing():
    """READDIR and READDIRPLUS agree with LOOKUP, in any portion"""
    with Server() as s:
        for i in range(300):
            s.lower(f"dir/lower{i:03}", "x")
        with s.client() as c:
            d = c.walk("dir")
            for i in range(300):
                same(c.create(d, f"upper{i:03}" + "n" * (i % 100), mode=0o600).status, OK)
            for i in range(0, 300, 2):
                same(c.remove(d, f"lower{i:03}").status, OK)
            wanted = {os.fsencode(f"lower{i:03}") for i in range(1, 300, 2)}
            wanted |= {os.fsencode(f"upper{i:03}" + "n" * (i % 100)) for i in range(300)}
            wanted |= {b".", b".."}
            plain = c.list(d, count=512)
            plus = c.list(d, plus=True, dircount=1024, maxcount=2048)
            for entries in (plain, plus, c.list(d, count=65536),
                            c.list(d, plus=True, maxcount=1 << 20)):
                same(len(entries), len(wanted))
                same({e.name for e in entries}, wanted)
            inos = {e.name: e.fileid for e in plain}
            for e in plus:
                same(e.fileid, inos[e.name])
                if e.name not in (b".", b".."):
                    found = c.lookup(d, e.name)
                    same((e.fh, e.attr["fileid"]), (found.fh, inos[e.name]))
                    same(found.attr["fileid"], e.fileid)
            same(inos[b"."], c.getattr(d).attr["fileid"])
            same(inos[b".."], c.getattr(c.root()).attr["fileid"])


@case
def listing_limits():
    """answers keep to the client's room; a cookie needs its verifier"""
    with Server() as s:
        s.lower("dir/" + "n" * 255, "x")
        for i in range(50):
            s.lower(f"dir/{i}", "x")
        with s.client() as c:
            d = c.walk("dir")
            for count in (600, 700, 1000, 4096):
                r = c.call(16, opaque(d) + u64(0) + b"\0" * 8 + u32(count))
                assert len(r.data) - 24 <= count, (len(r.data) - 24, count)
                r = c.call(17, opaque(d) + u64(0) + b"\0" * 8 + u32(8192, count))
                assert len(r.data) - 24 <= count, (len(r.data) - 24, count)
            same(c.readdir(d, count=50).status, TOOSMALL)
            same(c.readdir(d, count=110).status, TOOSMALL)
            same(c.readdirplus(d, maxcount=130, dircount=8192).status, TOOSMALL)
            one = c.readdir(d, count=600)
            assert any(one.verf)
            last = one.entries[-1].cookie
            same(c.readdir(d, last, one.verf).status, OK)
            same(c.readdir(d, last, b"12345678").status, BAD_COOKIE)
            same(c.readdir(d, 1 << 63, one.verf).status, BAD_COOKIE)
            same(c.readdir(c.walk("dir/1")).status, NOTDIR)


@case
def listing_while_changing():
    """100,000 names, listed once while names come and go: none twice, none that stays missing"""
    with Server() as s:
        os.makedirs(s.path("upper", "big"))
        for i in range(100000):
            os.close(os.open(s.path("upper", "big", f"stays{i}"), os.O_CREAT, 0o600))
        with s.client() as c:
            d = c.walk("big")
            seen, cookie, verf, n = [], 0, b"\0" * 8, 0
            while True:
                one = c.readdir(d, cookie, verf, 32768)
                same(one.status, OK)
                seen += [e.name for e in one.entries]
                if one.eof:
                    break
                cookie, verf = one.entries[-1].cookie, one.verf
                same(c.create(d, f"comes{n}").status, OK)
                if n >= 5:
                    same(c.remove(d, f"comes{n - 5}").status, OK)
                n += 1
            assert n > 50
            same(len(seen), len(set(seen)))
            same(len([x for x in seen if x.startswith(b"stays")]), 100000)


@case
def filesystem():
    """FSSTAT, FSINFO and PATHCONF tell the truth"""
    with Server() as s, s.client() as c:
        root = c.root()
        st = os.statvfs(s.path("upper"))
        got = c.fsstat(root)
        same((got.tbytes, got.tfiles), (st.f_blocks * st.f_frsize, st.f_files))
        assert abs(got.abytes - st.f_bavail * st.f_frsize) < 1 << 30
        info = c.fsinfo(root)
        same((info.rtmax, info.wtmax, info.properties), (1048576, 1048576, 0x1b))
        same((info.maxfilesize, info.delta_s, info.delta_ns), ((1 << 63) - 1, 0, 1))
        conf = c.pathconf(root)
        same((conf.name_max, conf.no_trunc, conf.chown_restricted, conf.case_insensitive,
              conf.case_preserving), (255, 1, 1, 0, 1))
        assert conf.linkmax >= 32000
        same(c.fsinfo(b"").status, BADHANDLE)


@case
def read_only_stack():
    """a stack without an upper layer refuses every change, and keeps handles with a key file"""
    with Server(lower_only=True) as s:
        s.lower("file", "data")
        key = s.path("key")
        with open(key, "wb") as file:
            file.write(os.urandom(16))
        s.stop()
        s.extra = ["--key-file", key]
        s.start()
        with s.client() as c:
            root, fh = c.root(), c.walk("file")
            same(c.read(fh).data, b"data")
            for status in (c.write(fh, "x").status, c.create(root, "x").status,
                           c.setattr(fh, mode=0).status, c.remove(root, "file").status,
                           c.mkdir(root, "x").status, c.rename(root, "file", root, "y").status,
                           c.link(fh, root, "x").status, c.symlink(root, "x", "y").status):
                same(status, ROFS)
        s.stop()
        s.start()
        with s.client() as c:
            same(c.read(fh).data, b"data")


main()
