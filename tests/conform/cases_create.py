# SPDX-License-Identifier: GPL-2.0-or-later
"""Making objects: in plain, lower and merged directories, and over whiteouts."""
import os
import stat

from lib.layers import D, F, OVL, S, W, C
from lib.runner import case

BASE = [D("low"), F("low/f", "f"), D("m"), F("m/lf", "x"), D("m/sub"), F("m/sub/x", "x")]
UP = [D("m"), F("m/uf", "u"), D("pure"), F("pure/p", "p")]
PLACES = ("low", "m", "pure", ".", "m/sub")


def _p(d, name):
	return name if d == "." else d + "/" + name


@case(lower=[BASE], upper=UP)
def files(o):
	for d in PLACES:
		o.create(_p(d, "new"), b"data", 0o640)
		o.create(_p(d, "new"), b"again")
		o.create(_p(d, "new"), b"plain", flags=0)
		o.create(_p(d, "empty"), b"", 0o4755)
		o.ls(d)
	o.create("low/f", b"", flags=os.O_EXCL)
	o.create("low/f/x", b"")
	o.create("none/x", b"")


@case(lower=[BASE], upper=UP)
def directories(o):
	for d in PLACES:
		o.mkdir(_p(d, "nd"), 0o750)
		o.mkdir(_p(d, "nd/deep"))
		o.mkdir(_p(d, "nd"))
		o.create(_p(d, "nd/f"), b"x")
	o.mkdir("m/lf")
	o.mkdir("low/f/x")


@case(lower=[BASE], upper=UP)
def special_files(o):
	for d in ("low", "m", "pure"):
		o.mknod(d + "/fifo", stat.S_IFIFO | 0o640)
		o.mknod(d + "/sock", stat.S_IFSOCK | 0o755)
		o.mknod(d + "/chr", stat.S_IFCHR | 0o600, 1, 3)
		o.mknod(d + "/blk", stat.S_IFBLK | 0o660, 8, 1)
		o.mknod(d + "/reg", stat.S_IFREG | 0o444)
		o.mknod(d + "/wh", stat.S_IFCHR | 0o600, 0, 0)
		o.mknod(d + "/big", stat.S_IFCHR | 0o600, 4000, 1000000)
		o.ls(d)


@case(lower=[BASE], upper=UP)
def symlinks(o):
	for d in ("low", "m", "pure"):
		o.symlink("../m/lf", d + "/ln")
		o.readlink(d + "/ln")
		o.follow(d + "/ln")
		o.symlink("x" * 4095, d + "/long")
		o.symlink("x" * 4096, d + "/toolong")
		o.symlink("", d + "/void")
		o.symlink("dangling", d + "/ln")
		o.read(d + "/ln")


@case(lower=[[F("f", "f"), F("d/f", "f"), D("d/s"), F("d/s/x", "x"), S("ln", "f"), C("c")]],
	upper=[W("f"), D("d"), W("d/f"), W("d/s"), W("ln"), W("c")])
def over_whiteouts(o):
	"""Every type over a whiteout: the old object stays hidden."""
	o.create("f", b"new")
	o.symlink("to", "ln")
	o.mknod("c", stat.S_IFIFO | 0o600)
	o.mkdir("d/f")
	o.ls("d/f")
	o.mkdir("d/s", 0o711)
	o.ls("d/s")
	o.create("d/s/y", b"y")
	o.find()


@case(lower=[[D("d"), F("d/f", "f"), D("d/s"), F("d/s/x", "x")]])
def over_own_removals(o):
	"""The same after removals through the mount, twice over."""
	for _ in range(2):
		o.unlink("d/f")
		o.create("d/f", b"new")
	o.unlink("d/s/x")
	o.rmdir("d/s")
	o.mkdir("d/s", 0o700)
	o.ls("d/s")
	o.rmdir("d/s")
	o.create("d/s", b"now a file")
	o.unlink("d/s")
	o.symlink("now a link", "d/s")
	o.unlink("d/f")
	o.mkdir("d/f")


@case(lower=[[W("wh"), D("d"), W("d/wh")], [F("wh", "w"), F("d/wh", "w")]])
def over_lower_whiteouts(o):
	o.create("wh", b"n")
	o.mkdir("d/wh")
	o.unlink("wh")
	o.rmdir("d/wh")
	o.ls("d")


@case(lower=[[D("d"), F("d/f", "f")]], upper=[D("e")])
def tmpfile(o):
	"""O_TMPFILE, with and without a name in the end."""
	for d in ("d", "e", "."):
		fd = o.tmpfile(d, b"temp", 0o640)
		o.linkfd(fd, _p(d, "named"))
		o.linkfd(fd, _p(d, "twice"))
		o.fstat(fd)
		o.read(_p(d, "named"))
		o.same(_p(d, "named"), _p(d, "twice"))
		o.tmpfile(d, b"lost")
	o.unlink("d/f")
	fd = o.tmpfile("d", b"x")
	o.linkfd(fd, "d/f")
	o.read("d/f")
	o.ls("d")


@case(lower=[[F("f", "f")]])
def tmpfile_exclusive(o):
	"""O_TMPFILE with O_EXCL never gets a name."""
	fd = o.open(".", os.O_TMPFILE | os.O_RDWR | os.O_EXCL)
	o.linkfd(fd, "n")
	o.tmpfile("f")
	o.tmpfile("none")


@case(lower=[[D("d"), F("d/f", "f")]])
def trailing_and_dots(o):
	o.mkdir("d/n/")
	o.mkdir("d/n/.")
	o.mkdir("d/..")
	o.create("d/x/")
	o.rmdir("d/.")
	o.rmdir("d/..")
	o.unlink("d/f/")
	o.rename("d/.", "e")
	o.rename("d/n", "d/n/sub")
	o.stat("d/f/.")


@case(lower=[[F("a/b/c/d/f", "f")]])
def parents_copied_up(o):
	"""The new file's parents come up first, with their times."""
	o.create("a/b/c/d/n", b"n")
	o.times("a")
	o.times("a/b/c")
	o.stat("a/b/c/d")


@case(lower=[[D("d", mode=0o2775, uid=7, gid=77), D("d/s", mode=0o2700, gid=78),
	D("t", mode=0o1777)]])
def setgid_directories(o):
	"""The group goes down, and directories hand on the bit."""
	o.create("d/f")
	o.mkdir("d/n")
	o.mkdir("d/n/nn")
	o.symlink("x", "d/l")
	o.mknod("d/p", stat.S_IFIFO | 0o600)
	o.create("d/s/f", b"", 0o2755)
	fd = o.tmpfile("d")
	o.linkfd(fd, "d/tmp")
	o.create("t/f")


@case(lower=[[D("d", x={OVL + "opaque": b"y"}), F("d/f")]], upper=[D("d"), D("d/u")])
def new_directories_are_opaque(o):
	"""A directory made in a merged parent hides nothing by chance later."""
	o.mkdir("d/n")
	o.mkdir("d/u/n")
	o.mkdir("d/n/n2")
