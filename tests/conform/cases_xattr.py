# SPDX-License-Identifier: GPL-2.0-or-later
"""Extended attributes: what is shown, what is hidden, how private names are escaped."""
import fcntl
import os

from lib import sysc
from lib.layers import D, F, OVL, P, S
from lib.runner import case


@case(lower=[[F("f", "x", x={"user.a": b"1", "trusted.t": b"2", "security.s": b"3"}),
	D("d", x={"user.a": b"1"}), S("l", "f", x={"trusted.l": b"1"}),
	P("p", x={"trusted.p": b"1"})]])
def plain(o):
	for p in ("f", "d", "l", "p"):
		o.lsx(p)
		o.allx(p)
		o.getx(p, "user.none")
		o.setx(p, "trusted.n", b"new")
		o.setx(p, "trusted.n", b"newer", os.XATTR_REPLACE)
		o.setx(p, "trusted.n", b"x", os.XATTR_CREATE)
		o.rmx(p, "trusted.n")
		o.rmx(p, "trusted.n")
		o.rmx(p, "user.a")
		o.allx(p)


@case(lower=[[F("f", "x", x={"trusted.t": b"1"}), F("u", "x", uid=1000, x={"user.a": b"1"})]])
def as_user(o):
	"""trusted.* is neither listed nor given to somebody without privilege."""
	with o.user(1000):
		o.lsx("f")
		o.getx("f", "trusted.t")
		o.setx("u", "user.b", b"2")
		o.setx("u", "security.x", b"2")
		o.rmx("u", "user.a")
		o.lsx("u")


@case(lower=[[F("f", "x"), D("d"), F("d/x", "x")]])
def private_names_are_escaped(o):
	"""trusted.overlay.* set through the mount is stored under one more `overlay.`."""
	for p in ("f", "d"):
		for n in ("opaque", "redirect", "origin", "metacopy", "whiteout", "foo",
				"overlay.x"):
			o.setx(p, OVL + n, b"y")
			o.getx(p, OVL + n)
		o.lsx(p)
		o.rmx(p, OVL + "redirect")
		o.rmx(p, OVL + "redirect")
		o.lsx(p)
	o.ls("d")
	o.setx("f", OVL, b"1")
	o.setx("f", "trusted.overlay", b"1")
	o.setx("f", "trusted.overlayfoo", b"1")
	o.lsx("f")
	o.remount()
	o.lsx("f")
	o.ls("d")


@case(lower=[[F("f", "x", x={OVL + "overlay.opaque": b"y", OVL + "overlay.overlay.z": b"2",
	OVL + "foo": b"hidden"}), D("d", x={OVL + "overlay.whiteouts": b""})]])
def escaped_names_below(o):
	o.lsx("f")
	o.getx("f", OVL + "opaque")
	o.getx("f", OVL + "overlay.z")
	o.getx("f", OVL + "foo")
	o.chmod("f", 0o600)
	o.chmod("d", 0o700)
	o.allx("f")
	o.allx("d")


@case(lower=[[F("f", "x", x={"user.overlay.foo": b"1", "user.overlay.origin": b""}), F("g", "x")]])
def the_other_prefix_is_plain(o):
	o.lsx("f")
	o.setx("g", "user.overlay.opaque", b"y")
	o.getx("g", "user.overlay.opaque")
	o.chmod("f", 0o600)
	o.allx("f")


@case(lower=[[F("f", "x", x={OVL + "foo": b"1"}), D("d"), F("d/x", "x"), F("gone", "g")]],
	upper=[D("u", x={"user.overlay.opaque": b"y"})], opts=["userxattr"], ignore=("*",))
def userxattr(o):
	"""Private names in user.overlay.*; redirects are not written then."""
	o.lsx("f")
	o.setx("f", "user.overlay.opaque", b"y")
	o.lsx("f")
	o.unlink("d/x")
	o.rmdir("d")
	o.mkdir("d")
	o.unlink("gone")
	o.mkdir("gone")
	o.find()


@case(lower=[[F("f", "x")]])
def sizes(o):
	"""Zero and large values; a buffer that is too small."""
	o.setx("f", "user.z", b"")
	o.getx("f", "user.z")
	o.setx("f", "user.k", b"k" * 2000)
	o.getx("f", "user.k")
	o.setx("f", "trusted.overlay." + "n" * 230, b"1")
	o.setx("f", "trusted.overlay." + "n" * 239, b"1")
	o.setx("f", "nonsense.x", b"1")
	o.setx("f", "user.", b"1")
	o.getx("f", "system.nothing")
	o.lsx("f")


@case(lower=[[F("f", "x", x={"user.a": b"1"}), S("l", "f"), S("out", "/etc/passwd")]])
def symlinks_are_not_followed(o):
	o.setx("l", "trusted.x", b"1")
	o.getx("l", "user.a")
	o.lsx("l")
	o.setx("out", "trusted.y", b"1")
	o.lsx("out")
	o.chown("out", 7, 7)
	o.lsx("f")


@case(lower=[[F("f", "x"), F("g", "x", flags=sysc.FS_APPEND_FL)]], fs=("ext4", "xfs", "btrfs"),
	tree=False)
def flags_by_fsxattr(o):
	"""FS_IOC_FSGETXATTR gives what FS_IOC_GETFLAGS gives."""
	for p in ("f", "g"):
		o.fd("fsxattr", lambda: o._with(p, lambda fd: sysc.get_fsxattr(fd)[0] & 0x3FF), p)
	o.setflags("f", sysc.FS_NOATIME_FL)
	o.fd("fsxattr", lambda: o._with("f", lambda fd: sysc.get_fsxattr(fd)[0] & 0x3FF))
	with o.user(1000):
		o.setflags("f", sysc.FS_IMMUTABLE_FL)


@case(lower=[[F("f", "x")]], fs=("xfs",))
def project_ids(o):
	o.setprojid("f", 77)
	o.projid("f")
	o.remount()
	o.projid("f")


@case(lower=[[F("f", "x")]], fs=("ext4", "xfs"), diverges="getversion", tree=False, bytes=False)
def generation_of_inode(o):
	"""FS_IOC_GETVERSION gives a number, and the same one after the copy-up."""
	def version():
		fd = o.open("f")
		r = o.fd("getversion", lambda: fcntl.ioctl(fd, 0x80087601, bytes(8)))
		o.close(fd)
		return r
	with o.apart():
		before = version()
		o.must(isinstance(before, bytes), "it is a number, not %s" % (before,))
		o.chmod("f", 0o600)
		o.must(version() == before, "it changed with the copy-up")
