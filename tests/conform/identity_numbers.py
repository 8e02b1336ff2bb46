# SPDX-License-Identifier: GPL-2.0-or-later
"""Identity, section 1: inode numbers; section 2: hard links."""
import itertools
import os
import subprocess

from lib import look, world
from lib.layers import C, D, F, H, P, S, W, build
from lib.rows import need, row

ONE = "1 inode numbers"
TWO = "2 hard links"
LOW = [F("f", "data"), D("d"), F("d/g", "g"), S("l", "f"), C("c"), P("p"), D("d/s"),
	F("d/s/x", "x"),
	F("h1", "h"), H("h2", "h1"), H("d/h3", "h1"), D("e"), F("e/y", "y")]
LOW2 = [F("f", "below"), D("d"), F("d/k", "k"), D("low2"), F("low2/z", "z")]
UP = [F("u", "u"), D("ud"), F("ud/v", "v")]
STACK = dict(lower=[LOW, LOW2], upper=UP)
EVERY = ("f", "d", "d/g", "l", "c", "p", "d/s", "d/s/x", "h1", "e", "e/y", "low2", "low2/z", "u",
	"ud",
	"ud/v", "d/k")


def numbers(c, names=EVERY):
	return {n: c.ino(n) for n in names}


def need_kept(c, before, what, names=None):
	for n, i in before.items():
		now = c.ino((names or {}).get(n, n))
		need(now == i, "%s had number %d, %s it has %d" % (n, i, what, now))


@row(ONE, "kept over copy-up of data", **STACK)
def ino_copy_up_data(c):
	b = numbers(c)
	for n in ("f", "d/g", "d/s/x", "h1", "e/y", "low2/z", "u", "d/k"):
		c.write(n, b"NEW")
	need_kept(c, b, "after a write")


@row(ONE, "kept over copy-up of attributes, every type", **STACK)
def ino_copy_up_attributes(c):
	b = numbers(c)
	for n in EVERY:
		os.chown(c.p(n), 7, 8, follow_symlinks=False)
	need_kept(c, b, "after chown")


@row(ONE, "kept over rename, of the object and of its parents", **STACK)
def ino_rename(c):
	b = numbers(c)
	moved = {n: n + ".new" for n in ("f", "l", "c", "p", "h1", "u")}
	for old, new in moved.items():
		os.rename(c.p(old), c.p(new))
	os.rename(c.p("d"), c.p("e/dd"))
	os.rename(c.p("ud"), c.p("low2/ud"))
	for n in EVERY:
		if n == "d" or n.startswith("d/"):
			moved[n] = "e/d" + n
		if n == "ud" or n.startswith("ud/"):
			moved[n] = "low2/" + n
	need_kept(c, b, "after renames", moved)
	c.remount()
	need_kept(c, b, "after renames and a remount", moved)


@row(ONE, "kept over link and unlink of one name", **STACK)
def ino_link(c):
	b = numbers(c)
	for n in ("f", "l", "c", "p", "h1", "u", "d/g"):
		os.link(c.p(n), c.p("new." + n.replace("/", "_")), follow_symlinks=False)
		os.unlink(c.p(n))
		now = c.ino("new." + n.replace("/", "_"))
		need(now == b[n], "%s had number %d, its new link has %d" % (n, b[n], now))
	os.unlink(c.p("h2"))
	need(c.ino("d/h3") == b["h1"], "the last of three links changed its number")


@row(ONE, "kept over a dropped cache", **STACK)
def ino_drop_caches(c):
	b = numbers(c)
	c.drop()
	need_kept(c, b, "after drop_caches")
	c.write("f", b"NEW")
	c.write("d/g", b"NEW")
	os.chmod(c.p("e"), 0o700)
	c.drop()
	need_kept(c, b, "after copy-up and drop_caches")


@row(ONE, "kept over a remount, before and after copy-up", **STACK)
def ino_remount(c):
	b = numbers(c)
	c.remount()
	need_kept(c, b, "after a remount")
	for n in ("f", "d/s/x", "h1", "low2/z", "u"):
		c.write(n, b"NEW")
	os.chmod(c.p("e"), 0o700)
	c.remount()
	need_kept(c, b, "after copy-up and a remount")


@row(ONE, "kept over kill -9 of the server", **STACK)
def ino_crash(c):
	b = numbers(c)
	c.write("f", b"NEW")
	c.crash()
	need_kept(c, b, "after a crash")


@row(ONE, "kept for what is born in the mount", **STACK)
def ino_born_in_mount(c):
	c.create("n1")
	os.mkdir(c.p("d/n2"))
	os.symlink("x", c.p("e/n3"))
	os.mknod(c.p("n4"), 0o010644)
	names = ("n1", "d/n2", "e/n3", "n4")
	b = numbers(c, names)
	c.drop()
	need_kept(c, b, "after drop_caches")
	c.remount()
	need_kept(c, b, "after a remount")


@row(ONE, "kept when a lower layer is added on top", lower=[[F("other", "o"), D("d"),
	F("d/o", "o")],
	LOW, LOW2], upper=[], mount=False, kernel_opts=["index=off", "redirect_dir=on"])
def ino_layer_added(c):
	every = [n for n in EVERY if not n.startswith("u") and n not in ("d",)]
	c.lowers = ["l2", "l3"]
	c.start()
	c.write("d/g", b"NEW")
	b = numbers(c, every)
	c.stop()
	c.lowers = ["l1", "l2", "l3"]
	c.start()
	need_kept(c, b, "with one more lower")


@row(ONE, "kept when upper becomes a lower", lower=[LOW, LOW2], upper=[], mount=False,
	kernel_opts=["index=off", "redirect_dir=on"])
def ino_upper_rotated(c):
	c.start()
	c.write("f", b"NEW")
	os.chmod(c.p("d"), 0o711)
	c.create("n", b"n")
	every = [n for n in EVERY if not n.startswith("u")] + ["n"]
	b = numbers(c, every)
	c.stop()
	base = os.path.dirname(c.place.upper)
	for n in ("u2", "w2"):
		os.mkdir(os.path.join(base, n))
		os.symlink(os.path.join(base, n), os.path.join(c.place.dir, n))
	c.lowers, c.upper, c.work = ["u", "l1", "l2"], "u2", "w2"
	c.start()
	need_kept(c, b, "after the rotation")


@row(ONE, "unique over the tree, lowers with equal numbers too", lower=[LOW, LOW2,
	[F("m%d" % i) for i in range(60)], [F("k%d" % i) for i in range(60)]], upper=UP)
def ino_unique(c):
	for again in range(2):
		seen = {}
		for rel, st in look.walk(c.mnt):
			need(not isinstance(st, OSError), "%s: %s" % (rel, st))
			first = seen.setdefault(st.st_ino, rel)
			need(first == rel or {first, rel} <= {"h1", "h2", "d/h3"},
				"%s and %s share number %d" % (first, rel, st.st_ino))
		need(os.stat(c.mnt).st_ino not in seen, "the root shares its number")
		for i in range(0, 60, 3):
			os.chmod(c.p("m%d" % i), 0o600)
			os.chmod(c.p("k%d" % i), 0o600)


def need_listing(c):
	for rel in [""] + [r for r, st in look.walk(c.mnt) if r and os.path.isdir(c.p(r))
			and not os.path.islink(c.p(r))]:
		fd = c.open(rel, os.O_RDONLY | os.O_DIRECTORY)
		for name, _, ino, _ in look.read_all(fd):
			st = os.stat(name, dir_fd=fd, follow_symlinks=False)
			if rel == "" and name == "..":
				continue
			need(st.st_ino == ino, "in /%s d_ino of %s is %d, st_ino %d" % (
				rel, name, ino, st.st_ino))


@row(ONE, "d_ino equals st_ino in every listing", **STACK)
def ino_listings(c):
	need_listing(c)
	c.write("f", b"N")
	c.write("d/g", b"N")
	os.chown(c.p("e"), 3, 3)
	os.rename(c.p("d/s"), c.p("e/s"))
	os.rename(c.p("u"), c.p("d/u"))
	c.create("e/new")
	need_listing(c)
	c.drop()
	need_listing(c)
	c.remount()
	need_listing(c)


@row(ONE, "one st_dev; find -xdev and du -x cover all, a link once", **STACK)
def ino_one_device(c):
	c.write("f", b"N")
	dev = os.stat(c.mnt).st_dev
	n = 1
	for rel, st in look.walk(c.mnt):
		need(st.st_dev == dev, "%s has another st_dev" % rel)
		n += 1
	got = subprocess.run(["find", c.mnt, "-xdev"], stdout=subprocess.PIPE, check=True).stdout
	need(got.count(b"\n") == n, "find -xdev gives %d of %d" % (got.count(b"\n"), n))
	with open(c.p("big"), "wb") as f:
		f.write(b"x" * 1000000)
	os.link(c.p("big"), c.p("e/big2"))
	out = subprocess.run(["du", "-x", "-s", "-B1", "--apparent-size", c.mnt],
		stdout=subprocess.PIPE, check=True).stdout
	need(1000000 <= int(out.split()[0]) < 2000000, "du -x gives %s" % out.split()[0])


def _squash(place):
	base = place.extra
	build(base + "/t", LOW)
	subprocess.run(["mksquashfs", base + "/t", base + "/img", "-quiet", "-no-progress"],
		check=True, stdout=subprocess.DEVNULL)
	subprocess.run(["mount", "-t", "squashfs", "-o", "loop,ro", base + "/img",
		place.lower[0]], check=True)


@row(ONE, "kept with a squashfs lower", lower=[[], LOW2], upper=UP, prepare=_squash)
def ino_squashfs(c):
	b = numbers(c)
	for n in ("f", "d/g", "h1"):
		c.write(n, b"NEW")
	os.chown(c.p("l"), 5, 5, follow_symlinks=False)
	need_kept(c, b, "after copy-up")
	c.drop()
	need_kept(c, b, "after drop_caches")
	c.remount()
	need_kept(c, b, "after a remount")
	need(c.read("h2") == b"NEW", "a hard link of squashfs broke")


def _fuse(place):
	build(place.extra + "/t", LOW)
	subprocess.run(["fuse-overlayfs", "-o", "lowerdir=" + place.extra + "/t", place.lower[0]],
		check=True, stderr=subprocess.DEVNULL)


@row(ONE, "kept with a FUSE lower", lower=[[], LOW2], upper=UP, prepare=_fuse,
	kernel_opts=["index=off", "redirect_dir=on"])
def ino_fuse_lower(c):
	b = numbers(c)
	for n in ("f", "d/g"):
		c.write(n, b"NEW")
	need_kept(c, b, "after copy-up")
	c.remount()
	need_kept(c, b, "after a remount")
	c.stop()
	world.force_clean(c.place.lower[0])


@row(ONE, "64-bit numbers: each is unique and kept", **STACK, fs=("mixed", "mixed2"))
def ino_wide(c):
	b = numbers(c)
	need(len(set(b.values())) == len(b), "two objects share a number")
	need(all(0 < i < 1 << 64 for i in b.values()), "a number out of range")
	c.remount()
	need_kept(c, b, "after a remount")


@row(ONE, "xino=on, xino=auto, xino=off are understood", mount=False, **STACK)
def ino_xino_options(c):
	for x in ("on", "auto", "off"):
		c.opts = [o for o in c.opts if not o.startswith("xino")] + ["xino=" + x]
		c.start()
		b = numbers(c)
		c.write("f", b"N")
		need_kept(c, b, "with xino=%s after copy-up" % x)
		c.stop()


@row(ONE, "ino32_t: numbers fit 32 bits, are unique and kept", opts=["ino32_t"], kernel_opts=[],
	**STACK)
def ino_32(c):
	need(not c.is_kernel, "the kernel has no such option")
	b = numbers(c)
	need(all(0 < i < 1 << 32 for i in b.values()), "a number is wider: %s" % b)
	need(len(set(b.values())) == len(b), "two objects share a number")
	c.write("f", b"NEW")
	c.remount()
	need_kept(c, b, "after a remount")


TRIO = dict(lower=[[F("a", "abc"), H("b", "a"), D("d"), H("d/c", "a"), F("o", "o")]])
NAMES = ("a", "b", "d/c")


def need_content(c, names, data, when):
	for n in names:
		got = c.read(n)
		need(got == data, "%s, %s reads %r" % (when, n, got))
		need(c.nlink(n) == len(names), "%s, %s has %d links, not %d" % (
			when, n, c.nlink(n), len(names)))
		need(c.ino(n) == c.ino(names[0]), "%s, %s is another object" % (when, n))


@row(TWO, "a write through one name is seen through all, at once", **TRIO)
def links_at_once(c):
	need_content(c, NAMES, b"abc", "at first")
	for i, n in enumerate(NAMES):
		c.write(n, b"X%dY" % i)
		need_content(c, NAMES, b"X%dY" % i, "after a write to " + n)


@row(TWO, "after drop_caches", **TRIO)
def links_drop(c):
	c.write("b", b"NEW")
	c.drop()
	need_content(c, NAMES, b"NEW", "after drop_caches")


@row(TWO, "after a remount", **TRIO)
def links_remount(c):
	c.write("b", b"NEW")
	c.remount()
	need_content(c, NAMES, b"NEW", "after a remount")


@row(TWO, "after a mount by the kernel", **TRIO)
def links_kernel(c):
	c.write("b", b"NEW")
	for opts in ([], ["nfs_export=on"]):
		c.remount(world.Driver("kernel"), opts)
		need_content(c, NAMES, b"NEW", "mounted by the kernel")
		c.remount()
		need_content(c, NAMES, b"NEW", "mounted again")


@row(TWO, "left by the kernel", **TRIO)
def links_from_kernel(c):
	c.remount(world.Driver("kernel"), [])
	c.write("d/c", b"KER")
	c.remount()
	need_content(c, NAMES, b"KER", "written by the kernel")
	os.unlink(c.p("a"))
	c.remount(world.Driver("kernel"), [])
	need_content(c, ("b", "d/c"), b"KER", "after an unlink")


@row(TWO, "link counts in every order of write, link, unlink, rename-over", timeout=120,
	lower=[[x for t in range(24) for x in (F("t%d/a" % t, "abc"), H("t%d/b" % t, "t%d/a" % t),
		H("t%d/c" % t, "t%d/a" % t), F("t%d/o" % t, "o"))]])
def links_every_order(c):
	steps = list(itertools.permutations(("write", "link", "unlink", "over")))
	for t, order in enumerate(steps):
		names = ["t%d/%s" % (t, n) for n in "abc"]
		for s in order:
			if s == "write":
				c.write(names[-1], b"NEW")
			elif s == "link":
				os.link(c.p(names[-1]), c.p("t%d/n" % t))
				names.insert(0, "t%d/n" % t)
			elif s == "unlink":
				os.unlink(c.p(names.pop()))
			else:
				os.rename(c.p("t%d/o" % t), c.p(names.pop()))
			for n in names:
				need(c.nlink(n) == len(names),
					"%s: after %s %s has %d links, not %d" % (
					order, s, n, c.nlink(n), len(names)))
	c.remount()
	for t in range(24):
		need(c.nlink("t%d/a" % t) == 2, "after a remount t%d/a has %d links" % (
			t, c.nlink("t%d/a" % t)))


@row(TWO, "removing one of two lower names copies nothing",
	lower=[[F("a", b"x" * (1 << 23)), H("b", "a")]])
def links_removal_is_free(c):
	os.unlink(c.p("a"))
	need(c.nlink("b") == 1, "the other has %d links" % c.nlink("b"))
	found = sum(st.st_blocks * 512 for root in (c.place.upper, c.place.work)
		for _, st in look.walk(root) if not isinstance(st, OSError))
	need(found < 1 << 22, "%d bytes were written" % found)
	c.remount()
	need(c.nlink("b") == 1 and c.read("b")[:2] == b"xx", "not after a remount")


@row(TWO, "orphans in the index are removed at the next mount", dirty=True, **TRIO)
def index_orphans(c):
	c.write("a", b"NEW")
	c.stop()
	for n in NAMES:
		p = os.path.join(c.place.upper, n)
		if os.path.exists(p):
			os.unlink(p)
		os.unlink(os.path.join(c.place.lower[0], n))
	c.start()
	c.stop()
	left = [n for n in os.listdir(c.place.work + "/index")
		if os.lstat(c.place.work + "/index/" + n).st_mode & 0o170000 == 0o100000]
	need(not left, "still there: %s" % left)


@row(TWO, "stray names in the index are put aside", mount=False, **TRIO)
def index_strays(c):
	os.mkdir(c.place.work + "/index")
	for n in ("junk", "00fb1d00", "x" * 100):
		with open(c.place.work + "/index/" + n, "w", encoding="ascii") as f:
			f.write(n)
	c.start()
	c.write("a", b"NEW")
	need_content(c, NAMES, b"NEW", "with stray names")
	c.stop()
	need("junk" not in os.listdir(c.place.work + "/index"), "the name is still there")
	c.start(world.Driver("kernel"), [])


@row(TWO, "stale entries after offline changes are repaired", dirty=True, **TRIO)
def index_stale(c):
	c.write("a", b"NEW")
	c.stop()
	low = c.place.lower[0]
	for n in NAMES:
		os.unlink(os.path.join(low, n))
	with open(low + "/a", "w", encoding="ascii") as f:
		f.write("replaced")
	os.link(low + "/a", low + "/b")
	c.start()
	for n in ("a", "b"):
		c.read(n)
		c.write(n, b"W")
		need(c.read(n)[:1] == b"W", "%s cannot be written" % n)


@row(TWO, "an upper directory removed offline: its path works", lower=[LOW])
def index_directory_removed(c):
	c.write("d/g", b"NEW")
	os.chmod(c.p("d"), 0o711)
	c.stop()
	subprocess.run(["rm", "-r", c.place.upper + "/d"], check=True)
	c.start()
	need(sorted(os.listdir(c.p("d"))) == ["g", "h3", "s"], "the directory lists wrong")
	need(c.read("d/g") == b"g", "the lower file does not show")
	os.mkdir(c.p("d/n"))


@row(TWO, "whiteouts in the index hide nothing that is still there", lower=[LOW, [W("nothing")]])
def index_whiteouts(c):
	os.unlink(c.p("f"))
	os.unlink(c.p("h1"))
	c.remount()
	need(c.nlink("h2") == 2, "h2 has %d links" % c.nlink("h2"))
	need(not os.path.lexists(c.p("f")), "f is back")
	c.create("f", b"new")
	c.remount()
	need(c.read("f") == b"new", "the new file")
