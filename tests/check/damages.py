# SPDX-License-Identifier: GPL-2.0-or-later
"""The damages: how each is made, what is found, and what the mended layers show.

A damage is made of plain layers (`lower`, `upper`), of what a kernel's mount does to them (`made`), and
of what is then broken by hand (`craft`).  Where layers are made by a mount, they must be clean before.
"""
import os
import struct

from lib import sysc
from lib.layers import D, F, H, OVL, S, W, handle_bytes

DAMAGES = []
FUSE = "user.fuseoverlayfs."


class Damage:
	"""
	name	should-fail-KIND or should-fail-KIND-VARIANT
	finds	(kind, path) pairs, all that is found; a path may be a function of the place
	mends	whether --repair mends it; else nothing may be written
	shows	what the mended mount shows: path -> content, None (nothing), os.listdir (a directory)
	clean	the layers have no fault before `craft`
	"""

	def __init__(self, name, finds, **kw):
		self.name = "should-fail-" + name
		self.finds = [(name, finds)] if isinstance(finds, str) or callable(finds) else finds
		self.lower = kw.pop("lower", [BASE])
		self.upper = kw.pop("upper", [])
		self.opts = kw.pop("opts", [])
		self.kernel_opts = kw.pop("kernel_opts", [])
		self.made = kw.pop("made", None)
		self.craft = kw.pop("craft", None)
		self.mends = kw.pop("mends", True)
		self.shows = kw.pop("shows", {})
		self.after = kw.pop("after", None)
		self.clean = kw.pop("clean", False)
		self.lone = kw.pop("lone", False)
		self.lowerdir = kw.pop("lowerdir", None)
		self.fs = kw.pop("fs", ("ext4", "xfs"))
		if kw:
			raise TypeError("damage %s: unknown %s" % (name, ", ".join(kw)))

	def layer_options(self):
		lower = self.lowerdir or ":".join("l%d" % (i + 1) for i in range(len(self.lower)))
		return ["lowerdir=" + lower, "upperdir=u", "workdir=w"]

	@staticmethod
	def path_of(path, place):
		return path(place) if callable(path) else path


BASE = [F("f", "lower f"), F("dir/x", "x"), F("dir/y", "y"), F("h1", "linked"), H("h2", "h1"),
	F("other/z", "z"), S("link", "f")]


def damage(kind, path, variant=None, **kw):
	d = Damage(kind, path, **kw)
	if variant:
		d.name += "-" + variant
	DAMAGES.append(d)


def x(path, name, value):
	os.setxattr(path, OVL + name, value, follow_symlinks=False)


def no_x(path, name):
	os.removexattr(path, OVL + name, follow_symlinks=False)


def get_x(path, name):
	return os.getxattr(path, OVL + name, follow_symlinks=False)


def write(path, data="new"):
	with open(path, "w", encoding="utf-8") as f:
		f.write(data)


def hexname(path):
	return handle_bytes(path).hex()


def entry_of(rel):
	"""The name of the index entry of lower 1's REL."""
	return lambda place: "index/" + hexname(place.lower[0] + "/" + rel)


def kernel_made(*parts):
	"""Steps on a mounted kernel's overlay, as lines: mv A B, rm A, write A, mkdir A, chmod A."""
	def fn(mnt):
		for line in parts:
			op, *args = line.split()
			args = [os.path.join(mnt, a) for a in args]
			if op == "mv":
				os.rename(*args)
			elif op == "rm":
				os.unlink(*args)
			elif op == "rmdir":
				os.rmdir(*args)
			elif op == "write":
				write(*args)
			elif op == "mkdir":
				os.mkdir(*args)
			else:
				os.chmod(args[0], 0o600)
	return fn


ON = ["index=on", "redirect_dir=on"]
EXPORT = ["nfs_export=on", "index=on", "redirect_dir=on", "metacopy=off"]
META = ["metacopy=on", "redirect_dir=on", "index=on"]

# ---- Layers ----

damage("layers-overlap", "", lower=[BASE, []], mends=False, lowerdir="l1:l1/dir")
damage("layers-overlap", "", variant="work-below", lower=[BASE], mends=False, lowerdir="l1:w/work",
	craft=lambda p: os.mkdir(p.work + "/work"))

# ---- Redirects ----

for variant, value, kind in (
		("slash-in-name", b"a/b", "redirect-bad"), ("root", b"/", "redirect-bad"),
		("trailing-slash", b"/dir/", "redirect-bad"), ("nul", b"di\0r", "redirect-bad"),
		("empty", b"", "redirect-bad"), ("empty-part", b"/other//dir", "redirect-bad"),
		("dotdot", b"..", "redirect-escape"), ("dotdot-inside", b"/dir/../../etc", "redirect-escape"),
		("dot", b"/dir/.", "redirect-escape")):
	damage(kind, "moved", variant=variant, opts=ON, upper=[
		D("moved", x={OVL + "redirect": value}), F("moved/own", "own")],
		shows={"moved/own": b"own", "moved/x": None, "dir/x": b"x"})
damage("redirect-bad", "moved", variant="origin-tells", opts=ON,
	made=kernel_made("mv dir moved", "write moved/x"),
	craft=lambda p: x(p.upper + "/moved", "redirect", b"a/b"),
	shows={"moved/x": b"new", "moved/y": b"y", "dir": None})
damage("redirect-bad", "m", variant="of-metacopy", opts=META, mends=False,
	upper=[F("m", b"", size=7, x={OVL + "metacopy": b"", OVL + "redirect": b"//"})])
damage("redirect-dangling", "moved", opts=ON, upper=[
	D("moved", x={OVL + "redirect": b"/nowhere"}), F("moved/own", "own")],
	shows={"moved/own": b"own"})
damage("redirect-dangling", "dir", variant="hides-namesake", opts=ON, upper=[
	D("dir", x={OVL + "redirect": b"gone"}), F("dir/own", "own")],
	shows={"dir/own": b"own", "dir/x": None})
damage("redirect-dangling", "moved", variant="to-file", opts=ON, upper=[
	D("moved", x={OVL + "redirect": b"/f"})], shows={"moved": os.listdir})
damage("redirect-dangling", "moved", variant="origin-tells", opts=ON,
	made=kernel_made("mv other moved", "write moved/new"),
	craft=lambda p: x(p.upper + "/moved", "redirect", b"/gone"),
	shows={"moved/z": b"z", "moved/new": b"new", "other": None})
damage("redirect-dangling", "d", variant="in-lower", mends=False,
	lower=[[D("d", x={OVL + "redirect": b"gone"})], BASE], opts=ON)
damage("redirect-duplicate", lambda p: _second(p.upper, "one", "two"), opts=ON, mends=False, upper=[
	W("dir"), D("one", x={OVL + "redirect": b"/dir"}), D("two", x={OVL + "redirect": b"/dir"})])
damage("redirect-loop", "dir/in", opts=ON, upper=[D("dir"),
	D("dir/in", x={OVL + "redirect": b"/dir"}), F("dir/in/own", "own")],
	shows={"dir/x": b"x", "dir/in/own": b"own", "dir/in/x": None})


def _second(root, *names):
	"""The one that a walk, which takes the last of a listing first, comes to second."""
	order = [n for n in os.listdir(root) if n in names]
	return order[0]


# ---- Origins ----

damage("origin-bad", "f", variant="junk", opts=ON, made=kernel_made("write f"),
	craft=lambda p: x(p.upper + "/f", "origin", b"\0\x11junkjunkjunkjunkjunkjunk"),
	shows={"f": b"new"})
damage("origin-bad", "f", variant="of-upper", opts=ON, made=kernel_made("write f"),
	craft=lambda p: x(p.upper + "/f", "origin", handle_bytes(p.upper + "/f", upper=True)),
	shows={"f": b"new"})
damage("origin-bad", "", variant="root", opts=ON, made=kernel_made("write f"),
	craft=lambda p: x(p.upper, "origin", b"\0\xfb\1"), shows={"f": b"new"})


def _gone(place, kind):
	"""The handle of an object that was in lower 1 and is no more."""
	path = place.lower[0] + "/gone"
	os.mkdir(path) if kind == "d" else write(path)
	h = handle_bytes(path)
	os.rmdir(path) if kind == "d" else os.unlink(path)
	return h


damage("origin-dangling", "f", opts=ON, made=kernel_made("write f"),
	craft=lambda p: x(p.upper + "/f", "origin", _gone(p, "f")), shows={"f": b"new"})
damage("origin-dangling", "dir", variant="directory", opts=ON, made=kernel_made("write dir/n"),
	craft=lambda p: x(p.upper + "/dir", "origin", _gone(p, "d")),
	shows={"dir/n": b"new", "dir/x": b"x"})
damage("origin-foreign", "f", opts=ON, made=kernel_made("write f"),
	craft=lambda p: x(p.upper + "/f", "origin", handle_bytes(p.lower[0] + "/f")[:5]
		+ bytes(range(16)) + handle_bytes(p.lower[0] + "/f")[21:]), shows={"f": b"new"})
damage("origin-type", "f", opts=ON, made=kernel_made("write f"),
	craft=lambda p: x(p.upper + "/f", "origin", handle_bytes(p.lower[0] + "/dir")),
	shows={"f": b"new"})


def _copy_with_origin(place):
	write(place.upper + "/g", "copy")
	x(place.upper + "/g", "origin", get_x(place.upper + "/f", "origin"))


damage("origin-duplicate", lambda p: _first(p.upper, "f", "g"), opts=ON,
	made=kernel_made("write f"), craft=_copy_with_origin, shows={"f": b"new", "g": b"copy"})


def _first(root, *names):
	"""The one that a listing has last."""
	return [n for n in os.listdir(root) if n in names][-1]


def _other_origin(place):
	x(place.upper + "/dir", "origin", handle_bytes(place.lower[0] + "/other"))


damage("origin-mismatch", [("origin-mismatch", "dir"), ("index-dir-wrong", entry_of("dir"))], opts=EXPORT, made=kernel_made("write dir/n"), craft=_other_origin,
	shows={"dir/n": b"new", "dir/x": b"x"})
damage("origin-root", "", opts=ON, made=kernel_made("write f"),
	craft=lambda p: x(p.upper, "origin", handle_bytes(p.lower[0] + "/dir")), shows={"f": b"new"})

# ---- Marks of directories ----

damage("impure-missing", "", opts=ON, made=kernel_made("write f"),
	craft=lambda p: no_x(p.upper, "impure"), shows={"f": b"new"})
damage("impure-missing", "dir", variant="deeper", opts=ON, made=kernel_made("write dir/x"),
	craft=lambda p: no_x(p.upper + "/dir", "impure"), shows={"dir/x": b"new"})
damage("opaque-unknown", "dir", opts=ON, upper=[D("dir", x={OVL + "opaque": b"0"})],
	shows={"dir/x": b"x"})
damage("opaque-unknown", "dir", variant="in-lower", mends=False,
	lower=[[D("dir", x={OVL + "opaque": b"yes"})], BASE])

# ---- Whiteouts ----

damage("whiteout-needless", "nothing", opts=ON, upper=[W("nothing")], shows={"nothing": None})
damage("whiteout-needless", "new/w", variant="in-pure-directory", opts=ON,
	upper=[F("new/f", "f"), W("new/w")], shows={"new/f": b"f", "new/w": None})
damage("whiteout-needless", "dir/x", variant="in-opaque-directory", opts=ON,
	upper=[D("dir", opaque="y"), W("dir/x")], shows={"dir": os.listdir, "dir/x": None})
damage("whiteout-not-empty", "full", opts=ON, upper=[F("full", "data", x={OVL + "whiteout": b"y"})],
	shows={"full": b"data"})
damage("whiteout-unmarked", "dir/x", opts=ON, upper=[D("dir"),
	F("dir/x", "", x={OVL + "whiteout": b"y"})], shows={"dir/x": None, "dir/y": b"y"})
damage("whiteout-unmarked", "dir/x", variant="in-lower", mends=False,
	lower=[[D("dir"), F("dir/x", "", x={OVL + "whiteout": b"y"})], BASE])
damage("dot-whiteout", "dir/.wh.x", opts=ON, upper=[D("dir"), F("dir/.wh.x", "")],
	shows={"dir/x": None, "dir/y": b"y", "dir/.wh.x": None})
damage("dot-whiteout", ".wh.nothing", variant="needless", opts=ON, upper=[F(".wh.nothing", "")],
	shows={"nothing": None, ".wh.nothing": None})
damage("dot-whiteout", ".wh.dir", variant="beside-directory", opts=ON,
	upper=[F(".wh.dir", ""), D("dir"), F("dir/own", "own")],
	shows={"dir/own": b"own", "dir/x": None})
damage("dot-whiteout", ".wh.f", variant="not-empty", mends=False, opts=ON,
	upper=[F(".wh.f", "somebody's")])
damage("dot-whiteout", ".wh..wh.aufs", variant="of-aufs", mends=False, opts=ON,
	upper=[F(".wh..wh.aufs", "")])
damage("dot-opaque", "dir/.wh..wh..opq", opts=ON, upper=[F("dir/.wh..wh..opq", ""),
	F("dir/own", "own")], shows={"dir/own": b"own", "dir/x": None, "dir/.wh..wh..opq": None})

# ---- Files ----


def _meta(place, value):
	x(place.upper + "/f", "metacopy", value)


for variant, value in (("short", b"\0\4"), ("version", b"\1\4\0\0"), ("length", b"\0\x08\0\0"),
		("digest", b"\0" + bytes([4 + 20]) + b"\0\1" + bytes(20)),
		("algorithm", b"\0" + bytes([4 + 32]) + b"\0\7" + bytes(32)), ("long", bytes(400))):
	damage("metacopy-bad", "f", variant=variant, opts=META, made=kernel_made("chmod f"),
		craft=lambda p, v=value: _meta(p, v), shows={"f": b"lower f"})
damage("metacopy-dataless", "m", opts=META, mends=False,
	upper=[F("m", b"", size=100, x={OVL + "metacopy": b""})])
damage("metacopy-dataless", "m", variant="redirect", opts=META, mends=False,
	upper=[F("m", b"", size=100, x={OVL + "metacopy": b"", OVL + "redirect": b"/gone"})])
damage("metacopy-dataless", "m", variant="directory", opts=META, mends=False,
	upper=[F("m", b"", size=100, x={OVL + "metacopy": b"", OVL + "redirect": b"/dir"})])
damage("metacopy-dataless", "c", variant="in-lower", opts=META, mends=False,
	lower=[[F("c", b"", size=9, x={OVL + "metacopy": b"", OVL + "redirect": b"/none"})], BASE])
damage("protattr-bad", "f", opts=ON, upper=[F("f", "mine", x={OVL + "protattr": b"iq"})],
	shows={"f": b"mine"})
damage("protattr-bad", "f", variant="empty", opts=ON, upper=[F("f", "mine", x={OVL + "protattr": b""})],
	shows={"f": b"mine"})


def _nlink(place, value):
	x(place.upper + "/h1", "nlink", value)


def _linked(mnt):
	write(mnt + "/h1")


def _two_links(mnt):
	assert os.stat(mnt + "/h1").st_nlink == 2 and os.stat(mnt + "/h2").st_nlink == 2


for variant, value in (("junk", b"U*1"), ("no-sign", b"Ux"), ("base", b"V+0"), ("long", b"U" * 40)):
	damage("nlink-bad", entry_of("h1"), variant=variant, opts=ON, made=_linked,
		craft=lambda p, v=value: _nlink(p, v), shows={"h1": b"new", "h2": b"new"})
damage("nlink-wrong", entry_of("h1"), variant="low", opts=ON, made=_linked,
	craft=lambda p: _nlink(p, b"U-2"), shows={"h1": b"new", "h2": b"new"})
damage("nlink-wrong", entry_of("h1"), variant="high", opts=ON, made=_linked,
	craft=lambda p: _nlink(p, b"U+7"), shows={"h1": b"new", "h2": b"new"})
damage("nlink-wrong", entry_of("h1"), variant="of-lower", opts=ON, made=_linked,
	craft=lambda p: _nlink(p, b"L+9"), shows={"h1": b"new", "h2": b"new"})
damage("uuid-bad", "", opts=ON, craft=lambda p: x(p.upper, "uuid", b"short"), shows={"f": b"lower f"})
damage("mark-misplaced", "f", variant="opaque", opts=ON, upper=[F("f", "mine", x={OVL + "opaque": b"y"})],
	shows={"f": b"mine"})
damage("mark-misplaced", "dir", variant="nlink", opts=ON, upper=[D("dir", x={OVL + "nlink": b"U+1"})],
	shows={"dir/x": b"x"})
damage("mark-misplaced", "dir", variant="uuid", opts=ON, upper=[D("dir", x={OVL + "uuid": bytes(16)})],
	shows={"dir/x": b"x"})
damage("mark-misplaced", "s", variant="metacopy", opts=ON, upper=[S("s", "f", x={OVL + "metacopy": b""})],
	shows={"s": b"lower f"})
damage("mark-misplaced", "", variant="root-redirect", opts=ON,
	craft=lambda p: x(p.upper, "redirect", b"/dir"), shows={"f": b"lower f"})
damage("mark-unknown", "f", opts=ON, mends=False, upper=[F("f", "mine", x={OVL + "novelty": b"1"})])

# ---- Of fuse-overlayfs ----

damage("fuse-opaque", "dir", opts=ON, upper=[D("dir", x={FUSE + "opaque": b"y"}), F("dir/own", "own")],
	shows={"dir/own": b"own", "dir/x": None})
damage("fuse-origin", "f", opts=ON, upper=[F("f", "mine", x={FUSE + "origin": b"f"})],
	shows={"f": b"mine"})
damage("fuse-mark", "f", opts=ON, mends=False, upper=[F("f", "mine", x={FUSE + "other": b"1"})])
damage("override-bad", "f", opts=ON, mends=False,
	upper=[F("f", "mine", x={"user.containers.override_stat": b"0:0:rwx"})])

# ---- The index ----


def in_index(place, name):
	return place.work + "/index/" + name


damage("index-foreign", "index", opts=ON, made=_linked,
	craft=lambda p: x(p.work + "/index", "upper", handle_bytes(p.upper + "/h1", upper=True)),
	shows={"h1": b"new", "h2": b"new"}, after=_two_links)
damage("index-foreign", [("index-foreign", "index"), ("index-origin", entry_of("f"))],
	variant="not-ours", opts=ON, made=kernel_made("write f"),
	craft=lambda p: (x(p.work + "/index", "upper", handle_bytes(p.work, upper=True)),
		write(in_index(p, hexname(p.lower[0] + "/f"))),
		os.link(in_index(p, hexname(p.lower[0] + "/f")), p.extra + "/elsewhere")),
	shows={"f": b"new"})
damage("index-name", "index/junk", opts=ON, made=kernel_made("write f"),
	craft=lambda p: write(in_index(p, "junk")), shows={"f": b"new"})
damage("index-name", lambda p: "index/" + hexname(p.lower[0] + "/f")[:-2], variant="short", opts=ON,
	made=kernel_made("write f"),
	craft=lambda p: write(in_index(p, hexname(p.lower[0] + "/f")[:-2])), shows={"f": b"new"})
damage("index-name", "index/dir", variant="full-directory", opts=ON, made=kernel_made("write f"),
	craft=lambda p: (os.mkdir(in_index(p, "dir")), write(in_index(p, "dir/keep"))),
	shows={"f": b"new"})
damage("index-temp", "index/#12", opts=ON, made=kernel_made("write f"),
	craft=lambda p: write(in_index(p, "#12")), shows={"f": b"new"})
damage("index-temp", "index/#ab", variant="directory", opts=ON, made=kernel_made("write f"),
	craft=lambda p: os.makedirs(in_index(p, "#ab/deep/deeper/still")), shows={"f": b"new"})
damage("index-origin", entry_of("f"), opts=ON, made=kernel_made("write h1"),
	craft=lambda p: write(in_index(p, hexname(p.lower[0] + "/f"))), shows={"h1": b"new"})
damage("index-origin", entry_of("f"), variant="other", opts=ON, made=kernel_made("write h1"),
	craft=lambda p: (write(in_index(p, hexname(p.lower[0] + "/f"))),
		x(in_index(p, hexname(p.lower[0] + "/f")), "origin", handle_bytes(p.lower[0] + "/dir/x"))),
	shows={"h1": b"new"})


def _stale(place, linked):
	h = _gone(place, "f")
	write(in_index(place, h.hex()))
	x(in_index(place, h.hex()), "origin", h)
	place.stale = "index/" + h.hex()
	if linked:
		os.link(in_index(place, h.hex()), place.extra + "/elsewhere")


damage("index-stale", lambda p: p.stale, opts=ON, made=kernel_made("write h1"),
	craft=lambda p: _stale(p, False), shows={"h1": b"new"})
damage("index-stale", lambda p: p.stale, variant="linked", opts=ON, made=kernel_made("write h1"),
	craft=lambda p: _stale(p, True), shows={"h1": b"new"})


def _orphan(place):
	os.unlink(place.upper + "/h1")
	for n in ("h1", "h2"):
		os.mknod(place.upper + "/" + n, 0o020000, 0)
	x(in_index(place, hexname(place.lower[0] + "/h1")), "nlink", b"U-1")


damage("index-orphan", entry_of("h1"), opts=ON, made=_linked, craft=_orphan,
	shows={"h1": None, "h2": None})


def _typed(place):
	name = in_index(place, hexname(place.lower[0] + "/f"))
	os.symlink("f", name)
	x(name, "origin", handle_bytes(place.lower[0] + "/f"))


damage("index-type", entry_of("f"), opts=ON, made=kernel_made("write h1"), craft=_typed,
	shows={"f": b"lower f"})
damage("index-missing", "h1", opts=ON, made=_linked,
	craft=lambda p: os.unlink(in_index(p, hexname(p.lower[0] + "/h1"))),
	shows={"h1": b"new", "h2": b"new"}, after=_two_links)


def _index_whiteout(place):
	place.stale = "index/" + _gone(place, "f").hex()
	os.mknod(place.work + "/" + place.stale, 0o020000, 0)


damage("index-whiteout", lambda p: p.stale, opts=EXPORT, made=kernel_made("write new"),
	craft=_index_whiteout, shows={"new": b"new"})
damage("index-hides", entry_of("other"), opts=EXPORT, made=kernel_made("write new"),
	craft=lambda p: os.mknod(in_index(p, hexname(p.lower[0] + "/other")), 0o020000, 0),
	shows={"other/z": b"z"})
damage("index-hides", entry_of("dir/x"), variant="file", opts=EXPORT, made=kernel_made("write dir/n"),
	craft=lambda p: os.mknod(in_index(p, hexname(p.lower[0] + "/dir/x")), 0o020000, 0),
	shows={"dir/x": b"x"})
damage("index-dir-bad", entry_of("other"), opts=EXPORT, made=kernel_made("write new"),
	craft=lambda p: os.mkdir(in_index(p, hexname(p.lower[0] + "/other"))), shows={"other/z": b"z"})


def _dir_entry(place, upper):
	name = in_index(place, hexname(place.lower[0] + "/other"))
	os.mkdir(name, 0)
	x(name, "upper", upper)


def _gone_upper(place):
	os.mkdir(place.upper + "/gone")
	h = handle_bytes(place.upper + "/gone", upper=True)
	os.rmdir(place.upper + "/gone")
	return h


damage("index-dir-dangling", entry_of("other"), opts=EXPORT, made=kernel_made("write new"),
	craft=lambda p: _dir_entry(p, _gone_upper(p)), shows={"other/z": b"z"})
damage("index-dir-wrong", entry_of("other"), opts=EXPORT, made=kernel_made("write dir/n"),
	craft=lambda p: _dir_entry(p, handle_bytes(p.upper + "/dir", upper=True)),
	shows={"other/z": b"z", "dir/n": b"new"})
damage("index-dir-missing", "dir", opts=EXPORT, made=kernel_made("write dir/n"),
	craft=lambda p: os.rmdir(in_index(p, hexname(p.lower[0] + "/dir"))),
	shows={"dir/n": b"new", "dir/x": b"x"})

# ---- The work directory ----

damage("work-leftover", "work/#1f", craft=lambda p: (os.makedirs(p.work + "/work"),
	write(p.work + "/work/#1f")), shows={"f": b"lower f"})
damage("work-leftover", "work/#20", variant="deep", craft=lambda p: (
	os.makedirs(p.work + "/work/#20/a/b/c/d/e"), write(p.work + "/work/#20/a/b/f")),
	shows={"f": b"lower f"}, after=lambda m: (write(m + "/n"), os.unlink(m + "/n")))
damage("work-volatile", "work/incompat/volatile", mends=False,
	craft=lambda p: os.makedirs(p.work + "/work/incompat/volatile"))
damage("work-incompat", "work/incompat/novelty", mends=False,
	craft=lambda p: os.makedirs(p.work + "/work/incompat/novelty"))
damage("work-incompat", [("work-incompat", "work/incompat/novelty"), ("whiteout-needless", "w"),
	("work-leftover", "work/#1")], variant="nothing-is-mended", mends=False, upper=[W("w")],
	craft=lambda p: (os.makedirs(p.work + "/work/incompat/novelty"), write(p.work + "/work/#1")))


def _records(place, name, text):
	os.makedirs(place.work + "/lamina", exist_ok=True)
	write(place.work + "/lamina/" + name, text)


for variant, text in (("torn", "0 abcdef\n1 abc"), ("junk", "0 abcdef\nwhat is this\n"),
		("twice", "0 abcdef\n0 fedcba\n"), ("high", "0 abcdef\n63 fedcba\n"), ("zeros", "\0" * 64)):
	damage("record-filesystems", "lamina/filesystems", variant=variant,
		craft=lambda p, t=text: _records(p, "filesystems", t), shows={"f": b"lower f"})


def _record_link(place, name, value):
	os.makedirs(place.work + "/lamina/links")
	os.symlink(value, place.work + "/lamina/links/" + name)
	place.stale = "lamina/links/" + name


damage("record-link", lambda p: p.stale, variant="name", craft=lambda p: _record_link(p, "junk", "-1"),
	shows={"f": b"lower f"})
for variant, value in (("positive", "2"), ("text", "-x"), ("huge", "-99999999999")):
	damage("record-link", lambda p: p.stale, variant=variant,
		craft=lambda p, v=value: _record_link(p, hexname(p.lower[0] + "/h1"), v),
		shows={"h1": b"linked"})
damage("record-link-stale", lambda p: p.stale,
	craft=lambda p: _record_link(p, _gone(p, "f").hex(), "-1"), shows={"f": b"lower f"})
damage("record-link-stale", lambda p: p.stale, variant="indexed", opts=ON, made=_linked,
	craft=lambda p: _record_link(p, hexname(p.lower[0] + "/h1"), "-1"),
	shows={"h1": b"new", "h2": b"new"})
for variant, name, target in (("name", "junk", "1 2 3"), ("target", "%016x" % 5, "junk"),
		("long", "%016x" % 6, "7" * 300)):
	damage("record-origin", "lamina/origins/" + name, variant=variant, craft=lambda p, n=name, t=target: (
		os.makedirs(p.work + "/lamina/origins"), os.symlink(t, p.work + "/lamina/origins/" + n)),
		shows={"f": b"lower f"})


def _record_origin(place, ino, birth):
	os.makedirs(place.work + "/lamina/origins")
	place.stale = "lamina/origins/%016x" % ino
	os.symlink("%016x %08x %08x %08x" % (os.stat(place.lower[0] + "/f").st_ino, 1, 1, birth),
		place.work + "/" + place.stale)


damage("record-origin-stale", lambda p: p.stale, craft=lambda p: _record_origin(p, 0x7ffffff1, 0),
	shows={"f": b"lower f"})
damage("record-origin-stale", lambda p: p.stale, variant="number-used-again", upper=[S("s", "f")],
	craft=lambda p: _record_origin(p, os.lstat(p.upper + "/s").st_ino, 12345), shows={"f": b"lower f"})


def _special(place, parts):
	"""The index of what has no attributes: names of lower 1's link, and of an inode in upper."""
	top = place.work + "/lamina/index/"
	key = hexname(place.lower[0] + "/link")
	os.makedirs(top)
	if "entry" in parts:
		os.link(place.upper + "/link", top + "=" + key, follow_symlinks=False)
	if "junk" in parts:
		os.link(place.upper + "/link", top + "=junk", follow_symlinks=False)
	if "count" in parts:
		os.symlink(parts["count"], top + "+" + key)
	if "number" in parts:
		ino = parts["number"] or os.lstat(place.upper + "/link").st_ino
		os.symlink(key, top + "%016x" % ino)
	place.key = key
	place.ino = os.lstat(place.upper + "/link").st_ino


USERXATTR = ["userxattr", "index=on"]
damage("record-index", lambda p: "lamina/index/=junk", variant="name", opts=USERXATTR,
	upper=[S("link", "f")], craft=lambda p: _special(p, {"junk": 1}), shows={"f": b"lower f"})
damage("record-index", [("record-index", lambda p: "lamina/index/=" + p.key),
	("record-index-stale", lambda p: "lamina/index/%016x" % 99)], variant="count", opts=USERXATTR,
	upper=[S("link", "f")], craft=lambda p: _special(p, {"entry": 1, "count": "x", "number": 99}),
	shows={"f": b"lower f"})
damage("record-index-stale", lambda p: "lamina/index/+" + p.key, variant="count", opts=USERXATTR,
	upper=[S("link", "f")], craft=lambda p: _special(p, {"count": "U+1"}), shows={"f": b"lower f"})
damage("record-index-stale", lambda p: "lamina/index/%016x" % p.ino, variant="number", opts=USERXATTR,
	upper=[S("link", "f")], craft=lambda p: _special(p, {"number": 0}), shows={"f": b"lower f"})
damage("record-index-stale", lambda p: "lamina/index/%016x" % 77, variant="other-number", opts=USERXATTR,
	upper=[S("link", "f")], craft=lambda p: _special(p, {"entry": 1, "count": "U+0", "number": 77}),
	shows={"f": b"lower f"})
damage("record-orphan", "lamina/orphans/0000000000000007", craft=lambda p: (
	os.makedirs(p.work + "/lamina/orphans"), write(p.work + "/lamina/orphans/0000000000000007")),
	shows={"f": b"lower f"})
damage("record-behind", "lamina/behind/0000000000000007", craft=lambda p: (
	os.makedirs(p.work + "/lamina/behind"), write(p.work + "/lamina/behind/0000000000000007")),
	shows={"f": b"lower f"})

# ---- One layer alone ----

damage("redirect-bad", "d", variant="lone", lone=True, upper=[D("d", x={OVL + "redirect": b"/"})])
damage("origin-bad", "f", variant="lone", lone=True, upper=[F("f", "f", x={OVL + "origin": b"ab"})])
damage("protattr-bad", "d/f", variant="lone", lone=True,
	upper=[F("d/f", "f", x={OVL + "protattr": b"z"})])
damage("metacopy-bad", "f", variant="lone", lone=True, mends=False,
	upper=[F("f", "f", x={OVL + "metacopy": b"z"})])
damage("opaque-unknown", "d", variant="lone-userxattr", lone=True, opts=["userxattr"],
	upper=[D("d", x={"user.overlay.opaque": b"?"})])
