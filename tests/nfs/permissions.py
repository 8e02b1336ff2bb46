#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Who may do what: modes, groups, ACLs, sticky directories, squashing and rules by address."""

import os
import shutil
import subprocess

from client import *  # pylint: disable=wildcard-import,unused-wildcard-import

READ, LOOKUP, MODIFY, EXTEND, DELETE, EXECUTE = 1, 2, 4, 8, 16, 32
ALL_FILE = READ | MODIFY | EXTEND


def owned(path, uid, gid, mode):
    os.chown(path, uid, gid)
    os.chmod(path, mode)


@case
def modes():
    """ACCESS, READ and WRITE by owner, group, 16 groups and others"""
    with Server() as s:
        owned(s.lower("f", "x"), 1000, 2000, 0o640)
        owned(s.lower("d"), 1000, 2000, 0o750)
        with s.client() as c:
            f, d = c.walk("f"), c.walk("d")
            extra = tuple(range(3000, 3015)) + (2000,)
            for cred, file_bits, dir_bits in (
                    ((0, 0), ALL_FILE, READ | LOOKUP | MODIFY | EXTEND | DELETE),
                    ((1000, 1), ALL_FILE, READ | LOOKUP | MODIFY | EXTEND | DELETE),
                    ((1001, 2000), READ, READ | LOOKUP),
                    ((1001, 1) + extra, READ, READ | LOOKUP),
                    ((1001, 1, 5), 0, 0),
                    (None, 0, 0)):
                c.cred = cred
                same((cred, c.access(f).access), (cred, file_bits))
                same((cred, c.access(d).access), (cred, dir_bits))
                same(c.access(f, READ).access, file_bits & READ)
                same(c.read(f).status, OK if file_bits & READ else ACCES)
                same(c.write(f, "x").status, OK if file_bits & MODIFY else ACCES)
                same(c.commit(f).status, OK if file_bits & MODIFY else ACCES)
                same(c.readdir(d).status, OK if dir_bits & READ else ACCES)
                same(c.lookup(d, "none").status, NOENT if dir_bits & LOOKUP else ACCES)
                same(c.create(d, "x").status, OK if dir_bits & MODIFY else ACCES)
                if dir_bits & MODIFY:
                    same(c.remove(d, "x").status, OK)


@case
def owner_override():
    """the owner reads and writes what the mode forbids; who may execute may read"""
    with Server() as s:
        owned(s.lower("f", "x"), 1000, 1000, 0)
        owned(s.lower("run", "x"), 0, 0, 0o711)
        with s.client() as c:
            f, run = c.walk("f"), c.walk("run")
            c.cred = (1000, 1000)
            same((c.read(f).status, c.write(f, "y").status), (OK, OK))
            same(c.access(f).access, 0)
            same((c.read(run).status, c.access(run).access), (OK, EXECUTE))
            c.cred = (1001, 1000)
            same((c.read(f).status, c.write(f, "y").status), (ACCES, ACCES))
            same(c.setattr(f, size=0).status, ACCES)


@case
def acls():
    """POSIX ACLs: a user's entry, a group's, the mask"""
    with Server() as s:
        path = s.lower("f", "x")
        owned(path, 1000, 2000, 0o600)
        subprocess.run(["setfacl", "-m", "u:1001:rw,u:1002:-,g:2001:r,g:2002:w,m:rw", path],
                       check=True)
        masked = s.lower("masked", "x")
        owned(masked, 1000, 2000, 0o604)
        subprocess.run(["setfacl", "-m", "u:1001:rw,g:2001:rw,m:r", masked], check=True)
        with s.client() as c:
            f, m = c.walk("f"), c.walk("masked")
            for cred, bits in (((1001, 1), ALL_FILE), ((1002, 2001), 0), ((1003, 2001), READ),
                               ((1003, 2002), MODIFY | EXTEND),
                               ((1003, 1, 2001, 2002), ALL_FILE), ((1003, 3), 0),
                               ((1003, 2000), 0)):
                c.cred = cred
                same((cred, c.access(f).access), (cred, bits))
            for cred, bits in (((1001, 1), READ), ((1003, 2001), READ), ((1003, 3), READ),
                               ((1003, 2000), 0)):
                c.cred = cred
                same((cred, c.access(m).access), (cred, bits))


@case
def changing_attributes():
    """chmod, chown, chgrp, utimes: whose right they are"""
    with Server() as s:
        owned(s.lower("f", "x"), 1000, 2000, 0o6755)
        with s.client() as c:
            f = c.walk("f")
            c.cred = (1001, 2000)
            for attrs in ({"mode": 0o777}, {"uid": 1001}, {"gid": 2000 + 1}, {"mtime": (1, 1)}):
                same((attrs, c.setattr(f, **attrs).status), (attrs, PERM))
            same(c.setattr(f, mtime="now").status, ACCES)
            same(c.setattr(f, size=0).status, ACCES)
            c.cred = (1000, 2000, 2001)
            same(c.setattr(f, uid=1001).status, PERM)
            same(c.setattr(f, gid=3000).status, PERM)
            same(c.setattr(f, mtime=(1, 1)).status, OK)
            same(c.setattr(f, mode=0o6755).after["mode"], 0o6755)
            out = c.setattr(f, gid=2001)
            same((out.status, out.after["gid"]), (OK, 2001))
            same(out.after["mode"] & 0o4000, 0)
            c.cred = (1000, 1)
            same(c.setattr(f, mode=0o2755).after["mode"], 0o755)
            c.cred = (0, 0)
            same(c.setattr(f, mode=0o4755).after["mode"], 0o4755)
            same(c.setattr(f, uid=5).after["mode"], 0o755)


@case
def privilege_goes():
    """a stranger's write takes set-user-id away, root's does not"""
    with Server() as s:
        owned(s.lower("f", "x"), 0, 0, 0o4777)
        with s.client() as c:
            f = c.walk("f")
            same(c.write(f, "y").after["mode"], 0o4777)
            c.cred = (1000, 1000)
            same(c.write(f, "z").after["mode"], 0o777)


@case
def sticky():
    """in a sticky directory only owners remove and rename"""
    with Server() as s:
        owned(s.lower("tmp"), 0, 0, 0o1777)
        owned(s.lower("tmp/f", "x"), 1000, 1000, 0o666)
        with s.client((1001, 1001)) as c:
            d = c.walk("tmp")
            same(c.remove(d, "f").status, PERM)
            same(c.rename(d, "f", d, "g").status, PERM)
            same(c.create(d, "mine", mode=0o600).attr["uid"], 1001)
            same(c.rename(d, "mine", d, "f").status, PERM)
            same(c.rename(d, "mine", d, "mine2").status, OK)
            c.cred = (1000, 1000)
            same(c.remove(d, "mine2").status, PERM)
            same(c.remove(d, "f").status, OK)


@case
def moving_directories():
    """a directory moves only with the right to write it"""
    with Server() as s:
        owned(s.lower("a"), 0, 0, 0o777)
        owned(s.lower("b"), 0, 0, 0o777)
        owned(s.lower("a/d"), 0, 0, 0o755)
        with s.client((1000, 1000)) as c:
            a, b = c.walk("a"), c.walk("b")
            same(c.rename(a, "d", b, "d").status, ACCES)
            same(c.rename(a, "d", a, "e").status, OK)


@case
def new_objects():
    """owner and group of what is made; a set-group-id directory hands its group down"""
    with Server() as s:
        owned(s.lower("d"), 0, 0, 0o777)
        owned(s.lower("sg"), 0, 2000, 0o2777)
        with s.client((1000, 1001)) as c:
            d, sg = c.walk("d"), c.walk("sg")
            for made, gid in ((c.create(d, "f", mode=0o644), 1001),
                              (c.mkdir(d, "d", mode=0o755), 1001),
                              (c.symlink(d, "l", "t"), 1001),
                              (c.create(sg, "f", mode=0o644), 2000),
                              (c.mkdir(sg, "d", mode=0o755), 2000)):
                same((made.attr["uid"], made.attr["gid"]), (1000, gid))
            assert c.lookup(sg, "d").attr["mode"] & 0o2000
            same(c.create(sg, "g", mode=0o2755).attr["mode"] & 0o2000, 0)


@case
def squashing():
    """root is nobody unless the rule says otherwise; all_squash makes everybody nobody"""
    for rule, cred, uid in (("127.0.0.1", (0, 0), 65534), ("127.0.0.1", (5, 6), 5),
                            ("127.0.0.1,no_root_squash", (0, 0), 0),
                            ("127.0.0.1,all_squash", (5, 6), 65534),
                            ("127.0.0.1,no_root_squash", None, 65534)):
        with Server(allow=[rule]) as s:
            owned(s.lower("d"), 0, 0, 0o777)
            owned(s.lower("root", "x"), 0, 0, 0o600)
            owned(s.lower("group", "x"), 1, 0, 0o640)
            with s.client(cred) as c:
                made = c.create(c.walk("d"), "f", mode=0o600)
                same((rule, made.attr["uid"]), (rule, uid))
                wanted = OK if uid == 0 else ACCES
                same((rule, c.read(c.walk("root")).status), (rule, wanted))
                # Root's groups are nobody's too.
                if cred and "root_squash" in rule + ",root_squash":
                    c.cred = (5, 5, 0)
                    same(c.read(c.walk("group")).status,
                         OK if "no_root_squash" in rule else ACCES)


@case
def rules():
    """the first rule that fits counts; who fits none gets no answer"""
    with Server(allow=["127.0.0.2,ro", "127.0.0.3/32", "127.0.1.0/24,no_root_squash"]) as s:
        owned(s.lower("d"), 0, 0, 0o777)
        for source, reads, writes in (("127.0.0.2", True, False), ("127.0.0.3", True, True),
                                      ("127.0.1.77", True, True), ("127.0.0.1", False, False),
                                      ("127.0.2.1", False, False)):
            try:
                with s.client((1000, 1000), source=source) as c:
                    d = c.walk("d")
                    got = (True, c.create(d, "x" + source).status)
                    if not writes:
                        same(c.setattr(d, mode=0o777).status, ROFS)
                        same(c.access(d).access & (MODIFY | EXTEND | DELETE), 0)
            except Closed:
                got = (False, None)
            same((source, got), (source, (reads, (OK if writes else ROFS) if reads else None)))


@case
def by_default():
    """nobody but this machine is listened to, unless --listen says so; and only one port"""
    with Server() as s:
        s.stop()
        layers = ["-o", f"lowerdir={s.path('lower')},upperdir={s.path('upper')},"
                  f"workdir={s.path('work')}"]
        # In a network of its own, where the usual port is free.
        s.command = lambda: ["unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh",
                             s.program, "nfs", "-f"] + layers
        s.start()
        same(s.port, 2049)
        rows = []
        for table in ("tcp", "tcp6", "udp", "udp6"):
            with open(f"/proc/{s.process.pid}/net/{table}", encoding="ascii") as file:
                rows += [(table, line.split()[1]) for line in file.readlines()[1:]]
        same(rows, [("tcp", "0100007F:0801")])


@case
def an_ordinary_user():
    """no more privilege is needed than the layers ask for"""
    with Server(allow=["127.0.0.1"]) as s:
        s.stop()
        s.lower("dir/file", "from below")
        for name in ("lower", "lower/dir", "lower/dir/file", "upper", "work"):
            os.chown(s.path(name), 1000, 1000)
        shutil.rmtree(s.path("work"))  # what root has made in it
        os.mkdir(s.path("work"))
        os.chown(s.path("work"), 1000, 1000)
        s.program = shutil.copy(s.program, s.path("lamina"))  # where this user may look
        command = s.command
        s.command = lambda: ["setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups",
                             "--inh-caps=-all"] + command()
        s.start()
        with s.client((1000, 1000)) as c:
            root, fh = c.root(), c.walk("dir/file")
            same(c.write(fh, "FROM").status, OK)
            made = c.create(c.walk("dir"), "new", mode=0o600)
            same((made.status, made.attr["uid"]), (OK, 1000))
            same(c.rename(c.walk("dir"), "file", root, "moved").status, OK)
        s.stop()
        s.start()
        with s.client((1000, 1000)) as c:
            same(c.read(c.walk("moved")).data, b"FROM below")
            same(c.read(fh).data, b"FROM below")
            same(c.remove(root, "moved").status, OK)
        same(os.stat(s.path("upper", "dir", "new")).st_uid, 1000)


@case
def bad_rules():
    """a rule or an address that makes no sense is refused at the start"""
    for extra in (["--allow", "nonsense"], ["--allow", "10.0.0.0/33"], ["--allow", "::1/129"],
                  ["--allow", "10.0.0.1,wr"], ["--allow", "10.0.0.1,"], ["--allow", ""],
                  ["--listen", "localhost:1"], ["--listen", "127.0.0.1:99999"],
                  ["--listen", "127.0.0.1"], ["--listen", "::1:5"], ["--export", "exp"],
                  ["--key-file", "/nonexistent"], ["--threads", "0"], ["operand"]):
        with Server() as s:
            s.stop()
            run = subprocess.run(s.command() + extra, capture_output=True, timeout=60,
                                 check=False)
            same((extra, run.returncode, run.stderr.count(b"\n")), (extra, 1, 1))


main()
