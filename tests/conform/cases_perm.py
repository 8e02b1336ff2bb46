# SPDX-License-Identifier: GPL-2.0-or-later
"""Permissions: who may do what, ACLs and the umask, set-id bits, sticky directories."""
import os
import stat

from lib import sysc
from lib.layers import D, F
from lib.runner import case

A_ACC = sysc.posix_acl(("u", 6), ("U", 6, 1000), ("G", 4, 2000), ("g", 0), ("m", 6), ("o", 0))
A_DEF = sysc.posix_acl(("u", 7), ("U", 6, 1000), ("g", 5), ("m", 7), ("o", 1))
ACC, DEF = "system.posix_acl_access", "system.posix_acl_default"


@case(lower=[[F("ro", "x", mode=0o444, uid=1000), F("none", "x", mode=0, uid=1000),
	F("root", "x", mode=0o600), F("other", "x", mode=0o604), F("w", "x", mode=0o622)]])
def files_as_user(o):
	with o.user(1000):
		for p in ("ro", "none", "root", "other", "w"):
			o.read(p)
			o.write(p, b"y")
			o.chmod(p, 0o666)
			o.chown(p, 1000, 1000)
			o.chown(p, 1001, -1)
			o.utimes(p, 1, 1)
			o.setx(p, "user.x", b"1")
			o.setx(p, "trusted.x", b"1")


@case(lower=[[D("ro", mode=0o555, uid=1000, gid=1000), F("ro/f", "x", uid=1000),
	D("mine", mode=0o755, uid=1000, gid=1000), F("mine/f", "x"), D("no", mode=0o700),
	F("no/f", "x"), D("exec", mode=0o711), F("exec/f", "x"), D("w", mode=0o777)]])
def directories_as_user(o):
	with o.user(1000):
		for d in ("ro", "mine", "no", "exec", "w", "."):
			o.ls(d)
			o.create(d + "/n", b"n")
			o.mkdir(d + "/d")
			o.unlink(d + "/f")
			o.rename(d + "/n", d + "/n2")
			o.link("exec/f", d + "/l")
			o.symlink("x", d + "/s")
			o.rmdir(d + "/d")


@case(lower=[[D("t", mode=0o1777), F("t/root", "r"), F("t/u1", "1", uid=1000),
	F("t/u2", "2", uid=1001), D("t/d1", uid=1000), D("t/d2", uid=1001)]])
def sticky(o):
	with o.user(1000):
		for p in ("root", "u2"):
			o.unlink("t/" + p)
			o.rename("t/" + p, "t/x")
			o.rename("t/u1", "t/" + p)
		o.rmdir("t/d2")
		o.rmdir("t/d1")
		o.unlink("t/u1")


@case(lower=[[F("s", "x", mode=0o4755, uid=1000), F("g", "x", mode=0o2755, uid=1000, gid=1000),
	F("ng", "x", mode=0o2644, uid=1000), F("b", "x", mode=0o6777)]])
def setid_cleared_by_writes(o):
	with o.user(1000):
		o.write("s", b"y")
		o.append("g", b"y")
		o.write("ng", b"y")
		o.write("b", b"y")
	o.chmod("b", 0o6777)
	o.write("b", b"root")


@case(lower=[[F(n, "x" * 9000, mode=0o6777) for n in ("tr", "fa", "ot", "cfr")]
	+ [F("src", "s" * 100)]], fs=("ext4", "xfs", "btrfs"))
def setid_cleared_by_others(o):
	with o.user(1000):
		o.truncate("tr", 100)
		fd = o.open("fa", os.O_RDWR)
		o.fd("fallocate", lambda: sysc.fallocate(fd, 0, 0, 20000))
		o.fstat(fd)
		o.create("ot", b"", flags=os.O_TRUNC)
		a, b = o.open("src"), o.open("cfr", os.O_RDWR)
		o.fd("copy_file_range", lambda: sysc.copy_file_range(a, 0, b, 0, 50))
		o.fstat(b)


@case(lower=[[F("f", "x", mode=0o6755, uid=1000, gid=1000), F("ng", "x", mode=0o6745, gid=5),
	D("d", mode=0o6755), F("r", "x", mode=0o6755)]])
def setid_cleared_by_chown(o):
	o.chown("f", 1001, -1)
	o.chmod("f", 0o6755)
	o.chown("f", -1, 7)
	o.chown("ng", 2, 2)
	o.chown("d", 3, 3)
	with o.user(1000):
		o.chmod("r", 0o7777)
	o.create("m", b"", 0o6777)
	o.chown("r", -1, -1)


@case(lower=[[F("f", "x", mode=0o644, uid=1000, gid=3000), D("d", mode=0o2777, gid=3000)]])
def setgid_outside_group(o):
	"""chmod by somebody who is not in the group drops the bit; in the group it stays."""
	with o.user(1000, 1000):
		o.chmod("f", 0o2755)
		o.create("d/f", b"", 0o2755)
		o.mkdir("d/n")
		o.stat("d/n")
	with o.user(1000, 1000, (3000,)):
		o.chmod("f", 0o2755)
		o.create("d/f2", b"", 0o2755)


@case(lower=[[F("f", "x", mode=0o640, gid=4000), D("d", mode=0o770, gid=4000), F("d/f", "x")]])
def supplementary_groups(o):
	with o.user(1000, 1000, (4000, 5000)):
		o.read("f")
		o.write("f", b"y")
		o.ls("d")
		o.create("d/n", b"n")
		o.chown("d/n", -1, 5000)
		o.chown("d/n", -1, 6000)
	with o.user(1000, 1000):
		o.read("f")
		o.ls("d")


@case(lower=[[D("d")]])
def umask(o):
	for mask in (0, 0o027, 0o077, 0o777):
		with o.umask(mask):
			t = "d/%03o" % mask
			o.create(t + "f", b"", 0o666)
			o.mkdir(t + "d", 0o777)
			o.mknod(t + "p", stat.S_IFIFO | 0o666)
			o.symlink("x", t + "s")
			fd = o.tmpfile("d", b"", 0o666)
			o.linkfd(fd, t + "t")


@case(lower=[[D("d", mode=0o777, x={DEF: A_DEF}), F("d/gone", "x"), D("d/sub")]])
def default_acl(o):
	"""A default ACL rules instead of the umask, over whiteouts too."""
	o.unlink("d/gone")
	for mask in (0o022, 0o077):
		with o.umask(mask):
			t = "d/%03o" % mask
			o.create(t + "f", b"", 0o666)
			o.allx(t + "f")
			o.mkdir(t + "d", 0o777)
			o.allx(t + "d")
			o.mkdir(t + "d/dd", 0o700)
			o.allx(t + "d/dd")
			o.mknod(t + "p", stat.S_IFIFO | 0o644)
			o.symlink("x", t + "s")
			o.lsx(t + "s")
			fd = o.tmpfile("d", b"", 0o666)
			o.linkfd(fd, t + "t")
			o.allx(t + "t")
	with o.umask(0o077):
		o.create("d/gone", b"", 0o666)
		o.allx("d/gone")
		o.rmdir("d/sub")
		o.mkdir("d/sub", 0o777)
		o.allx("d/sub")


@case(lower=[[F("f", "x", mode=0o640, x={ACC: A_ACC}), F("g", "x", mode=0o640)]])
def access_acl(o):
	for uid, groups in ((1000, ()), (1001, (2000,)), (1002, ())):
		with o.user(uid, uid, groups):
			o.read("f")
			o.write("f", b"%d" % uid)
	o.setx("g", ACC, A_ACC)
	with o.user(1000):
		o.write("g", b"acl")
		o.setx("g", ACC, A_ACC)
		o.rmx("g", ACC)
	o.chmod("g", 0o600)
	o.getx("g", ACC)
	o.rmx("g", ACC)
	o.stat("g")
	o.lsx("g")
	o.setx("g", DEF, A_DEF)
	o.setx("g", ACC, b"junk")


@case(lower=[[F("f", "x", mode=0o2755, uid=1000, gid=3000)]])
def acl_clears_setgid(o):
	with o.user(1000, 1000):
		o.setx("f", ACC, sysc.posix_acl(("u", 7), ("g", 5), ("o", 5)))
	o.stat("f")


@case(lower=[[F("f", "x", mode=0o444, uid=1000), D("d", mode=0o555, uid=1000)]])
def read_only_objects_of_owner(o):
	"""0444 and 0555: the owner may change attributes, the data not."""
	with o.user(1000):
		o.chmod("f", 0o400)
		o.utimes("f", 5, 5)
		o.open("f", os.O_RDWR)
		fd = o.open("n", os.O_RDWR | os.O_CREAT, 0o400)
		o.note("created", fd >= 0)
	with o.user(1000):
		o.create("d/n")
		o.chmod("d", 0o755)
		fd = o.open("d/n", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o400)
		if fd >= 0:
			o.fpwrite(fd, b"written through the creating descriptor")
			o.fstat(fd)
		o.chmod("d", 0o555)
	o.write("d/n", b"root may")


@case(lower=[[D("a", mode=0o700, uid=1000), F("a/f", "x", uid=1000), F("mine", uid=1000)]])
def who_owns_what_is_made(o):
	with o.user(1000, 1500):
		o.create("a/n")
		o.mkdir("a/d")
		o.symlink("x", "a/s")
		o.mknod("a/p", stat.S_IFIFO | 0o600)
		o.mknod("a/c", stat.S_IFCHR | 0o600, 1, 3)
		fd = o.tmpfile("a")
		o.linkfd(fd, "a/t")
		o.unlink("a/f")
		o.create("a/f")
		o.utimes("mine", 1, 2)


@case(lower=[[F("f", "x", mode=0o755), D("d", mode=0o700), F("d/f", "x"), F("r", mode=0o400)]])
def access_call(o):
	for uid in (0, 1000):
		with o.user(uid):
			for p in ("f", "d/f", "r"):
				for want in (os.F_OK, os.R_OK, os.W_OK, os.X_OK):
					o.note("access", (uid, p, want, os.access(
						os.path.join(o.mnt, p), want, effective_ids=True)))
