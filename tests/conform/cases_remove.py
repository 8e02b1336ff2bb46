# SPDX-License-Identifier: GPL-2.0-or-later
"""Removing: what is left in upper, and that nothing is copied for it."""
import os

from lib.layers import B, C, D, F, H, K, P, S, W
from lib.runner import case

TYPES = [F("d/f", "f"), S("d/l", "f"), C("d/c"), B("d/b"), P("d/p"), K("d/s"), D("d/e")]


@case(lower=[TYPES])
def every_lower_type(o):
	for p in ("d/f", "d/l", "d/c", "d/b", "d/p", "d/s"):
		o.rmdir(p)
		o.unlink(p)
		o.unlink(p)
	o.unlink("d/e")
	o.rmdir("d/e")
	o.ls("d")
	o.rmdir("d")
	o.ls()


@case(lower=[[]], upper=TYPES)
def every_upper_type(o):
	for p in ("d/f", "d/l", "d/c", "d/b", "d/p", "d/s"):
		o.unlink(p)
	o.rmdir("d/e")
	o.ls("d")
	o.rmdir("d")


@case(lower=[[F("f", "low"), F("d/f", "low")]], upper=[F("f", "up"), D("d"), F("d/f", "up")])
def upper_over_lower(o):
	o.unlink("f")
	o.unlink("d/f")
	o.stat("f")
	o.rmdir("d")
	o.ls()


@case(lower=[[D("d"), F("d/a"), F("d/b")]], upper=[D("d"), W("d/a"), W("d/b"), D("d2")])
def rmdir_of_only_whiteouts(o):
	o.ls("d")
	o.rmdir("d")
	o.mkdir("d")
	o.ls("d")
	o.rmdir("d2")


@case(lower=[[D("d"), F("d/a")]])
def rmdir_not_empty(o):
	o.rmdir("d")
	o.unlink("d/a")
	o.create("d/n")
	o.rmdir("d")
	o.unlink("d/n")
	o.rmdir("d")
	o.rmdir("d")


@case(lower=[[D("d", opaque="y"), W("d/a")], [D("d"), F("d/a"), F("d/b")]],
	diverges="whiteout-not-merged")
def rmdir_of_opaque_lower(o):
	with o.apart():
		o.must(o.ls("d") == [], "a whiteout in an opaque directory is not listed")
	o.rmdir("d")
	o.ls()


@case(lower=[[D("d"), W("d/x")], [D("d"), F("d/x"), D("d/e")], [D("d/e/deep")]])
def rmdir_through_layers(o):
	o.rmdir("d/e")
	o.rmdir("d/e/deep")
	o.rmdir("d/e")
	o.rmdir("d")
	o.ls()


@case(lower=[[D("d"), F("d/f", "f")]])
def remove_and_make_again(o):
	"""A new object of the same name has nothing of the old."""
	o.chmod("d/f", 0o600)
	o.setx("d/f", "user.old", b"1")
	o.unlink("d/f")
	o.create("d/f", b"new")
	o.lsx("d/f")
	o.unlink("d/f")
	o.ls("d")


@case(lower=[[F("big", size=1 << 26, at={0: b"x" * (1 << 22)}), D("d"),
	F("d/big2", b"y" * 100000)]])
def lower_removal_copies_nothing(o):
	"""What is removed or replaced is not copied first."""
	before = os.statvfs(o.place.upper)
	o.unlink("big")
	o.create("n", b"")
	o.rename("n", "d/big2")
	after = os.statvfs(o.place.upper)
	used = (before.f_bfree - after.f_bfree) * after.f_frsize
	o.always(used < 1 << 21 or o.place.config == "tmpfs", "%d bytes were written" % used)


@case(lower=[[F("f", "data", mode=0o644)]], diverges="unlinked-lower-file", tree=False,
	bytes=False)
def open_and_unlinked_lower(o):
	"""A lower file unlinked while open: the kernel keeps nlink 1 and refuses changes."""
	fd = o.open("f")
	o.unlink("f")
	o.fpread(fd)
	with o.apart():
		o.must(" n0 " in str(o.fstat(fd)), "nlink is 0")
		o.must(o.fd("fchmod", lambda: os.fchmod(fd, 0o600)) == "ok", "fchmod works")
		o.must("f0600" in str(o.fstat(fd)), "and is seen")
		o.must(o.fd("futimens", lambda: os.utime(fd, ns=(5, 6))) == "ok", "futimens works")
		o.must(o.fd("fsetxattr", lambda: os.setxattr(fd, "user.x", b"1")) == "ok",
			"fsetxattr works")
		o.must(o.fpread(fd) == b"data", "the data is still there")
	o.close(fd)


@case(lower=[[F("f", "data")]])
def open_and_unlinked_upper(o):
	fd = o.open("f", os.O_RDWR)
	o.fpwrite(fd, b"DATA")
	o.unlink("f")
	o.fstat(fd)
	o.fpread(fd)
	o.fpwrite(fd, b"more", 4)
	o.fpread(fd)
	o.create("f", b"another")
	o.fpread(fd)
	o.close(fd)
	o.read("f")


@case(lower=[[F("d/f", "data")]])
def removed_directory_in_use(o):
	"""A directory that is gone but open: empty, and nothing can be made in it."""
	fd = o.open("d", os.O_RDONLY | os.O_DIRECTORY)
	o.unlink("d/f")
	o.rmdir("d")
	o.fd("listdir", lambda: os.listdir(fd))
	o.fd("create", lambda: os.close(os.open("n", os.O_CREAT | os.O_WRONLY, dir_fd=fd)))
	o.fd("mkdir", lambda: os.mkdir("n", dir_fd=fd))
	o.mkdir("d")
	o.ls("d")


@case(lower=[[F("h1", "h"), H("h2", "h1"), H("h3", "h1"), F("x", "x")]],
	diverges="removal-copies-nothing", bytes=False)
def one_of_three_links(o):
	"""The kernel copies the file to its index first; the count is right without that."""
	o.unlink("h1")
	o.stat("h2")
	o.unlink("h2")
	o.stat("h3")
	o.read("h3")
	index = o.place.work + "/index"
	o.must(not os.path.isdir(index) or not os.listdir(index), "nothing was copied up")
	o.remount()
	o.stat("h3")


TREE = ([D("t/d%d" % i) for i in range(12)]
	+ [F("t/d%d/f%d" % (i, j), "x") for i in range(12) for j in range(15)])


@case(lower=[TREE, [F("t/d3/low", "x"), F("t/d20/x", "x")]])
def whole_tree(o):
	"""rm -rf as rm does it: read a directory, remove while reading."""
	def rm(path):
		for name in os.listdir(os.path.join(o.mnt, path)):
			sub = path + "/" + name
			if os.path.isdir(os.path.join(o.mnt, sub)):
				rm(sub)
			else:
				os.unlink(os.path.join(o.mnt, sub))
		os.rmdir(os.path.join(o.mnt, path))
	rm("t")
	o.ls()


@case(lower=[[D("d"), F("d/f", "f"), F("d/g", "g")]])
def parent_times(o):
	"""Removing and making changes the parent's times."""
	o.times("d")
	o.unlink("d/f")
	o.times("d")
	o.utimes("d", 10**18, 10**18)
	o.create("d/n")
	o.stat("d")
