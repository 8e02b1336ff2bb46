# SPDX-License-Identifier: GPL-2.0-or-later
"""Layers that are damaged, crafted or changed behind the mount's back.

Nothing here may crash the server, hang it, or reach outside the layers; each case therefore also
looks at an innocent file at its end.
"""
import contextlib
import os
import struct

from lib import sysc
from lib.layers import D, F, H, OVL, S, W, handle_bytes
from lib.runner import case

SAFE = dict(tree=False, bytes=False)


def alive(o):
	"""The mount still serves, reads and writes."""
	o.always(o.read("innocent") == b"fine", "an innocent file can be read")
	o.always(o.create("alive%d" % len(o.rec), b"1") == "ok", "and a file be made")


LOW = [F("innocent", "fine"), F("d/f", "f"), F("secret/s", "below"), F("f", "data")]


def _crafted(name, values):
	def prepare(place):
		for i, v in enumerate(values):
			d = os.path.join(place.upper, "r%d" % i)
			os.mkdir(d)
			os.setxattr(d, OVL + name, v)
	return prepare


BAD_REDIRECTS = [b"", b"/", b"//d", b"/d/", b"/d//f", b"a/b", b"../d", b"..", b".", b"/..",
	b"/../etc", b"/d/../../etc", b"/secret/../d", b"\0", b"d\0junk", b"/" + b"x" * 300,
	b"/" + b"y/" * 500 + b"z", b"none", b"/none/none"]


@case(lower=[LOW], prepare=_crafted("redirect", BAD_REDIRECTS), **SAFE,
	leaves=("redirect-bad", "redirect-dangling", "redirect-escape", "redirect-loop",
	"redirect-duplicate"))
def redirects(o):
	"""Malformed redirects and such that try to leave the layer."""
	for i in range(len(BAD_REDIRECTS)):
		with o.apart():
			r = o.stat("r%d" % i)
			got = o.ls("r%d" % i) if r.startswith("d") else []
			names = [n for n, _ in got] if isinstance(got, list) else []
			o.always("passwd" not in names and "hostname" not in names,
				"redirect %r left the layer" % BAD_REDIRECTS[i])
			o.always(BAD_REDIRECTS[i][:2] != b".." or "innocent" not in names,
				"redirect %r went up" % BAD_REDIRECTS[i])
	alive(o)


@case(lower=[LOW], upper=[D("a", x={OVL + "redirect": b"/b"}), D("b", x={OVL + "redirect": b"/a"}),
	D("s", x={OVL + "redirect": b"s"}), D("t", x={OVL + "redirect": b"/t/t"}), D("t/t")],
	**SAFE,
	leaves=("redirect-dangling",))
def redirect_loops(o):
	for p in ("a", "b", "s", "t", "t/t", "a/a"):
		with o.apart():
			o.stat(p)
			o.ls(p)
	alive(o)


@case(lower=[[D("a", x={OVL + "redirect": b"/b"})] , [D("b", x={OVL + "redirect": b"/a"}),
	F("innocent", "fine")], [D("a", x={OVL + "redirect": b"/b"}), F("a/f", "x")]], **SAFE)
def redirect_loops_in_lowers(o):
	o.stat("a")
	o.ls("a")
	o.ls("b")
	alive(o)


@case(lower=[[F("innocent", "fine"), S("out", "/etc"), S("up", "../../../../etc"), D("in"),
	F("in/f", "x")]], upper=[D("r", x={OVL + "redirect": b"/out"}),
	D("q", x={OVL + "redirect": b"/up/ssl"}), D("w", x={OVL + "redirect": b"/in"})], **SAFE,
	leaves=("redirect-dangling",))
def redirect_through_symlink(o):
	for p in ("r", "q"):
		with o.apart():
			got = o.ls(p)
			o.always(got == [] or isinstance(got, str), "%s shows %s" % (p, got))
			o.always(isinstance(o.read(p + "/passwd"), str), "passwd was read")
	o.ls("w")
	alive(o)


ORIGINS = [b"", b"\0", b"\xfb" * 5, b"\0\xfb\x15\0\x01" + bytes(16),
	b"\0\xfb\xff\0\x01" + bytes(40),
	b"\x01\xfb\x1d\0\x01" + bytes(24), b"\0\xfb\x1d\xf8\x01" + bytes(24),
	b"\0\xfb\x1d\x01\x01" + bytes(24), bytes(1000), b"\0\xfb\x1d\0\x01" + b"\xff" * 24,
	b"\0\xfb\x95\0\xff" + b"\xaa" * 144]


def _origins(place):
	for i, v in enumerate(ORIGINS):
		for kind in "fd":
			p = os.path.join(place.upper, "%s%d" % (kind, i))
			if kind == "f":
				os.close(os.open(p, os.O_CREAT, 0o644))
			else:
				os.mkdir(p)
			os.setxattr(p, OVL + "origin", v)


@case(lower=[LOW], prepare=_origins, **SAFE,
	leaves=("impure-missing", "origin-bad", "origin-foreign", "origin-dangling", "origin-type",
	"origin-duplicate"))
def origins(o):
	"""An origin that cannot be decoded is no origin; the object is there all the same."""
	for i in range(len(ORIGINS)):
		o.exists("f%d" % i)
		o.exists("d%d" % i)
		o.ls("d%d" % i)
		o.write("f%d" % i, b"w")
	o.note("names", len(o.ls()))
	alive(o)


def _foreign_origin(place):
	"""Origins that point to objects of another type, of upper itself, and out of the layer."""
	for name, target in (("type", place.lower[0] + "/d"), ("self", place.upper + "/type"),
			("outside", place.extra)):
		p = os.path.join(place.upper, name)
		os.close(os.open(p, os.O_CREAT, 0o644))
		os.setxattr(p, OVL + "origin", handle_bytes(target))


@case(lower=[LOW], prepare=_foreign_origin, fs=("ext4", "xfs"), diverges="foreign-origin", **SAFE,
	leaves=("impure-missing", "origin-type"))
def foreign_origins(o):
	for p in ("type", "self", "outside"):
		with o.apart():
			o.must(o.exists(p) == "there", p + " is there")
			o.write(p, b"w")
			o.must(o.read(p) == b"w", "what was written to %s is read" % p)
	alive(o)


METAS = [b"\0", b"\0\0", b"\0\0\0", b"\x01\x04\0\0", b"\0\x05\0\0", b"\0\x04\0\x09", b"\0" * 100,
	b"\0\x24\0\x01" + bytes(10)]


def _metas(place):
	for i, v in enumerate(METAS + [b""]):
		p = os.path.join(place.upper, "m%d" % i)
		os.close(os.open(p, os.O_CREAT, 0o644))
		os.truncate(p, 100)
		os.setxattr(p, OVL + "metacopy", v)


@case(lower=[LOW], prepare=_metas, opts=["metacopy=on"], **SAFE,
	leaves=("metacopy-bad", "metacopy-dataless", "redirect-bad", "redirect-escape"))
def metacopies(o):
	"""A damaged metacopy, or one without data below, is an error on that file alone."""
	for i in range(len(METAS) + 1):
		with o.apart():
			got = o.read("m%d" % i)
			o.always(isinstance(got, str), "m%d was read: %r" % (i, got))
	alive(o)


def _nlinks(place):
	for i, v in enumerate((b"", b"U", b"U+", b"U+99999999999999999999", b"L-5", b"X+1", b"U-2",
			b"U+0\0\0", b"U" * 200)):
		p = os.path.join(place.upper, "n%d" % i)
		os.close(os.open(p, os.O_CREAT, 0o644))
		os.setxattr(p, OVL + "nlink", v)
		os.setxattr(p, OVL + "protattr", v)


@case(lower=[LOW], prepare=_nlinks, **SAFE,
	leaves=("nlink-bad", "protattr-bad"))
def nlink_and_protattr(o):
	for i in range(9):
		o.exists("n%d" % i)
		o.unlink("n%d" % i)
	alive(o)


@case(lower=[LOW], upper=[D("d", x={OVL + "opaque": b"y" * 100}), D("e", x={OVL + "opaque": b""}),
	D("g", x={OVL + "impure": b"junk" * 50}), F("w", "not empty", x={OVL + "whiteout": b"y"}),
	S("l", "x", x={OVL + "whiteout": b"y"})], **SAFE,
	leaves=("mark-misplaced", "opaque-unknown", "whiteout-not-empty"))
def flags_with_odd_values(o):
	for p in ("d", "e", "g"):
		o.ls(p)
	o.read("w")
	o.exists("l")
	alive(o)


def _mount_with_junk(*names, directory=False):
	def prepare(place):
		os.makedirs(os.path.join(place.work, "index"))
		for n in names:
			p = os.path.join(place.work, "index", n)
			if directory:
				os.mkdir(p)
			else:
				os.close(os.open(p, os.O_CREAT, 0o644))
	return prepare


@case(lower=[LOW + [H("h2", "f")]], prepare=_mount_with_junk("junk", "00fb", "zz" * 30),
	mount=False,
	diverges="stray-index-names", **SAFE,
	leaves=("index-name",))
def junk_in_index(o):
	"""The kernel refuses the mount; we put the stray names aside."""
	with o.apart():
		o.must(o.try_mount() == "mounted", "it mounts")
		if o.root >= 0:
			o.must(o.write("f", b"w") == 1 and o.read("h2")[:1] == b"w",
				"the index works")
			alive(o)


@case(lower=[LOW], prepare=_mount_with_junk("#12", "#ab"))
def temps_in_index(o):
	"""What a killed mount left is removed."""
	o.stop()
	left = os.listdir(o.place.work + "/index")
	o.always(not [n for n in left if n in ("#12", "#ab")
		and os.lstat(o.place.work + "/index/" + n).st_mode & 0o170000 == 0o100000],
		"temporary files are still there: %s" % left)
	o.start()


def _deep_work(place):
	deep = os.path.join(place.work, "work", "a", "b", "c", "d")
	os.makedirs(deep)
	with open(deep + "/f", "w", encoding="utf-8") as f:
		f.write("left")


@case(lower=[LOW], prepare=_deep_work, diverges="deep-work-leftovers", **SAFE,
	leaves=("work-leftover",))
def deep_leftovers_in_work(o):
	"""The kernel then mounts read-only, without a word."""
	with o.apart():
		o.must(o.create("n") == "ok", "the mount can be written")
		o.must(not os.path.exists(o.place.work + "/work/a"), "the leftovers are gone")


@case(lower=[LOW], dirty=True, **SAFE)
def upper_file_removed_behind(o):
	"""Somebody removes, truncates and replaces files of upper: errors or the new state."""
	for n in ("a", "b", "c", "d/x"):
		o.create(n, b"data")
	fd = o.open("a", os.O_RDWR)
	os.unlink(o.place.upper + "/a")
	os.unlink(o.place.upper + "/b")
	os.unlink(o.place.upper + "/d/x")
	os.rmdir(o.place.upper + "/d")
	os.truncate(o.place.upper + "/c", 0)
	with o.apart():
		o.fpwrite(fd, b"z")
		for p in ("a", "b", "c", "d/x"):
			o.stat(p)
			o.read(p)
			o.chmod(p, 0o600)
			o.rename(p, "moved")
			o.unlink(p)
		o.create("d/n")
		o.ls("d")
		o.ls()
	alive(o)


@case(lower=[LOW + [F("x/y/z", "z")]], dirty=True, **SAFE,
	leaves=("whiteout-needless",))
def upper_directory_swapped_behind(o):
	"""A directory of upper becomes a symlink that leads outside: nothing outside is touched.

	That is asked of Lamina; the kernel follows the symlink when it has dropped its caches since.
	"""
	outside = os.path.join(o.place.dir, "outside")
	os.makedirs(outside + "/y")
	with open(outside + "/y/z", "w", encoding="utf-8") as f:
		f.write("outside")
	o.create("x/y/n", b"n")
	os.rename(o.place.upper + "/x", o.place.upper + "/x.old")
	os.symlink(outside, o.place.upper + "/x")
	with o.apart():
		o.write("x/y/z", b"damage")
		o.create("x/y/new", b"damage")
		o.unlink("x/y/z")
		with contextlib.suppress(OSError): # names of before may be listed still
			os.listdir(o.mnt + "/x/y")
		o.mkdir("x/new")
	left = sorted(os.listdir(outside)) + os.listdir(outside + "/y")
	o.always(o.is_kernel or left == ["y", "z"], "something outside the layers was changed")
	if not o.is_kernel:
		with open(outside + "/y/z", encoding="utf-8") as f:
			o.always(f.read() == "outside", "a file outside the layers was written")
	alive(o)


@case(lower=[LOW], dirty=True, **SAFE,
	leaves=("origin-dangling",))
def lower_changed_behind(o):
	"""Files of a lower layer go away or change type: an error or the new state."""
	o.find()
	low = o.place.lower[0]
	os.unlink(low + "/f")
	os.unlink(low + "/secret/s")
	os.symlink("/etc/passwd", low + "/secret/s")
	os.unlink(low + "/d/f")
	os.rmdir(low + "/d")
	with o.apart():
		for p in ("f", "secret/s", "d", "d/f"):
			o.stat(p)
			o.read(p)
			o.write(p, b"w")
			o.rename(p, "m")
	with open("/etc/passwd", "rb") as f:
		o.always(f.read(2) != b"w", "a file outside was written")
	alive(o)


@case(lower=[LOW], mount=False, **SAFE,
	leaves=("work-incompat",))
def mounts_that_are_refused(o):
	up = ["upperdir=u", "workdir=w"]
	o.try_mount([], ["lowerdir=none"] + up)
	o.try_mount([], ["lowerdir=l1", "upperdir=none", "workdir=w"])
	o.try_mount([], ["lowerdir=l1", "upperdir=u", "workdir=none"])
	o.try_mount([], ["lowerdir=l1/f"] + up)
	o.try_mount([], ["lowerdir=l1", "upperdir=u", "workdir=u"])
	o.try_mount([], ["lowerdir=l1", "upperdir=u", "workdir=u/w"])
	o.try_mount([], ["lowerdir="] + up)
	o.try_mount([], ["lowerdir=l1", "upperdir=u"])
	o.try_mount([], ["lowerdir=u"] + up)
	o.try_mount([], up)
	os.makedirs(o.place.work + "/work/incompat/strange")
	o.try_mount([], ["lowerdir=l1"] + up)


@case(lower=[[F("innocent", "fine"), F("d/f", "f")], [F("d/g", "g")]], mount=False,
	diverges="other-lowers", **SAFE)
def upper_of_other_lowers(o):
	"""An upper that belongs to another lower: the kernel says ESTALE, for index=on."""
	o.try_mount([], ["lowerdir=l1", "upperdir=u", "workdir=w"])
	o.create("n")
	with o.apart():
		o.must(o.try_mount([], ["lowerdir=l2", "upperdir=u", "workdir=w"]) == "mounted",
			"layers that were copied or moved can be mounted")
		if o.root >= 0:
			o.must(o.exists("n") == "there" and o.read("d/g") == b"g",
				"upper and lower show")
	o.try_mount([], ["lowerdir=l1", "upperdir=u", "workdir=w"])
	alive(o)


def _wire(place):
	"""A redirect of 64 KiB less a bit, where the filesystem takes it."""
	d = os.path.join(place.upper, "long")
	os.mkdir(d)
	for n in (60000, 3000):
		try:
			os.setxattr(d, OVL + "redirect", b"/" + b"a" * n)
			return
		except OSError:
			continue


@case(lower=[LOW], prepare=_wire, **SAFE,
	leaves=("redirect-dangling",))
def enormous_redirect(o):
	with o.apart():
		o.stat("long")
		o.ls()
	alive(o)


def _dup(place):
	for n in ("one", "two"):
		d = os.path.join(place.upper, n)
		os.mkdir(d)
		os.setxattr(d, OVL + "redirect", b"/d")
		os.setxattr(d, OVL + "origin", handle_bytes(place.lower[0] + "/d"))


@case(lower=[LOW], prepare=_dup, diverges="duplicated-redirects", **SAFE,
	leaves=("impure-missing", "origin-duplicate", "redirect-duplicate"))
def duplicated_redirects(o):
	"""Two directories of upper over one of lower, as `cp -a` of an upper makes them."""
	with o.apart():
		for n in ("one", "two"):
			o.must(o.stat(n).startswith("d"), n + " is a directory")
			o.must(o.read(n + "/f") == b"f", "what is below shows in " + n)
			o.must(o.create(n + "/new", n.encode()) == "ok", "and it can be written")
		o.must(o.read("one/new") == b"one", "the two do not share what is new")
		o.must(o.ino("one") != o.ino("two"), "they are two objects")
	alive(o)


@case(lower=[LOW], diverges="handles-by-default", **SAFE)
def handles_that_lie(o):
	"""Damaged handle bytes decode to an error and to nothing outside."""
	if o.is_kernel:
		return
	typ, raw = sysc.name_to_handle(o.root, "f")
	o.must(raw != b"", "a handle is given without nfs_export")
	fd = os.open(o.mnt, os.O_RDONLY)
	for i in range(0, len(raw)):
		for x in (1, 0x80, 0xFF):
			bad = raw[:i] + bytes([raw[i] ^ x]) + raw[i + 1:]
			try:
				got = sysc.open_by_handle(fd, (typ, bad), os.O_RDONLY)
				os.close(got)
			except OSError:
				pass
	for t in (0, 1, 0x81, 0x82, 0xF8, 0xFE):
		for n in (0, 4, 8, 12, 24, 64, 128):
			try:
				os.close(sysc.open_by_handle(fd,
					(t, struct.pack("<Q", i) * (n // 8 + 1)),
					os.O_RDONLY))
			except OSError:
				pass
	os.close(fd)
	with o.apart():
		alive(o)


@case(lower=[[F("innocent", "fine"), W("w"), F("w2", "x")]], upper=[W("w2"), D("d"), W("d/w")],
	diverges="whiteout-not-merged", **SAFE,
	leaves=("whiteout-needless",))
def whiteouts_of_nothing(o):
	"""Whiteouts that hide nothing."""
	o.ls()
	with o.apart():
		o.must(o.ls("d") == [], "a whiteout in a directory of upper alone is not listed")
	o.unlink("w")
	o.create("w", b"x")
	with o.apart():
		o.must(o.rmdir("d") == "ok", "and does not keep it from being removed")
	alive(o)
