# SPDX-License-Identifier: GPL-2.0-or-later
"""Identity where somebody means harm or the layers are odd: handles of what lies outside of the layers,
subvolumes inside them, numbers that are used again."""
import contextlib
import os
import struct
import subprocess

from lib import sysc, world
from lib.layers import D, F, H, build
from lib.rows import need, row

THREE = "3 file handles"
INSIDE = [F("f", "f"), F("g", "g"), D("d"), F("d/h", "h"), D("e"), F("e/i", "i")]
# In a handle of a FUSE mount: 64 bits of id, the upper half first, and 32 of the generation.
FUSE_HANDLE = 0x81
ID_BORN_UPPER = 1 << 62


def fuse_handle(node, generation):
	return FUSE_HANDLE, struct.pack("=III", node >> 32, node & 0xFFFFFFFF, generation)


def need_stale(c, h, what):
	e = c.error(h)
	need(e == "ESTALE", "the handle of %s gives %s" % (what, e or "an object"))


@row(THREE, "of a lower file moved out of its layer: ESTALE, whether seen there or not",
	lower=[INSIDE, [F("k")]], dirty=True)
def handle_outside_lower(c):
	"""The inode and its generation are as they were, so nothing but its place tells."""
	names = ("f", "d/h", "e", "e/i")
	hs = {n: c.handle(n) for n in names}
	out = os.path.join(c.place.extra if c.place.config in ("ext4", "xfs", "btrfs", "tmpfs")
		else os.path.dirname(c.place.lower[0]), "outside")
	c.stop()
	os.mkdir(out)
	for n in ("f", "d/h", "e"):
		os.rename(os.path.join(c.place.lower[0], n), os.path.join(out, os.path.basename(n)))
	c.start()
	for when in ("never seen there", "seen there"):
		c.drop()
		if when == "seen there":
			for top, _, files in os.walk(out):
				for f in files:
					os.stat(os.path.join(top, f))
		for n, h in hs.items():
			need_stale(c, h, "%s, %s," % (n, when))
	need(c.read("g") == b"g" and c.error(c.handle("g")) is None, "what is inside")


@row(THREE, "of a lower file with one more name outside of the layers: the file", lower=[INSIDE],
	dirty=True)
def handle_linked_outside(c):
	c.stop()
	out = os.path.dirname(c.place.lower[0]) + "/outside"
	os.link(c.place.lower[0] + "/d/h", out)
	c.start()
	h = c.handle("d/h")
	for seen in (False, True):
		c.remount()
		c.drop()
		if seen:
			os.stat(out)
		c.need_same(h, "d/h", b"h")
	os.unlink(out)


def _reuse(c, ino, out):
	"""Make files outside of the layers until one has this inode number; its generation, or None."""
	for i in range(2000):
		p = os.path.join(out, "x%d" % i)
		with open(p, "x", encoding="ascii") as f:
			f.write("secret")
		if os.stat(p).st_ino == ino:
			return p
	return None


def _empty(path):
	for n in os.listdir(path):
		os.unlink(os.path.join(path, n))


@row(THREE, "forged, of a number that upper had and a file outside has now: ESTALE",
	lower=[INSIDE], fs=("ext4", "xfs"))
def handle_outside_upper(c):

	out = c.place.extra
	c.create("keep", b"keep")
	h = c.handle("keep")
	for i in range(10):
		c.create("victim%d" % i, b"mine")
	c.remount()
	c.need_same(h, "keep", b"keep")		# from now on upper is known by heart
	tried = 0
	for i in range(10):
		name = "victim%d" % i
		ino = os.stat(os.path.join(c.place.upper, name)).st_ino
		os.unlink(c.p(name))
		c.drop()
		got = _reuse(c, ino, out)
		if not got:
			_empty(out)
			continue
		tried += 1
		_, raw = sysc.name_to_handle(sysc.AT_FDCWD, got)
		generation = struct.unpack_from("=I", raw, 4 if c.place.config == "ext4" else 8)[0]
		for born in (ID_BORN_UPPER, 0):
			need_stale(c, fuse_handle(born | ino, generation), "a forged number")
		_empty(out)
	need(tried or c.place.config != "ext4", "no number was used again")


@row("4 writing through a handle", "changes of attributes with metacopy=on, the path never looked up",
	opts=["metacopy=on", "redirect_dir=on"], modes=("default",),
	lower=[[F("top")], [D("d"), D("d/e"), F("d/e/f", "data"), F("h1", "two"), H("h2", "h1")]])
def write_attributes_metacopy(c):
	for n in ("d/e/f", "h1"):
		h = c.handle(n)
		c.remount()
		c.drop()
		fd = c.decode(h, os.O_RDONLY)
		os.fchmod(fd, 0o600)
		c.done(fd)
		need(os.stat(c.p(n)).st_mode & 0o777 == 0o600, "%s has the old mode" % n)
		c.need_same(h, n, b"data" if n == "d/e/f" else b"two")
		c.remount()
		c.need_same(h, n, b"data" if n == "d/e/f" else b"two")
	need(c.read("h2") == b"two" and os.stat(c.p("h2")).st_mode & 0o777 == 0o600, "a link broke")


@row("4 writing through a handle", "changes with metacopy=on of a file that lost the name it was known by",
	opts=["metacopy=on", "redirect_dir=on"], modes=("default",),
	lower=[[D("d"), F("d/h1", "two"), H("h2", "d/h1"), F("o", "one")]])
def write_attributes_metacopy_names(c):
	h = c.handle("d/h1")
	fd = c.open("d/h1")
	os.unlink(c.p("d/h1"))
	os.fchmod(fd, 0o640)
	need(os.stat(c.p("h2")).st_mode & 0o777 == 0o640, "the other name has the old mode")
	c.need_same(h, "h2", b"two")
	fd = c.open("o")
	os.unlink(c.p("o"))
	os.fchmod(fd, 0o640)
	need(os.fstat(fd).st_mode & 0o777 == 0o640 and os.pread(fd, 9, 0) == b"one",
		"the file without a name")
	c.remount()
	need(c.read("h2") == b"two" and os.stat(c.p("h2")).st_mode & 0o777 == 0o640,
		"not after a remount")
	c.remount()
	c.need_same(h, "h2", b"two")


def _subvolumes(place):
	"""In a lower layer and in upper, each with the inode numbers that are outside as well."""
	for top, names in [(p, ("d/s1", "s2")) for p in place.lower] + [(place.upper, ("us",))]:
		kind = subprocess.run(["stat", "-f", "-c", "%T", top], check=True, text=True,
			stdout=subprocess.PIPE).stdout.strip()
		for n in names if kind == "btrfs" else ():
			path = os.path.join(top, n)
			os.makedirs(os.path.dirname(path), exist_ok=True)
			subprocess.run(["btrfs", "-q", "subvolume", "create", path], check=True)
			build(path, [F("f", n), F("g", "g"), D("sd"), F("sd/x", n), F("h1", "h"),
				H("h2", "h1")])


SUB = ("d/s1", "s2", "us")
IN_SUB = [s + n for s in SUB for n in ("", "/f", "/g", "/sd", "/sd/x", "/h1")]


def _sub_numbers(c, order):
	return {n: c.ino(n) for n in order}


@row("1 inode numbers", "unique and kept in subvolumes inside the layers", fs=("btrfs", "mixed"),
	lower=[INSIDE, [F("k")]], prepare=_subvolumes, kernel_opts=[])
def ino_subvolumes(c):
	every = [n for n in IN_SUB + ["f", "g", "d/h", "e", "e/i"] if os.path.lexists(c.p(n))]
	need("s2/f" in every, "there is no subvolume")
	b = _sub_numbers(c, every)
	need(len(set(b.values())) == len(b), "two objects share a number: %s" % b)
	c.remount()
	need(_sub_numbers(c, reversed(every)) == b, "met in another order they have other numbers")
	for n in ("d/s1/f", "s2/h1", "s2/sd/x"):
		if n in b:
			h = c.handle(n)
			fd = c.open(n)
			with contextlib.suppress(OSError):	# a copy may not leave its subvolume
				os.chmod(c.p(n), 0o600)
			need(c.ino(n) == b[n], "%s has another number after chmod" % n)
			c.done(fd)
			c.need_same(h, n)
	c.remount()
	now = _sub_numbers(c, every)
	need(now == b, "after a remount: %s" % [(n, b[n], now[n]) for n in b if b[n] != now[n]])
	for d in ["."] + [n for n in every if os.path.isdir(c.p(n))]:
		with os.scandir(c.p(d)) as it:
			for e in it:
				need(e.inode() == os.lstat(e.path).st_ino, "d_ino of " + e.path)


@row(THREE, "in subvolumes inside the layers, also before any lookup comes there", fs=("btrfs",),
	lower=[INSIDE], prepare=_subvolumes, kernel_opts=[])
def handle_subvolumes(c):
	hs = {n: c.handle(n) for n in IN_SUB}
	for when in ("hot", "cold", "after a remount"):
		for n, h in reversed(hs.items()):
			fd = c.decode(h)
			st = os.fstat(fd)
			c.done(fd)
			if when == "hot":
				need(st.st_ino == c.ino(n), "the handle of %s gives another" % n)
		if when == "hot":
			c.drop()
		else:
			for n, h in hs.items():
				c.need_same(h, n)
			c.remount()


@row("1 inode numbers", "64-bit numbers of a lower: each is unique, and kept over a remount",
	lower=[INSIDE, [F("k"), F("e/j", "j")]], fs=("mixed", "mixed2"), modes=("default", "export"),
	mount=False)
def ino_wide_lower(c):
	"""A lower layer that is itself a mount over two filesystems: its numbers use 62 bits."""
	top = c.place.mnt + ".lower"
	os.mkdir(top)

	def start():
		r = subprocess.run([c.driver.program, "-o", "ro,lowerdir=%s:%s" % (
			c.place.lower[0], c.place.lower[1]), top], stdin=subprocess.DEVNULL,
			stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
		need(r.returncode == 0, r.stderr)
		c.start()

	names = ["f", "g", "d", "d/h", "e", "e/i", "k", "e/j", "own"]

	def numbers():
		names.reverse()		# met in another order
		return {n: c.ino(n) for n in names}

	c.lowers = ["m.lower"]
	try:
		start()
		need(any(os.lstat(os.path.join(top, n)).st_ino >= 1 << 56 for n in ("f", "k")),
			"the lower has no wide numbers")
		c.create("own")
		b = numbers()
		need(len(set(b.values())) == len(b), "two objects share a number")
		for again in range(2):
			c.stop()
			world.unmount_soon(top)
			world.wait_servers(top)
			start()
			now = numbers()
			need(now == b, "after a remount: %s" % [(n, b[n], now[n]) for n in b
				if b[n] != now[n]])
			for n in ("f", "k"):
				c.write(n, b"N")
			os.chmod(c.p("d"), 0o700)
	finally:
		c.stop()
		world.force_clean(top)
