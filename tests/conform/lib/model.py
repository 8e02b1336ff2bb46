# SPDX-License-Identifier: GPL-2.0-or-later
"""A model of a directory tree, exact to contents, modes, link counts and inode numbers.

A Walker does random operations on the model and on a mounted tree alike, and holds the two against
each other.  All its choices come from one seeded generator, so that a seed replays a run.
"""
import os
import random
import stat

from . import sysc


class Node:
	"""An object; a file may be in several directories."""

	def __init__(self, kind, mode=0o644, data=b"", target=""):
		self.kind, self.mode, self.target = kind, mode, target
		self.data = bytearray(data)
		self.kids = {} if kind == "d" else None
		self.nlink = 1
		self.ino = 0


class Mismatch(Exception):
	"""The mounted tree is not what the model says."""


def scan(path):
	"""A model of what is on disk, with hard links."""
	seen = {}

	def one(p):
		st = os.lstat(p)
		if stat.S_ISDIR(st.st_mode):
			n = Node("d", stat.S_IMODE(st.st_mode))
			for name in os.listdir(p):
				n.kids[name] = one(os.path.join(p, name))
			return n
		key = (st.st_dev, st.st_ino)
		if key in seen:
			seen[key].nlink += 1
			return seen[key]
		if stat.S_ISLNK(st.st_mode):
			n = Node("l", target=os.readlink(p))
		else:
			with open(p, "rb") as f:
				n = Node("f", stat.S_IMODE(st.st_mode), f.read())
		seen[key] = n
		return n
	return one(path)


class Walker:
	"""Random operations on a subtree that nobody else touches."""

	# how often each is chosen
	WEIGHTS = {
		"create": 8, "mkdir": 5, "symlink": 2, "link": 5, "unlink": 7, "rmdir": 4,
		"rename": 9, "exchange": 3, "write": 9, "append": 4, "truncate": 3, "chmod": 4,
		"setx": 1, "check": 8, "listing": 4, "tmpfile": 2,
	}

	def __init__(self, path, model, seed, index):
		self.path, self.root = path, model
		self.rng = random.Random("%s.%s" % (seed, index))
		self.log = []
		self.serial = 0
		self.counts_links = True

	# ---- choosing ----

	def places(self):
		"""(path, parent, name, node) of everything but the root, in a fixed order."""
		out, todo = [], [("", self.root)]
		while todo:
			p, d = todo.pop()
			for name in sorted(d.kids):
				n = d.kids[name]
				out.append((p + name, d, name, n))
				if n.kind == "d":
					todo.append((p + name + "/", n))
		return out

	def pick(self, kinds="fdl"):
		have = [x for x in self.places() if x[3].kind in kinds]
		return self.rng.choice(have) if have else None

	def pick_dir(self):
		have = [("", self.root)] + [(x[0] + "/", x[3]) for x in self.places()
			if x[3].kind == "d"]
		return self.rng.choice(have)

	def name(self):
		"""A name for a new object: sometimes one that is there, sometimes long."""
		n = "n%d" % self.rng.randrange(12)
		if self.rng.random() < 0.03:
			n += "_" * (255 - len(n))
		return n

	def full(self, p):
		return os.path.join(self.path, p)

	# ---- running ----

	def step(self):
		ops = list(self.WEIGHTS)
		op = self.rng.choices(ops, [self.WEIGHTS[o] for o in ops])[0]
		if len(self.places()) > 90 and op in ("create", "mkdir", "symlink", "link"):
			op = "unlink"
		getattr(self, "do_" + op)()

	def run(self, op, args, fn, want=None):
		"""Do it, and hold the errno against what the model wants; True if it succeeded."""
		self.log.append("%s(%s)" % (op, ", ".join(map(str, args))))
		try:
			fn()
			got = None
		except OSError as e:
			got = sysc.ename(e)
		if got == "EEXIST" and want == "ENOTEMPTY":
			got = want	# POSIX allows both, and xfs gives the other
		if got != want:
			raise Mismatch("%s gave %s, the model says %s" % (
				self.log[-1], got or "success", want or "success"))
		return got is None

	def do_create(self):
		p, d = self.pick_dir()
		n = self.name()
		data = self.rng.randbytes(self.rng.choice((0, 10, 5000, 70000)))
		mode = self.rng.choice((0o644, 0o600, 0o4755, 0o444))

		def fn():
			fd = os.open(self.full(p + n), os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
			try:
				os.write(fd, data)
				os.fchmod(fd, mode)
			finally:
				os.close(fd)
		if self.run("create", (p + n, len(data)), fn, "EEXIST" if n in d.kids else None):
			d.kids[n] = Node("f", mode, data)

	def do_tmpfile(self):
		p, d = self.pick_dir()
		n = self.name()

		def fn():
			fd = os.open(self.full(p) or ".", os.O_TMPFILE | os.O_RDWR, 0o600)
			try:
				os.write(fd, b"tmpfile")
				sysc.linkat(fd, "", sysc.AT_FDCWD, self.full(p + n),
					sysc.AT_EMPTY_PATH)
			finally:
				os.close(fd)
		if self.run("tmpfile", (p + n,), fn, "EEXIST" if n in d.kids else None):
			d.kids[n] = Node("f", 0o600, b"tmpfile")

	def do_mkdir(self):
		p, d = self.pick_dir()
		n = self.name()
		if self.run("mkdir", (p + n,), lambda: os.mkdir(self.full(p + n), 0o755),
				"EEXIST" if n in d.kids else None):
			d.kids[n] = Node("d", 0o755)

	def do_symlink(self):
		p, d = self.pick_dir()
		n = self.name()
		target = "to/" + str(self.rng.randrange(1000))
		if self.run("symlink", (p + n,), lambda: os.symlink(target, self.full(p + n)),
				"EEXIST" if n in d.kids else None):
			d.kids[n] = Node("l", target=target)

	def do_link(self):
		src = self.pick("fl")
		if not src:
			return
		p, d = self.pick_dir()
		n = self.name()
		if self.run("link", (src[0], p + n), lambda: os.link(self.full(src[0]),
				self.full(p + n), follow_symlinks=False),
				"EEXIST" if n in d.kids else None):
			d.kids[n] = src[3]
			src[3].nlink += 1

	def do_unlink(self):
		x = self.pick("fl")
		if x and self.run("unlink", (x[0],), lambda: os.unlink(self.full(x[0]))):
			del x[1].kids[x[2]]
			x[3].nlink -= 1

	def do_rmdir(self):
		x = self.pick("d")
		if x and self.run("rmdir", (x[0],), lambda: os.rmdir(self.full(x[0])),
				"ENOTEMPTY" if x[3].kids else None):
			del x[1].kids[x[2]]

	@staticmethod
	def rename_error(src, node, dst, old):
		"""What rename(2) says of moving NODE at path SRC to DST, where OLD is or None."""
		if node.kind == "d" and (dst + "/").startswith(src + "/") and dst != src:
			return "EINVAL"
		if old is None or old is node:
			return None
		if (src + "/").startswith(dst + "/"):
			return "ENOTEMPTY"
		if node.kind == "d":
			return "ENOTDIR" if old.kind != "d" else "ENOTEMPTY" if old.kids else None
		return "EISDIR" if old.kind == "d" else None

	def do_rename(self):
		x = self.pick()
		if not x:
			return
		src, sd, sn, node = x
		p, d = self.pick_dir()
		n = self.name()
		old = d.kids.get(n)
		want = self.rename_error(src, node, p + n, old)
		if not self.run("rename", (src, p + n),
				lambda: os.rename(self.full(src), self.full(p + n)), want):
			return
		if old is node:
			return
		if old is not None:
			old.nlink -= 1
		del sd.kids[sn]
		d.kids[n] = node

	def do_exchange(self):
		a, b = self.pick(), self.pick()
		if not a:
			return
		one, two = a[0] + "/", b[0] + "/"
		if one.startswith(two) or two.startswith(one):
			return
		if self.run("exchange", (a[0], b[0]), lambda: sysc.renameat2(sysc.AT_FDCWD,
				self.full(a[0]), sysc.AT_FDCWD, self.full(b[0]),
				sysc.RENAME_EXCHANGE)):
			a[1].kids[a[2]], b[1].kids[b[2]] = b[3], a[3]

	def _change(self, op, args, path, flags, fn):
		def call():
			fd = os.open(self.full(path), flags)
			try:
				fn(fd)
			finally:
				os.close(fd)
		self.run(op, args, call)

	def do_write(self):
		x = self.pick("f")
		if not x:
			return
		off = self.rng.choice((0, 1, 4000, self.rng.randrange(100000)))
		data = self.rng.randbytes(self.rng.choice((1, 100, 9000)))
		self._change("write", (x[0], off, len(data)), x[0], os.O_WRONLY,
			lambda fd: os.pwrite(fd, data, off))
		buf = x[3].data
		if len(buf) < off:
			buf.extend(bytes(off - len(buf)))
		buf[off:off + len(data)] = data

	def do_append(self):
		x = self.pick("f")
		if x and len(x[3].data) < 300000:
			data = self.rng.randbytes(50)
			self._change("append", (x[0],), x[0], os.O_WRONLY | os.O_APPEND,
				lambda fd: os.write(fd, data))
			x[3].data.extend(data)

	def do_truncate(self):
		x = self.pick("f")
		if not x:
			return
		size = self.rng.choice((0, len(x[3].data) // 2, self.rng.randrange(120000)))
		self.run("truncate", (x[0], size), lambda: os.truncate(self.full(x[0]), size))
		del x[3].data[size:]
		x[3].data.extend(bytes(size - len(x[3].data)))

	def do_chmod(self):
		x = self.pick("fd")
		if x:
			mode = self.rng.choice((0o600, 0o644, 0o711, 0o755, 0o640)) | (
				0o100 if x[3].kind == "d" else 0)
			self.run("chmod", (x[0], oct(mode)),
				lambda: os.chmod(self.full(x[0]), mode))
			x[3].mode = mode

	def do_setx(self):
		x = self.pick("fd")
		if x:
			self.run("setxattr", (x[0],), lambda: os.setxattr(self.full(x[0]),
				"user.stress", b"1"))

	def do_check(self):
		x = self.pick()
		if x:
			self.log.append("check(%s)" % x[0])
			self.check(x[0], x[3])

	def do_listing(self):
		p, d = self.pick_dir()
		self.log.append("list(%s)" % p)
		self.check_dir(p, d)

	# ---- holding against the model ----

	def check(self, path, n):
		full = self.full(path)
		st = os.lstat(full)
		if n.kind == "d":
			if not stat.S_ISDIR(st.st_mode):
				raise Mismatch("%s is no directory" % path)
		elif self.counts_links and st.st_nlink != n.nlink:
			raise Mismatch("%s has %d links, not %d" % (path, st.st_nlink, n.nlink))
		if n.ino and st.st_ino != n.ino:
			raise Mismatch("%s had inode number %d, now %d" % (path, n.ino, st.st_ino))
		n.ino = st.st_ino
		if n.kind == "l":
			if os.readlink(full) != n.target:
				raise Mismatch("%s points to %s" % (path, os.readlink(full)))
			return
		# writes by root clear the set-id bits like any other's
		if stat.S_IMODE(st.st_mode) & 0o777 != n.mode & 0o777:
			raise Mismatch("%s has mode %o, not %o" % (path, st.st_mode, n.mode))
		if n.kind == "f":
			with open(full, "rb") as f:
				data = f.read()
			if st.st_size != len(n.data) or data != n.data:
				raise Mismatch("%s: %d bytes, not the model's %d, or others" % (
					path, len(data), len(n.data)))

	def check_dir(self, p, d):
		got = os.listdir(self.full(p))
		if sorted(got) != sorted(d.kids):
			raise Mismatch("%s lists %s, not %s" % (p or ".", sorted(got),
				sorted(d.kids)))

	def check_all(self):
		self.check_dir("", self.root)
		for p, _, _, n in self.places():
			self.check(p, n)
			if n.kind == "d":
				self.check_dir(p + "/", n)
