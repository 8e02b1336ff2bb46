# SPDX-License-Identifier: GPL-2.0-or-later
"""Identity, sections 3 to 7: file handles, writing through them, old descriptors, unprivileged."""
import ctypes
import fcntl
import mmap
import os
import select
import shutil
import struct
import subprocess
import sys
import time

from lib import look, sysc, world
from lib.layers import B, C, D, F, H, K, P, S
from lib.rows import Wrong, need, row

THREE = "3 file handles"
FOUR = "4 writing through a handle"
FIVE = "5 descriptors and mappings from before copy-up"
SIX = "6 layers with the kernel's complete index"
SEVEN = "7 without privilege"

LOW = [F("f", "data"), D("d"), F("d/g", "g"), D("d/s"), F("d/s/x", "x"), S("l", "f"), C("c"),
	B("b"),
	P("p"), F("h1", "h"), H("h2", "h1"), D("e"), F("e/y", "y")]
LOW2 = [D("d"), F("d/k", "k"), D("low2"), F("low2/z", "z")]
UP = [F("u", "u"), D("ud"), F("ud/v", "v"), D("d")]
STACK = dict(lower=[LOW, LOW2], upper=UP)
EVERY = ("f", "d", "d/g", "d/s", "d/s/x", "l", "c", "b", "p", "h1", "e", "e/y", "d/k", "low2",
	"low2/z", "u", "ud", "ud/v", ".")


def handles(c, names=EVERY):
	return {n: c.handle(n) for n in names}


def all_same(c, hs, moved=None):
	for n, h in hs.items():
		try:
			c.need_same(h, (moved or {}).get(n, n))
		except OSError as e:
			need(False, "the handle of %s: %s" % (n, sysc.ename(e)))


@row(THREE, "every type, born in upper, lower, merged", **STACK)
def handle_types(c):
	all_same(c, handles(c))


@row(THREE, "below 20 layers", lower=[[F("d/f%d" % i, "%d" % i)] for i in range(20)])
def handle_twenty_layers(c):
	names = ["d"] + ["d/f%d" % i for i in range(20)]
	hs = handles(c, names)
	c.drop()
	all_same(c, hs)
	c.remount()
	all_same(c, hs)
	c.need_same(hs["d/f19"], "d/f19", b"19")


@row(THREE, "after copy-up, with content as of now", **STACK)
def handle_copy_up(c):
	hs = handles(c)
	for n in ("f", "d/g", "h1", "low2/z", "u"):
		c.write(n, b"NEW")
		c.need_same(hs[n], n, b"NEW" + c.read(n)[3:])
	for n in EVERY:
		os.chown(c.p(n), 4, 4, follow_symlinks=False)
	all_same(c, hs)
	c.need_same(hs["h1"], "h2")


@row(THREE, "after rename of the object, twice, across directories", **STACK)
def handle_renamed(c):
	names = ("f", "l", "c", "p", "d/g", "u", "low2/z", "d/s", "h1")
	hs = handles(c, names)
	moved = {}
	for n in names:
		flat = n.replace("/", "_")
		os.rename(c.p(n), c.p("e/" + flat))
		os.rename(c.p("e/" + flat), c.p("ud/" + flat))
		moved[n] = "ud/" + flat
	all_same(c, hs, moved)
	c.drop()
	all_same(c, hs, moved)


@row(THREE, "after rename of its parents, twice, across directories", **STACK)
def handle_parents_renamed(c):
	names = ("d", "d/g", "d/s", "d/s/x", "d/k", "low2/z")
	hs = handles(c, names)
	os.rename(c.p("d"), c.p("e/dd"))
	os.rename(c.p("e"), c.p("ee"))
	os.rename(c.p("ee/dd"), c.p("ud/d3"))
	os.rename(c.p("low2"), c.p("ud/d3/low"))
	moved = {n: "ud/d3" + n[1:] for n in names if n != "low2/z"}
	moved["low2/z"] = "ud/d3/low/z"
	all_same(c, hs, moved)
	c.drop()
	all_same(c, hs, moved)
	c.remount()
	all_same(c, hs, moved)


@row(THREE, "of what lies below a redirected directory", **STACK)
def handle_redirected(c):
	os.rename(c.p("d"), c.p("e/r"))
	names = ("e/r", "e/r/g", "e/r/s", "e/r/s/x", "e/r/k")
	hs = handles(c, names)
	c.remount()
	all_same(c, hs)
	c.write("e/r/g", b"NEW")
	c.remount()
	c.need_same(hs["e/r/g"], "e/r/g", b"NEW")


@row(THREE, "after unlink of one of several names", **STACK)
def handle_one_name_less(c):
	h = c.handle("h1")
	os.unlink(c.p("h1"))
	c.need_same(h, "h2", b"h")
	c.drop()
	c.need_same(h, "h2", b"h")
	c.write("h2", b"H")
	c.remount()
	c.need_same(h, "h2", b"H")


@row(THREE, "open and unlinked: nlink 0, fstat, fchmod, write, by handle too", **STACK)
def handle_open_unlinked(c):
	for n in ("f", "u", "d/k"):
		h = c.handle(n)
		fd = c.open(n, os.O_RDWR)
		os.unlink(c.p(n))
		need(os.fstat(fd).st_nlink == 0, "%s has nlink %d" % (n, os.fstat(fd).st_nlink))
		os.fchmod(fd, 0o600)
		need(os.fstat(fd).st_mode & 0o777 == 0o600, "fchmod of %s" % n)
		os.pwrite(fd, b"NEW", 0)
		again = c.decode(h, os.O_RDWR)
		need(os.fstat(again).st_ino == os.fstat(fd).st_ino, "another object")
		need(os.pread(again, 3, 0) == b"NEW", "the handle of %s reads other bytes" % n)
		os.pwrite(again, b"TWO", 0)
		need(os.pread(fd, 3, 0) == b"TWO", "what the handle wrote is not seen")
		os.close(fd)
		os.close(again)


@row(THREE, "after drop_caches", **STACK)
def handle_drop(c):
	hs = handles(c)
	c.drop()
	all_same(c, hs)


@row(THREE, "after a remount", **STACK)
def handle_remount(c):
	hs = handles(c)
	c.remount()
	all_same(c, hs)
	c.write("f", b"NEW")
	c.write("d/s/x", b"N")
	c.remount()
	all_same(c, hs)
	c.need_same(hs["f"], "f", b"NEWa")


@row(THREE, "after kill -9 of the server and a new mount", **STACK)
def handle_crash(c):
	hs = handles(c)
	c.write("f", b"NEW")
	os.rename(c.p("d"), c.p("e/d"))
	c.crash()
	all_same(c, hs, {n: "e/" + n for n in EVERY if n == "d" or n.startswith("d/")})


def _many(place):
	d = place.lower[0] + "/d"
	os.mkdir(d)
	fd = os.open(d, os.O_RDONLY)
	for i in range(100000):
		os.close(os.open("f%d" % i, os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=fd))
	os.close(fd)


@row(THREE, "100,000 handles at once", lower=[[]], prepare=_many, fs=("ext4", "xfs"), timeout=300)
def handle_many(c):
	fd = c.open("d")
	hs = [(i, sysc.name_to_handle(fd, "f%d" % i)) for i in range(100000)]
	need(len({h for _, h in hs}) == 100000, "two objects share a handle")
	inos = {i: os.stat("f%d" % i, dir_fd=fd).st_ino for i in range(0, 100000, 500)}
	c.drop()
	top = c.open(".")
	for i, h in hs:
		o = sysc.open_by_handle(top, h, os.O_PATH)
		if i in inos:
			need(os.fstat(o).st_ino == inos[i], "handle %d gives another object" % i)
		os.close(o)


@row(THREE, "connectable handles (AT_HANDLE_CONNECTABLE)", **STACK)
def handle_connectable(c):
	hs = {n: c.handle(n, sysc.AT_HANDLE_CONNECTABLE) for n in EVERY if n != "."}
	all_same(c, hs)
	c.remount()
	all_same(c, hs)


@row(THREE, "AT_HANDLE_FID: constant over copy-up and remount", **STACK)
def handle_fid(c):
	hs = {n: c.handle(n, sysc.AT_HANDLE_FID) for n in EVERY}
	for n in ("f", "d/g", "u"):
		c.write(n, b"N")
	os.chown(c.p("d"), 4, 4)
	for again in range(2):
		for n in EVERY:
			now = c.handle(n, sysc.AT_HANDLE_FID)
			need(now == hs[n], "the id of %s was %s, is %s" % (n, hs[n], now))
		c.remount()


@row(THREE, "of a removed object: ESTALE, at once and after a remount", export_only=True, **STACK)
def handle_removed(c):
	names = ("f", "d/g", "l", "c", "u", "ud/v", "e/y", "low2/z", "h1")
	hs = handles(c, names + ("e", "ud", "low2", "d/s", "d/s/x"))
	c.write("e/y", b"N")
	for n in names + ("h2", "d/s/x"):
		os.unlink(c.p(n))
	for n in ("e", "ud", "low2", "d/s"):
		os.rmdir(c.p(n))
	for when in ("at once", "after drop_caches", "after a remount"):
		for n, h in hs.items():
			e = c.error(h)
			need(e == "ESTALE", "%s the handle of %s gives %s" % (when, n,
				e or "an object"))
		if when == "at once":
			c.drop()
		elif when == "after drop_caches":
			c.remount()


def need_stale(c, handle, ino):
	"""HANDLE, of a file that was removed, gives ESTALE.  While the kernel is letting its inode go, as it may do for
	somebody who writes out or drops caches, it still is that file."""
	end = time.monotonic() + 10
	while True:
		try:
			fd = c.decode(handle, os.O_RDONLY)
		except OSError as e:
			need(sysc.ename(e) == "ESTALE", "the handle of a removed file gives %s" % e)
			return
		st, data = os.fstat(fd), os.pread(fd, 10, 0)
		c.done(fd)
		need((st.st_nlink, st.st_ino, data) == (0, ino, b"old"),
			"the handle of a removed file gives %s, %r" % (look.attrs(st), data))
		need(time.monotonic() < end, "the handle of a removed file gives it for good")
		time.sleep(0.01)


@row(THREE, "of a removed object whose inode number is used again: ESTALE", **STACK)
def handle_reused(c):
	reused = 0
	for i in range(40):
		c.create("victim%d" % i, b"old")
		h, ino = c.handle("victim%d" % i), c.ino("victim%d" % i)
		os.unlink(c.p("victim%d" % i))
		if i % 20 == 0:
			c.drop()
		c.create("new%d" % i, b"new")
		reused += c.ino("new%d" % i) == ino
		need_stale(c, h, ino)
		os.unlink(c.p("new%d" % i))
	need(reused or c.place.config not in ("ext4", "mixed"), "no number was used again")


@row(THREE, "forged and damaged handles: ESTALE, nothing outside, no crash", **STACK)
def handle_forged(c):
	good = {os.lstat(c.p(n)).st_ino for n in EVERY + ("h2",)}
	for n in ("f", "d", "u"):
		typ, raw = c.handle(n)
		for i in range(len(raw)):
			for x in (1, 0x40, 0x80, 0xFF):
				bad = raw[:i] + bytes([raw[i] ^ x]) + raw[i + 1:]
				try:
					fd = c.decode((typ, bad))
				except OSError as e:
					need(sysc.ename(e) in ("ESTALE", "EINVAL"),
						"it gave " + sysc.ename(e))
					continue
				st = os.fstat(fd)
				need(st.st_ino in good, "%s, byte %d, ^%#x: number %d, %s" % (
					n, i, x, st.st_ino, look.attrs(st)))
				c.done(fd)
		for v in (0, 1, 2, 1 << 31, 1 << 62, (1 << 64) - 1):
			words = struct.pack("=IIII", v >> 32, v & 0xFFFFFFFF, v & 0xFFFF, 0)
			c.error((typ, words[:len(raw)].ljust(len(raw), b"\0")))
	need(c.read("f") == b"data", "the mount does not serve any more")


@row(THREE, "encoding writes nothing", lower=[[D("a"), F("a/t", "t")], [F("a/b/c/f", "f"),
	D("z/y")],
	[F("a/b/g")]])
def handle_encoding_writes_nothing(c):
	def state():
		return sorted(r for root in (c.place.upper, c.place.work + "/index")
			if os.path.isdir(root) for r, _ in look.walk(root))
	before = state()
	for n in ("a", "a/t", "a/b", "a/b/c", "a/b/c/f", "z/y", "a/b/g"):
		c.handle(n)
	need(state() == before, "there is now %s" % (set(state()) - set(before)))


@row(THREE, "of what was made in the mount; handles of a whole tree, then rm -rf", **STACK)
def handle_tree_removed(c):
	os.makedirs(c.p("t/a/b"))
	for i in range(30):
		c.create("t/a/b/f%d" % i, b"%d" % i)
	names = ["t", "t/a", "t/a/b"] + ["t/a/b/f%d" % i for i in range(30)]
	hs = handles(c, names)
	all_same(c, hs)
	c.remount()
	all_same(c, hs)
	subprocess.run(["rm", "-rf", c.p("t")], check=True)
	for n, h in hs.items():
		need(c.error(h) == "ESTALE", "the handle of %s gives %s" % (n, c.error(h)))


def write_by_handle(c, name, data):
	"""Write with nothing but the handle, the path never having been looked up."""
	h = c.handle(name)
	c.remount()
	fd = c.decode(h, os.O_RDWR)
	os.pwrite(fd, data, 0)
	os.fsync(fd)
	os.close(fd)
	c.fds.remove(fd)
	return h


@row(FOUR, "seen at its path at once", **STACK)
def write_seen_at_once(c):
	for n in ("f", "d/s/x", "low2/z", "h1"):
		h = write_by_handle(c, n, b"NEW")
		need(c.read(n)[:3] == b"NEW", "%s reads %r" % (n, c.read(n)))
		c.need_same(h, n)
	need(c.read("h2")[:3] == b"NEW", "a link broke")


@row(FOUR, "seen after a remount, link count right", **STACK)
def write_seen_after_remount(c):
	for n in ("f", "d/s/x", "low2/z"):
		write_by_handle(c, n, b"NEW")
		c.remount()
		need(c.read(n)[:3] == b"NEW", "%s reads %r" % (n, c.read(n)))
		need(c.nlink(n) == 1, "%s has %d links" % (n, c.nlink(n)))
		c.remount()
		need(c.read(n)[:3] == b"NEW", "the second time %s reads %r" % (n, c.read(n)))


@row(FOUR, "seen after a mount by the kernel, without nfs_export", **STACK)
def write_seen_by_kernel(c):
	for n in ("f", "d/s/x"):
		write_by_handle(c, n, b"NEW")
	c.remount(world.Driver("kernel"), [])
	for n in ("f", "d/s/x"):
		need(c.read(n)[:3] == b"NEW", "%s reads %r" % (n, c.read(n)))


@row(FOUR, "seen after a mount by the kernel, with nfs_export", export_only=True, **STACK)
def write_seen_by_kernel_export(c):
	for n in ("f", "d/s/x"):
		write_by_handle(c, n, b"NEW")
	for _ in range(2):
		c.remount(world.Driver("kernel"), ["nfs_export=on"])
		for n in ("f", "d/s/x"):
			need(c.read(n)[:3] == b"NEW", "%s reads %r" % (n, c.read(n)))


@row(FIVE, "read sees the new bytes", **STACK)
def old_descriptor_reads(c):
	fds = {n: c.open(n) for n in ("f", "d/g", "h1", "low2/z")}
	for n, fd in fds.items():
		os.pread(fd, 10, 0)
		c.write(n, b"NEW")
		need(os.pread(fd, 3, 0) == b"NEW", "the old descriptor of %s" % n)
		os.chmod(c.p(n), 0o600)
		need(os.fstat(fd).st_mode & 0o777 == 0o600, "fstat of the old one of %s" % n)


@row(FIVE, "a shared mapping sees them", lower=[[F("f", b"o" * 8192)]])
def old_mapping_shared(c):
	m = mmap.mmap(c.open("f"), 8192, mmap.MAP_SHARED, mmap.PROT_READ)
	need(m[:3] == b"ooo", "at first")
	with open(c.p("f"), "r+b", buffering=0) as f:
		f.write(b"NEW" * 2000)
	need(m[:3] == b"NEW" and m[4096:4098] == (b"NEW" * 2000)[4096:4098], "the mapping is old")
	m.close()


@row(FIVE, "a private mapping's pages that were not touched yet see them",
	lower=[[F("f", b"o" * 8192)]])
def old_mapping_private(c):
	m = mmap.mmap(c.open("f"), 8192, mmap.MAP_PRIVATE, mmap.PROT_READ)
	c.write("f", b"NEW" * 2000)
	need(m[4096:4098] == (b"NEW" * 2000)[4096:4098], "an untouched page is old")
	m.close()


@row(FIVE, "flock and fcntl locks are kept", **STACK)
def old_locks(c):
	a = c.open("f")
	fcntl.flock(a, fcntl.LOCK_SH)
	b = c.open("d/g")
	fcntl.lockf(b, fcntl.LOCK_SH, 10, 0)
	# by a child, as closing any descriptor of a file drops the process's own fcntl locks
	subprocess.run(["sh", "-c", 'echo N >"$0/f" && echo N >"$0/d/g"', c.mnt], check=True)
	other = c.open("f", os.O_RDWR)
	try:
		fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
		need(False, "the flock lock was lost")
	except BlockingIOError:
		pass
	pid = os.fork()
	if pid == 0:
		fd = os.open(c.p("d/g"), os.O_RDWR)
		try:
			fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 0)
			os._exit(1)
		except OSError:
			os._exit(0)
	need(os.waitpid(pid, 0)[1] == 0, "the fcntl lock was lost")


@row(FIVE, "inotify watches are kept", **STACK)
def old_watches(c):
	ino = sysc.libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
	c.fds.append(ino)
	modify, attrib = 0x2, 0x4
	for n in ("f", "d/g"):
		wd = sysc.libc.inotify_add_watch(ino, os.fsencode(c.p(n)),
			ctypes.c_uint32(modify | attrib))
		need(wd >= 0, "no watch")
		c.write(n, b"NEW")
		need(select.select([ino], [], [], 2)[0], "no event of a write to %s" % n)
		os.read(ino, 65536)
		c.write(n, b"TWO")
		need(select.select([ino], [], [], 2)[0], "no event of a second write to %s" % n)
		os.read(ino, 65536)


@row(FIVE, "orphans live until the last reference; the next mount cleans up", **STACK)
def old_orphans(c):
	fds = []
	for n in ("f", "u", "e/y"):
		fd = c.open(n, os.O_RDWR)
		os.pwrite(fd, b"NEW", 0)
		os.unlink(c.p(n))
		fds.append(fd)
	c.drop()
	for fd in fds:
		need(os.pread(fd, 3, 0) == b"NEW", "the data is gone")
	c.crash()
	c.stop()
	left = [p for sub in ("work", "index", "lamina") for p, _, files in
		os.walk(os.path.join(c.place.work, sub)) for f in files
		if os.lstat(os.path.join(p, f)).st_size == 4 and sub != "lamina"
		or "orphan" in p]
	need(not left, "left: %s" % left)


@row(SIX, "handles of before are right after the kernel changed the layers", export_only=True,
	**STACK)
def layers_from_kernel(c):
	names = ("f", "d", "d/g", "e/y", "low2/z", "h1", "u", "d/s")
	hs, before = handles(c, names), {n: c.ino(n) for n in names}
	c.remount(world.Driver("kernel"), ["nfs_export=on"])
	c.write("f", b"KER")
	os.rename(c.p("d"), c.p("dd"))
	os.unlink(c.p("e/y"))
	c.write("h2", b"K")
	os.rename(c.p("low2/z"), c.p("z"))
	c.remount()
	moved = {"d": "dd", "d/g": "dd/g", "d/s": "dd/s", "low2/z": "z"}
	need(c.error(hs.pop("e/y")) == "ESTALE", "the handle of what the kernel removed")
	all_same(c, hs, moved)
	for n in hs:
		need(c.ino(moved.get(n, n)) == before[n], "%s has another inode number" % n)
	c.need_same(hs["f"], "f", b"KERa")
	c.need_same(hs["h1"], "h2", b"K")


@row(SIX, "the kernel's own handles are right after we changed the layers", export_only=True,
	**STACK)
def layers_for_kernel(c):
	kernel = world.Driver("kernel")
	c.remount(kernel, ["nfs_export=on"])
	names = ("f", "d/g", "e/y", "low2/z", "h1", "d/s")
	hs = handles(c, names)
	c.remount()
	c.write("f", b"OUR")
	os.rename(c.p("d"), c.p("dd"))
	os.unlink(c.p("e/y"))
	c.write("h2", b"O")
	os.rename(c.p("low2/z"), c.p("z"))
	c.remount(kernel, ["nfs_export=on"])
	need(c.error(hs.pop("e/y")) == "ESTALE", "the handle of what we removed")
	all_same(c, hs, {"d/g": "dd/g", "d/s": "dd/s", "low2/z": "z"})
	c.need_same(hs["f"], "f", b"OURa")
	c.need_same(hs["h1"], "h2", b"O")


def _owned(place):
	"""Everything belongs to an ordinary user, and the way to it is open."""
	for d in place.areas + [place.dir]:
		subprocess.run(["chown", "-R", "1000:1000", d], check=True)


def _interpreter():
	"""A Python that an ordinary user may run; one below /root is none."""
	for p in (sys.executable, "/usr/bin/python3"):
		if subprocess.run(["setpriv", "--reuid", "1000", "--regid", "1000",
				"--clear-groups",
				"env", p, "-c", ""], stderr=subprocess.DEVNULL).returncode == 0:
			return p
	raise Wrong("there is no Python that an ordinary user may run")


def _unprivileged(c, what):
	"""Run WHAT of identity_user.py as an ordinary user in a namespace of its own.

	It and the program are copied first, as the user may not reach the source tree.
	"""
	here = os.path.dirname(os.path.abspath(__file__))
	tools = os.path.join(c.place.dir, "tools")
	os.mkdir(tools)
	shutil.copy(os.path.join(here, "identity_user.py"), tools)
	shutil.copytree(os.path.join(here, "lib"), os.path.join(tools, "lib"))
	program = "kernel"
	if not c.is_kernel:
		program = os.path.join(tools, os.path.basename(c.driver.program))
		shutil.copy(shutil.which(c.driver.program), program)
	cmd = ["setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups", "unshare", "-Urm",
		"--kill-child", _interpreter(), os.path.join(tools, "identity_user.py"), what,
		program, c.place.dir]
	r = subprocess.run(cmd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
		cwd="/",
		timeout=50)
	need(r.returncode == 0, r.stdout.strip().splitlines()[-1] if r.stdout.strip()
		else "exit code %d" % r.returncode)


USER = dict(lower=[[F("f", "data"), D("d"), F("d/g", "g"), F("h1", "h"), H("h2", "h1"),
	S("l", "f"), P("p"), K("k"), S("s1", "f"), H("d/s2", "s1"), P("p1"), H("p2", "p1"),
	H("d/p3", "p1")]],
	mount=False,
	prepare=_owned, kernel_opts=[])


@row(SEVEN, "inode numbers over copy-up, rename and remount", **USER)
def user_numbers(c):
	_unprivileged(c, "numbers")


@row(SEVEN, "the same of symlinks, FIFOs and sockets; used numbers are new objects", **USER)
def user_special(c):
	_unprivileged(c, "special")


@row(SEVEN, "hard links stay whole, over a remount too", **USER)
def user_links(c):
	_unprivileged(c, "links")


@row(SEVEN, "hard links of symlinks and FIFOs too, in every change of names", **USER)
def user_special_links(c):
	_unprivileged(c, "special_links")


@row(SEVEN, "directory handles decode, after copy-up and a rename", **USER)
def user_directory_handles(c):
	_unprivileged(c, "handles")
