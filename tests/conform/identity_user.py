# SPDX-License-Identifier: GPL-2.0-or-later
"""What must hold without privilege; run by identity_handles.py as root of a user namespace.

usage: identity_user.py WHAT PROGRAM DIRECTORY
"""
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from lib import sysc, world	# noqa: E402
from lib.rows import Wrong, need	# noqa: E402


class UserMount:
	def __init__(self, program, base):
		self.program, self.base = program, base
		self.mnt = os.path.join(base, "m")

	def start(self):
		opts = "lowerdir=l1,upperdir=u,workdir=w"
		os.chdir(self.base)
		if self.program == "kernel":
			sysc.mount("overlay", self.mnt, "overlay", 0, opts + ",userxattr")
		else:
			r = subprocess.run([self.program, "-o", opts, self.mnt], text=True,
				stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
				stderr=subprocess.PIPE)
			need(r.returncode == 0, "mount: " + r.stderr.strip())
		os.chdir("/")

	def remount(self):
		sysc.umount(self.mnt)
		need(world.wait_servers(self.mnt) or self.program == "kernel", "the server stays")
		self.start()

	def crash(self):
		world.kill_servers(self.mnt)
		try:
			sysc.umount(self.mnt, sysc.MNT_DETACH)
		except OSError:
			pass
		self.start()

	def ino(self, n):
		return os.lstat(os.path.join(self.mnt, n)).st_ino

	def write(self, n, data):
		with open(os.path.join(self.mnt, n), "r+b") as f:
			f.write(data)

	def read(self, n):
		with open(os.path.join(self.mnt, n), "rb") as f:
			return f.read()


def numbers(m):
	names = ("f", "d", "d/g")
	before = {n: m.ino(n) for n in names}
	for n in ("f", "d/g"):
		m.write(n, b"NEW")
	os.chmod(m.mnt + "/d", 0o700)
	for when in ("after copy-up", "after a remount"):
		for n in names:
			need(m.ino(n) == before[n], "%s %s has %d, not %d" % (
				when, n, m.ino(n), before[n]))
		m.remount()
	os.rename(m.mnt + "/f", m.mnt + "/d/f2")
	m.remount()
	need(m.ino("d/f2") == before["f"], "after a rename and a remount f has another number")


def listed(m, d):
	"""d_ino of a directory's names."""
	with os.scandir(os.path.join(m.mnt, d)) as it:
		return {os.path.normpath(os.path.join(d, e.name)): e.inode() for e in it}


def special(m):
	"""Symlinks, FIFOs and sockets, whose copies can carry no attributes."""
	kinds = ("l", "p", "k")
	before = {n: m.ino(n) for n in kinds}

	def same(names, when):
		for old, new in names.items():
			need(m.ino(new) == before[old], "%s %s has %d, not %d" % (
				when, new, m.ino(new), before[old]))
			d = os.path.dirname(new)
			need(listed(m, d)[new] == before[old], "%s d_ino of %s" % (when, new))

	for n in kinds:
		os.utime(os.path.join(m.mnt, n), (5, 5), follow_symlinks=False)
	names = {n: n for n in kinds}
	for when in ("after copy-up", "after a remount"):
		same(names, when)
		m.remount()
	for n in kinds:
		os.rename(os.path.join(m.mnt, n), os.path.join(m.mnt, "d", n + "2"))
		names[n] = "d/" + n + "2"
	m.remount()
	same(names, "after a rename and a remount")
	for n in kinds:
		os.link(os.path.join(m.mnt, names[n]), os.path.join(m.mnt, n + "3"),
			follow_symlinks=False)
		os.unlink(os.path.join(m.mnt, names[n]))
		names[n] = n + "3"
	m.crash()
	same(names, "after link, unlink, kill -9 and a remount")
	for n in kinds:
		need(os.lstat(os.path.join(m.mnt, names[n])).st_nlink == 1, "links of " + n)
	# What takes a number again is another object.
	for i in range(30):
		for n in kinds:
			os.unlink(os.path.join(m.mnt, names[n]))
		os.symlink("born%d" % i, os.path.join(m.mnt, names["l"]))
		os.mkfifo(os.path.join(m.mnt, names["p"]))
		os.symlink("more", os.path.join(m.mnt, names["k"]))
		for n in kinds:
			need(m.ino(names[n]) != before[n], "a new object has an old number")
		m.remount() if i % 10 == 0 else None
	now = {n: m.ino(n) for n in names.values()}
	m.remount()
	need({n: m.ino(n) for n in names.values()} == now, "what is new has not kept its number")
	left = os.listdir(os.path.join(m.base, "w", "lamina", "origins"))
	need(not left, "records are left: %s" % left)


def links(m):
	m.write("h1", b"N")
	need(m.read("h2") == b"N", "the other name has the old bytes")
	need(os.stat(m.mnt + "/h2").st_nlink == 2, "the link count")
	m.remount()
	need(m.read("h2") == b"N" and m.ino("h1") == m.ino("h2"), "not after a remount")
	os.unlink(m.mnt + "/h1")
	need(os.stat(m.mnt + "/h2").st_nlink == 1, "the link count after an unlink")


def special_links(m):
	"""Two names of a symlink below, and three of a FIFO."""
	groups = (["s1", "d/s2"], ["p1", "p2", "d/p3"])
	before = {g[0]: m.ino(g[0]) for g in groups}

	def same(names, first, count, when):
		for n in names:
			st = os.lstat(os.path.join(m.mnt, n))
			need(st.st_ino == before[first], "%s %s has %d, not %d" % (
				when, n, st.st_ino, before[first]))
			need(st.st_nlink == count, "%s %s has %d links, not %d" % (
				when, n, st.st_nlink, count))
			need(int(st.st_mtime) == 5, "%s %s is not the copy" % (when, n))

	for g in groups:
		first = g[0]
		os.utime(os.path.join(m.mnt, g[-1]), (5, 5), follow_symlinks=False)
		same(g, first, len(g), "after copy-up")
		m.remount()
		same(g, first, len(g), "after a remount")
		os.rename(os.path.join(m.mnt, g[0]), os.path.join(m.mnt, "d", g[0] + "r"))
		g[0] = "d/" + first + "r"
		same(g, first, len(g), "after a rename")
		m.crash()
		same(g[::-1], first, len(g), "after kill -9")
		os.link(os.path.join(m.mnt, g[-1]), os.path.join(m.mnt, first + "l"),
			follow_symlinks=False)
		g.append(first + "l")
		m.remount()
		same(g, first, len(g), "after a link")
		while len(g) > 1:
			os.unlink(os.path.join(m.mnt, g.pop(0)))
			same(g, first, len(g), "after an unlink")
			m.remount()
			same(g, first, len(g), "after an unlink and a remount")
		os.unlink(os.path.join(m.mnt, g[0]))
	m.remount()
	left = [os.path.join(d, n) for d in ("origins", "index")
		for n in os.listdir(os.path.join(m.base, "w", "lamina", d))]
	need(not left, "left: %s" % left)


def handles(m):
	h = sysc.name_to_handle(sysc.AT_FDCWD, m.mnt + "/d")
	os.chmod(m.mnt + "/d", 0o700)
	with open(m.mnt + "/d/n", "x", encoding="ascii"):
		pass
	os.rename(m.mnt + "/d/g", m.mnt + "/d/g2")
	m.remount()
	top = os.open(m.mnt, os.O_RDONLY | os.O_DIRECTORY)
	fd = sysc.open_by_handle(top, h, os.O_RDONLY | os.O_DIRECTORY)
	need(sorted(os.listdir(fd)) == ["g2", "n", "p3", "s2"], "the directory lists %s" % os.listdir(fd))
	need(os.fstat(fd).st_ino == m.ino("d"), "another directory")


def main():
	what, program, base = sys.argv[1:]
	m = UserMount(program, base)
	try:
		m.start()
		{"numbers": numbers, "special": special, "special_links": special_links,
			"links": links, "handles": handles}[what](m)
	except (Wrong, OSError) as e:
		print("%s: %s" % (type(e).__name__, e))
		return 1
	finally:
		try:
			sysc.umount(m.mnt, sysc.MNT_DETACH)
		except OSError:
			pass
	return 0


if __name__ == "__main__":
	sys.exit(main())
