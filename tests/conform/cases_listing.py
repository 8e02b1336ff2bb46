# SPDX-License-Identifier: GPL-2.0-or-later
"""Listings: seeking, cookies, names that come and go, types and inode numbers, great size."""
import os

from lib import look, sysc
from lib.layers import B, C, D, F, H, K, P, S, W, WX
from lib.runner import case

MANY = [F("d/n%03d" % i) for i in range(300)]
MORE = [F("d/m%03d" % i) for i in range(300)] + [F("d/n%03d" % i, "x") for i in range(0, 300, 7)]


def _names(part):
	return [e[0] for e in part]


@case(lower=[[F("d/f"), D("d/d"), S("d/l", "f"), C("d/c"), B("d/b"), P("d/p"), K("d/s"),
	H("d/h", "d/f")], [F("d/f2"), D("d/d2")]], upper=[D("d"), F("d/uf"), D("d/ud")])
def types_and_numbers(o):
	o.ls("d")
	for n in ("f", "d", "l", "c", "b", "p", "s"):
		o.chown("d/" + n, 1, 1)
	o.ls("d")
	o.rename("d/f", "f")
	o.rename("d/d", "dd")
	o.ls("d")
	o.ls()
	o.remount()
	o.ls("d")
	o.ls()


@case(lower=[[F("a/b/f")]], upper=[D("u")])
def dot_and_dot_dot(o):
	for d in (".", "a", "a/b", "u"):
		fd = o.open(d, os.O_RDONLY | os.O_DIRECTORY)
		got = look.read_all(fd)
		o.note("dots", sorted(_names(got))[:2])
		o.note("once", len(set(_names(got))) == len(got))
		by = {n: (t, i) for n, t, i, _ in got}
		o.note("types", (by["."][0], by[".."][0]))
		o.always(by["."][1] == os.fstat(fd).st_ino, "d_ino of . in " + d)
		if d not in (".",):
			parent = o.ino(os.path.dirname(d) or ".")
			o.always(by[".."][1] == parent, "d_ino of .. in " + d)
		o.close(fd)


@case(lower=[MANY, MORE])
def every_name_once(o):
	fd = o.open("d", os.O_RDONLY | os.O_DIRECTORY)
	names = []
	while True:
		part = sysc.getdents(fd, 600)
		if not part:
			break
		names += _names(part)
	o.note("names", sorted(names))
	o.note("again", sysc.getdents(fd))


@case(lower=[MANY, MORE])
def seek_to_every_cookie(o):
	"""Going back to a cookie gives exactly what came after it."""
	fd = o.open("d", os.O_RDONLY | os.O_DIRECTORY)
	full = look.read_all(fd)
	names = _names(full)
	bad = 0
	for i in range(0, len(full), 17):
		os.lseek(fd, full[i][3], os.SEEK_SET)
		part = sysc.getdents(fd, 2000)
		if _names(part) != names[i + 1:i + 1 + len(part)]:
			bad += 1
	o.note("wrong after a seek", bad)
	o.always(len({e[3] for e in full}) == len(full), "two entries share a cookie")
	os.lseek(fd, 0, os.SEEK_SET)
	o.note("after rewind", sorted(_names(look.read_all(fd))) == sorted(names))


def _forest(layer):
	"""80 directories: enough to be recognised as a walk that wants names only."""
	items = []
	for i in range(80):
		d = "w/d%02d" % i
		if layer == "bottom":
			items += [F(d + "/low", "l"), F(d + "/both", "l"), F(d + "/gone", "l"), F(d + "/empty"),
				H(d + "/link", d + "/low"), S(d + "/sym", "low"), P(d + "/fifo"), D(d + "/sub"),
				F(d + "/over", "l"), F(d + "/dead", "l")]
		elif layer == "top":
			items += [D(d, opaque="x"), F(d + "/both", "top"), W(d + "/gone"), F(d + "/none"),
				F(d + "/mid", "m"), WX(d + "/dead"), S(d + "/midsym", "mid"), K(d + "/sock")]
		elif i % 3 == 0:
			items += [F(d + "/over", "u"), F(d + "/up", "u")]
	return items


def _bare_walk(o, dirs):
	out = {}
	for d in dirs:
		fd = o.open(d, os.O_RDONLY | os.O_DIRECTORY)
		out[d] = [e for e in look.read_all(fd) if e[0] not in (".", "..")]
		o.close(fd)
	return out


def _numbers_hold(o, walk):
	bad = []
	for d, entries in walk.items():
		for name, _, ino, _ in entries:
			if os.lstat("%s/%s/%s" % (o.mnt, d, name)).st_ino != ino:
				bad.append(d + "/" + name)
	o.always(not bad, "told by the listing otherwise than by stat: %s" % bad[:5])


@case(lower=[_forest("top"), _forest("bottom")], upper=_forest("upper"), timeout=120)
def walks_for_names_only(o):
	"""What a walk is told of files that nobody looks at is what looking at them says."""
	dirs = ["w/d%02d" % i for i in range(80)]
	walk = _bare_walk(o, dirs)
	o.note("names", {d: sorted((e[0], e[1]) for e in walk[d]) for d in dirs})
	_numbers_hold(o, walk)
	o.remount()
	walk = _bare_walk(o, dirs)
	# Files that were only named are changed, removed, replaced.
	for d in dirs[50:]:
		o.write(d + "/low", b"new")
		o.unlink(d + "/both")
		o.rename(d + "/mid", d + "/moved")
		o.create(d + "/gone")
		o.chmod(d + "/fifo", 0o600)
	again = _bare_walk(o, dirs)
	o.note("after", {d: sorted((e[0], e[1]) for e in again[d]) for d in dirs})
	_numbers_hold(o, again)
	old = {(d, e[0]): e[2] for d in dirs for e in walk[d]}
	new = {(d, e[0]): e[2] for d in dirs for e in again[d]}
	o.must(all(new[k] == old[k] for k in new if k in old and k[1] != "gone"),
		"a number changed")

@case(lower=[MANY, MORE], diverges="cookies-outlive-descriptors", bytes=False,
	tree=False)
def cookies_are_stable(o):
	"""A cookie means the same after other names went away and in another open."""
	fd = o.open("d", os.O_RDONLY | os.O_DIRECTORY)
	full = look.read_all(fd)
	mid = len(full) // 2
	gone = [e[0] for e in full[:mid] if e[0] not in (".", "..")][::3]
	for n in gone:
		os.unlink("%s/d/%s" % (o.mnt, n))
	fd2 = o.open("d", os.O_RDONLY | os.O_DIRECTORY)
	os.lseek(fd2, full[mid][3], os.SEEK_SET)
	rest = _names(look.read_all(fd2))
	with o.apart():
		o.must(rest == _names(full[mid + 1:]), "the rest after the cookie is the same")
	for i in range(len(gone)):
		os.close(os.open("%s/d/%s" % (o.mnt, gone[i]), os.O_CREAT, 0o644))


@case(lower=[MANY, MORE], bytes=False, tree=False)
def removing_while_reading(o):
	"""Every name that stays is given once, whatever is removed meanwhile."""
	fd = o.open("d", os.O_RDONLY | os.O_DIRECTORY)
	seen, n = [], 0
	while True:
		part = [e for e in _names(sysc.getdents(fd, 700)) if e not in (".", "..")]
		if not part:
			break
		for name in part:
			seen.append(name)
			n += 1
			if n % 2:
				os.unlink("%s/d/%s" % (o.mnt, name))
	o.note("twice", len(seen) - len(set(seen)))
	o.note("seen", len(set(seen)))
	fd = o.open("d", os.O_RDONLY | os.O_DIRECTORY)
	o.note("left", len(look.read_all(fd)))


@case(lower=[MANY], bytes=False, tree=False)
def making_while_reading(o):
	"""Names that were there all the time are given exactly once."""
	fd = o.open("d", os.O_RDONLY | os.O_DIRECTORY)
	seen, n = [], 0
	while True:
		part = _names(sysc.getdents(fd, 700))
		if not part:
			break
		seen += part
		if n < 400:
			for _ in range(10):
				os.close(os.open("%s/d/z%04d" % (o.mnt, n), os.O_CREAT, 0o644))
				n += 1
	old = [s for s in seen if s.startswith("n")]
	o.note("old names", (len(old), len(set(old))))
	o.always(len(seen) == len(set(seen)), "some name came twice")


@case(lower=[MANY], bytes=False, tree=False)
def copying_up_while_reading(o):
	"""A copy-up between two reads neither repeats nor loses a name."""
	fd = o.open("d", os.O_RDONLY | os.O_DIRECTORY)
	seen = []
	while True:
		part = [e for e in _names(sysc.getdents(fd, 700)) if e not in (".", "..")]
		if not part:
			break
		seen += part
		for name in part[::2]:
			os.chmod("%s/d/%s" % (o.mnt, name), 0o600)
	o.note("names", (len(seen), len(set(seen))))


@case(lower=[MANY])
def renaming_while_reading(o):
	"""Renames in the directory: what does not move is there once."""
	fd = o.open("d", os.O_RDONLY | os.O_DIRECTORY)
	seen = _names(sysc.getdents(fd, 700))
	for i in range(0, 300, 10):
		os.rename("%s/d/n%03d" % (o.mnt, i), "%s/d/r%03d" % (o.mnt, i))
	seen += _names(look.read_all(fd))
	still = [s for s in seen if s.startswith("n") and not s.endswith("0")]
	o.note("still", (len(still), len(set(still))))


@case(lower=[[]], tree=False, bytes=False, fs=("ext4", "tmpfs"), timeout=300, dirty=True,
	prepare=lambda place: _huge(place))
def hundred_thousand_names(o):
	fd = o.open("d", os.O_RDONLY | os.O_DIRECTORY)
	names = []
	while True:
		part = sysc.getdents(fd, 1 << 18)
		if not part:
			break
		names += _names(part)
	o.note("names", (len(names), len(set(names))))
	o.unlink("d/f55555")
	o.exists("d/f77777")
	o.create("d/new")
	os.lseek(fd, 0, os.SEEK_SET)
	names = set()
	while True:
		part = sysc.getdents(fd, 1 << 18)
		if not part:
			break
		names |= set(_names(part))
	o.note("after", (len(names), "f55555" in names, "new" in names))


def _huge(place):
	d = place.lower[0] + "/d"
	os.mkdir(d)
	os.close(os.open(d + "/f0", os.O_CREAT, 0o644))
	dfd = os.open(d, os.O_RDONLY)
	for i in range(1, 100000):
		# links are much cheaper than inodes; some filesystems take 32000 of them at most
		if i % 20000:
			os.link("f%d" % (i - i % 20000), "f%d" % i, src_dir_fd=dfd, dst_dir_fd=dfd)
		else:
			os.close(os.open("f%d" % i, os.O_CREAT, 0o644, dir_fd=dfd))
	os.close(dfd)


@case(lower=[[F("d/a"), F("d/b")], [F("d/c"), W("d/x")]], upper=[D("d"), W("d/b")])
def rewinding_sees_changes(o):
	fd = o.open("d", os.O_RDONLY | os.O_DIRECTORY)
	o.note("first", sorted(_names(look.read_all(fd))))
	o.create("d/n")
	o.unlink("d/a")
	os.lseek(fd, 0, os.SEEK_SET)
	o.note("second", sorted(_names(look.read_all(fd))))


@case(lower=[[D("d/s%d" % i) for i in range(5)] + [F("d/f")], [D("d/t")]],
	diverges="nlink-of-directories", tree=False, bytes=False)
def nlink_of_merged(o):
	"""A merged directory's link count is 1, or right: two and one for each directory in it."""
	def ok(p, subdirs):
		n = os.stat(os.path.join(o.mnt, p)).st_nlink
		o.must(n in (1, 2 + subdirs), "nlink of %s is %d with %d inside" % (p, n, subdirs))
	ok("d", 6)
	o.rmdir("d/s1")
	ok("d", 5)
	o.mkdir("d/n")
	o.mkdir("d/n2")
	ok("d", 7)
	o.rename("d/n", "moved")
	ok("d", 6)
	ok("moved", 0)
	o.mkdir("p")
	o.mkdir("p/q")
	ok("p", 1)
