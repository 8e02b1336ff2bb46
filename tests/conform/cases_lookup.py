# SPDX-License-Identifier: GPL-2.0-or-later
"""Lookup and merge: what lies under what, whiteouts and opaque directories of every kind."""
import os
import subprocess

from lib import sysc, world
from lib.layers import D, F, H, OVL, S, W, WH, WX, C, B, P, K, build
from lib.runner import case

THREE = [
	[D("d"), F("d/top", "1"), F("both", "one"), F("d/both", "1one")],
	[D("d"), F("d/mid", "2"), F("both", "two"), F("d/both", "2two"), D("only2"),
	F("only2/f", "x")],
	[D("d", mode=0o700, uid=5), F("d/low", "3"), F("both", "three"), S("ln", "both")],
]


@case(lower=THREE, upper=[D("d", mode=0o711), F("d/up", "0")])
def merge(o):
	"""The topmost layer gives attributes and content, a directory shows the names of all."""
	o.ls()
	o.ls("d")
	o.stat("d")
	for p in ("d/up", "d/top", "d/mid", "d/low", "d/both", "both", "ln", "only2/f", "none"):
		o.stat(p)
		o.read(p)


@case(lower=[[F("x", "file")], [D("x"), F("x/hidden", "h")], [D("x"), F("x/deeper", "d")]])
def file_over_dir(o):
	"""A file hides directories below it, and they stay hidden."""
	o.stat("x")
	o.stat("x/hidden")
	o.ls()


@case(lower=[[D("x"), F("x/a", "a")], [F("x", "file")], [D("x"), F("x/never", "n")]])
def dir_over_file_over_dir(o):
	"""A file between two directories ends the merge."""
	o.ls("x")
	o.stat("x/never")


@case(lower=[[D("x"), F("x/a", "a"), S("y", "x")], [S("x", "y"), D("y"), F("y/b", "b")]])
def symlinks_between(o):
	"""Symlinks in a layer are objects, never followed by the merge."""
	o.ls("x")
	o.readlink("y")
	o.ls("y")
	o.stat("y/b")


@case(lower=[
	[W("gone"), W("d/f"), D("d2"), W("d2/sub"), F("after", "x")],
	[F("gone", "g"), F("d/f", "f"), F("d/g", "g"), D("d2/sub"), F("d2/sub/x", "x")],
])
def whiteout_char(o):
	o.ls()
	o.ls("d")
	o.ls("d2")
	for p in ("gone", "d/f", "d/g", "d2/sub", "d2/sub/x"):
		o.stat(p)


@case(lower=[
	[D("d", opaque="x"), WX("d/f"), F("d/n", "n")],
	[D("d"), F("d/f", "f"), F("d/g", "g")],
	[D("d"), F("d/f", "f3"), F("d/h", "h")],
])
def whiteout_xattr(o):
	"""Empty files with the whiteout xattr, in a directory marked as holding some."""
	o.ls("d")
	for p in ("d/f", "d/n", "d/g", "d/h"):
		o.stat(p)


@case(lower=[[D("d")], [F("d/f", "f"), F("d/g", "g")]], upper=[D("d"), WX("d/f")],
	diverges="xattr-whiteout-in-upper", tree=False, bytes=False,
	leaves=("whiteout-unmarked",))
def whiteout_xattr_in_upper(o):
	"""The kernel hides it from lookup only; we hide it from listings and rmdir too."""
	o.stat("d/f")
	with o.apart():
		o.must(o.ls("d") == [("g", "f")], "a whiteout is not listed")
		o.unlink("d/g")
		o.must(o.rmdir("d") == "ok", "only whiteouts are left, so rmdir succeeds")


@case(lower=[
	[WH("gone"), WH("d/f"), F("d/n", "n")],
	[F("gone", "g"), F("d/f", "f"), F("d/g", "g")],
], diverges="dot-wh-whiteout", tree=False, bytes=False)
def whiteout_dot_wh(o):
	"""`.wh.` names are files to the kernel, whiteouts to the program."""
	with o.apart():
		o.must(o.stat("gone") == "ENOENT", "gone is gone")
		o.must(o.stat("d/f") == "ENOENT", "d/f is gone")
		o.must(o.ls("d") == [("g", "f"), ("n", "f")], "neither mark nor victim is listed")
		o.must(o.stat(".wh.gone") == "ENOENT", "the mark has no name in the mount")


@case(lower=[[F("d/n", "n"), W("only/wo"), F("only/f", "f")], [F("d/m", "m")]],
	diverges="whiteout-not-merged", tree=False, bytes=False)
def whiteout_in_pure_dir(o):
	"""A whiteout where nothing is merged: listed by the kernel, not by us."""
	o.exists("only/wo")
	with o.apart():
		o.must(o.ls("only") == [("f", "f")], "it is not listed")


OPQ_LOW = [D("d"), F("d/low", "l"), D("d/s"), F("d/s/low", "l")]


@case(lower=[[D("d", opaque="y"), F("d/top", "t"), D("d/s")], OPQ_LOW])
def opaque_lower(o):
	o.ls("d")
	o.stat("d/low")
	o.ls("d/s")


@case(lower=[OPQ_LOW], upper=[D("d", opaque="y"), F("d/top", "t")])
def opaque_upper(o):
	o.ls("d")
	o.stat("d/low")
	o.create("d/low", b"new")
	o.unlink("d/low")
	o.ls("d")


@case(lower=[[D("d", opaque="y"), F("d/a", "a")], [D("d"), F("d/b", "b")], [D("d"), F("d/c")]],
	upper=[D("d"), F("d/u", "u")])
def opaque_in_the_middle(o):
	o.ls("d")
	o.unlink("d/a")
	o.ls("d")
	o.rename("d/u", "d/a")
	o.ls("d")


@case(lower=[[D("d", opaque="wh"), F("d/top", "t")], OPQ_LOW],
	diverges="foreign-opaque", tree=False, bytes=False)
def opaque_dot_wh(o):
	with o.apart():
		o.must(o.ls("d") == [("top", "f")], "`.wh..wh..opq` makes opaque and is not listed")
		o.must(o.stat("d/low") == "ENOENT", "what is below is hidden")


@case(lower=[[D("d", opaque="user"), F("d/top", "t")], OPQ_LOW],
	diverges="foreign-opaque", tree=False, bytes=False)
def opaque_user(o):
	with o.apart():
		o.must(o.ls("d") == [("top", "f")], "user.overlay.opaque is understood")


@case(lower=[[D("d", opaque="fuse"), F("d/top", "t")], OPQ_LOW],
	diverges="foreign-opaque", tree=False, bytes=False)
def opaque_fuseoverlayfs(o):
	with o.apart():
		o.must(o.ls("d") == [("top", "f")], "user.fuseoverlayfs.opaque is understood")


@case(lower=[[D("d", x={OVL + "opaque": b"n"}), F("d/top", "t")], OPQ_LOW],
	leaves=("opaque-unknown",))
def opaque_other_value(o):
	"""Only `y` is opaque."""
	o.ls("d")


@case(lower=[[F("d/f%d" % i, "x%d" % i), F("same", "%d" % i)] for i in range(20)])
def twenty_lowers(o):
	o.ls("d")
	o.read("same")
	o.unlink("d/f7")
	o.write("d/f19", b"new")
	o.rename("d", "e")
	o.ls("e")


@case(lower=[[F("d/f%d" % i, "x")] for i in range(499)] + [[F("bottom", "b")]],
	fs=("ext4", "tmpfs"), timeout=120)
def five_hundred_lowers(o):
	"""As many as the kernel takes."""
	o.note("names", len(o.ls("d")))
	o.read("d/f498")
	o.read("bottom")
	o.unlink("d/f0")
	o.mkdir("d/new")


@case(lower=[[F("d/f%d" % i, "x")] for i in range(620)], fs=("tmpfs",), timeout=120,
	mount=False, diverges="more-lowers", tree=False, bytes=False)
def more_lowers_than_the_kernel(o):
	with o.apart():
		o.must(o.try_mount() == "mounted", "620 lowers are no problem")
		if o.root >= 0:
			o.must(o.read("d/f619") == b"x", "the lowest is reached")


@case(lower=[[D("a/b/c"), F("a/b/c/f", "1")], [D("a/b"), F("a/b/g", "2")], [D("a"), F("a/h", "3")]])
def partly_merged_path(o):
	for p in ("a", "a/b", "a/b/c"):
		o.ls(p)
	o.create("a/b/c/new", b"n")
	o.ls("a/b/c")


ALL_TYPES = [
	F("f", "data", mode=0o640, uid=3, gid=4), D("d", mode=0o1777), S("l", "f"), C("c", 1, 3),
	B("b", 7, 99, mode=0o660), P("p", mode=0o622), K("s", mode=0o777), H("h", "f"),
	F("x", "x", x={"user.a": b"1", "trusted.b": b"2"}),
]


@case(lower=[ALL_TYPES])
def types_in_lower(o):
	o.ls()
	o.find()


@case(lower=[[]], upper=ALL_TYPES)
def types_in_upper(o):
	o.ls()
	o.find()


@case(lower=[[F("a", "1")], [F("b", "2")]], no_upper=True)
def read_only_overlay(o):
	"""No upper: everything is read, every change is EROFS."""
	o.find()
	o.create("n")
	o.mkdir("d")
	o.write("a", b"x")
	o.unlink("a")
	o.rename("a", "c")
	o.chmod("a", 0o600)
	o.chown("a", 1, 1)
	o.setx("a", "user.x", b"1")
	o.truncate("a", 0)
	o.symlink("a", "s")
	o.link("a", "l")
	o.mknod("p", 0o010644)
	o.utimes("a", 0, 0)


@case(lower=[[F("a", "1"), D("d")]], opts=["ro"])
def mounted_read_only(o):
	"""An upper, but `ro`."""
	o.create("n")
	o.write("a", b"x")
	o.rmdir("d")
	o.chmod("a", 0o600)
	o.read("a")


@case(lower=[[F("a", "1")]], no_upper=True, mount=False, diverges="one-lower", tree=False)
def one_lower_alone(o):
	with o.apart():
		o.must(o.try_mount() == "mounted", "one lower and no upper is a valid mount")
		if o.root >= 0:
			o.must(o.read("a") == b"1", "and can be read")
			o.must(o.create("n") == "EROFS", "but not changed")


def _nested(place):
	"""Lower 1 becomes a kernel overlay of two directories."""
	base = place.extra
	build(os.path.join(base, "a"), [F("d/in_a", "a"), F("both", "a"), W("d/gone")])
	build(os.path.join(base, "b"), [F("d/in_b", "b"), F("both", "b"), F("d/gone", "g"),
		F("hl1", "h"), H("hl2", "hl1")])
	sysc.mount("overlay", place.lower[0], "overlay", 0, "lowerdir=%s:%s" % (
		os.path.join(base, "a"), os.path.join(base, "b")))


@case(lower=[[], [F("d/below", "x"), F("both", "c")]], prepare=_nested, dirty=True)
def kernel_overlay_as_lower(o):
	o.find()
	o.write("both", b"changed")
	o.rename("d/in_b", "moved")
	o.unlink("d/in_a")
	o.rename("d", "e")
	o.find()


@case(lower=[[], [F("x", "x")]], prepare=_nested, dirty=True, diverges="links-without-handles",
	tree=False, bytes=False)
def hard_links_of_an_overlay(o):
	"""Hard links of a lower whose filesystem gives no handles: the kernel breaks them."""
	with o.apart():
		o.write("hl1", b"H")
		o.must(o.read("hl2") == b"H", "both names have the new data")
		o.must(" n2 " in o.stat("hl1"), "and two links")
		o.remount()
		o.must(o.read("hl2") == b"H", "after a remount too")


def _squash(place):
	base = place.extra
	build(os.path.join(base, "t"), [F("d/sq", "squashed"), F("f", "f"), S("l", "f"),
		F("h1", "h"), H("h2", "h1"), C("c", 1, 5), F("big", b"z" * 300000)])
	image = os.path.join(base, "img")
	subprocess.run(["mksquashfs", os.path.join(base, "t"), image, "-quiet", "-no-progress"],
		check=True, stdout=subprocess.DEVNULL)
	subprocess.run(["mount", "-t", "squashfs", "-o", "loop,ro", image, place.lower[0]],
		check=True)


@case(lower=[[], [F("d/below", "x"), F("big", "small")]], prepare=_squash, fs=("ext4", "tmpfs"),
	dirty=True)
def squashfs_as_lower(o):
	o.find()
	o.write("d/sq", b"SQ")
	o.write("h1", b"H")
	o.stat("h2")
	o.truncate("big", 200000)
	o.unlink("c")
	o.rename("d", "e")
	o.find()


@case(lower=[[]], fs=("ext4",), tree=False, bytes=False, mount=False,
	leaves=("origin-foreign", "origin-root", "whiteout-needless"))
def program_as_lower(o):
	"""A mount of the program's own as a lower of another."""
	inner = os.path.join(o.place.extra, "inner")
	for sub in ("l", "u", "w", "m"):
		os.makedirs(os.path.join(inner, sub))
	build(os.path.join(inner, "l2"), [F("d/f", "f"), F("d/g", "g")])
	mnt = os.path.join(o.place.dir, "inner")
	os.mkdir(mnt)
	o.driver.mount(o.place, ["lowerdir=" + inner + "/l2", "upperdir=" + inner + "/u",
		"workdir=" + inner + "/w"], [], mnt)
	try:
		os.unlink(mnt + "/d/g")
		with open(mnt + "/d/n", "w", encoding="utf-8") as f:
			f.write("n")
		o.try_mount([], ["lowerdir=%s:l1" % mnt, "upperdir=u", "workdir=w"])
		o.find()
		o.write("d/f", b"F")
		o.unlink("d/n")
		o.find()
		o.stop()
	finally:
		world.force_clean(mnt)


SIZE = 70000


def _metacopy_lower(place):
	"""A lower metacopy file that points into the data-only layer by an absolute redirect."""
	path = os.path.join(place.lower[0], "file")
	os.truncate(path, SIZE)
	os.setxattr(path, OVL + "metacopy", b"")
	os.setxattr(path, OVL + "redirect", b"/pool/object")


@case(lower=[[F("file", mode=0o600)], [F("seen", "s")], [F("pool/object", b"D" * 70000)]],
	lowerdir="l1:l2::l3", prepare=_metacopy_lower, opts=["metacopy=on"])
def data_only_layer(o):
	"""The data comes from a layer whose own names are not shown."""
	o.ls()
	o.stat("file")
	o.read("file", 65000)
	o.stat("pool")
	o.write("file", b"new", 10)
	o.read("file")
	o.stat("file")


@case(lower=[[F("file", mode=0o600)], [F("seen", "s")], []], lowerdir="l1:l2::l3",
	prepare=_metacopy_lower, tree=False, bytes=False, opts=["metacopy=on"],
	leaves=("metacopy-dataless",))
def data_only_layer_without_the_file(o):
	"""stat works, the data is what is missing."""
	o.always("s70000" in o.stat("file"), "stat works")
	with o.apart():
		o.always(isinstance(o.read("file"), str), "reading gives an error")
