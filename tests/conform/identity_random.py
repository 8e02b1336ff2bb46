# SPDX-License-Identifier: GPL-2.0-or-later
"""Random steps against a model that knows each object's identity, contents and link count.

A run is a list of small tuples that depend on the seed alone; each step is applied to whatever the
model then has, so that any part of the list is a valid run as well.  That is how a failing run is
shortened: leave out parts of the list for as long as it still fails.
"""
import os
import random
import stat

from lib import layers, rows, sysc, world

DIRS = ("a", "b", "c/d")
KINDS = (["write"] * 6 + ["link"] * 5 + ["unlink"] * 4 + ["rename"] * 6 + ["create"] * 3
	+ ["chmod"] * 2 + ["renamedir"] * 2 + ["truncate", "symlink"] + ["check"] * 4
	+ ["remount", "drop", "kernel"])


class Obj:
	"""An object: contents, number of names, and what must never change."""

	def __init__(self, data, ino, handle):
		self.data, self.ino, self.handle = data, ino, handle
		self.names = set()


def make_steps(rng, n):
	return [(rng.choice(KINDS), rng.randrange(1 << 20), rng.randrange(1 << 20))
		for _ in range(n)]


def lower_items():
	out = ([], [])
	for i, items in enumerate(out):
		for d in DIRS:
			for f in range(4):
				name = "%s/f%d_%d" % (d, i, f)
				items.append(layers.F(name, "content of " + name))
			items.append(layers.H("%s/h%d" % (d, i), "%s/f%d_0" % (d, i)))
		items.append(layers.H("a/far%d" % i, "b/f%d_1" % i))
	return out


class Run:
	"""One run of a list of steps on a fresh stack."""

	def __init__(self, ctx):
		self.c = ctx
		self.names = {}		# path -> Obj
		self.dirs = {}		# the name it was made with -> where it is now
		self.dir_ids = {}	# the name it was made with -> (inode number, handle)
		self.dead = []
		self.serial = 0
		self.log = []		# what was done, in words

	def load(self):
		for d in DIRS:
			self.dirs[d] = d
			self.dir_ids[d] = (self.c.ino(d), self.c.handle(d))
		by_ino = {}
		for d in DIRS:
			for n in sorted(os.listdir(self.c.p(d))):
				p = d + "/" + n
				ino = self.c.ino(p)
				if ino not in by_ino:
					by_ino[ino] = Obj(self.c.read(p), ino, self.c.handle(p))
				self.names[p] = by_ino[ino]
				by_ino[ino].names.add(p)

	def some(self, r):
		have = sorted(self.names)
		return have[r % len(have)] if have else None

	def some_dir(self, r):
		return sorted(self.dirs.values())[r % len(self.dirs)]

	def fresh(self, r):
		self.serial += 1
		return "%s/n%d" % (self.some_dir(r), self.serial)

	def did(self, *words):
		self.log.append(" ".join(map(str, words)))

	def drop_name(self, p):
		o = self.names.pop(p)
		o.names.discard(p)
		if not o.names:
			self.dead.append(o)

	def give_name(self, p, o):
		if p in self.names:
			self.drop_name(p)
		self.names[p] = o
		o.names.add(p)

	# ---- steps ----

	def apply(self, step):
		kind, r, s = step
		p = self.some(r)
		if p is None and kind not in ("create", "remount", "drop", "kernel"):
			return
		getattr(self, "do_" + kind)(p, r, s)

	def do_write(self, p, _r, s):
		o = self.names[p]
		if isinstance(o.data, str):
			return
		data = b"%d." % s * (s % 7 + 1)
		off = s % (len(o.data) + 1)
		self.did("write", p, "at", off)
		fd = os.open(self.c.p(p), os.O_WRONLY)
		os.pwrite(fd, data, off)
		os.close(fd)
		o.data = o.data[:off] + data + o.data[off + len(data):]

	def do_truncate(self, p, _r, s):
		o = self.names[p]
		if not isinstance(o.data, str):
			size = s % (len(o.data) + 1)
			self.did("truncate", p, "to", size)
			os.truncate(self.c.p(p), size)
			o.data = o.data[:size]

	def do_chmod(self, p, _r, s):
		if not isinstance(self.names[p].data, str):
			self.did("chmod", p)
			os.chmod(self.c.p(p), (0o600, 0o644, 0o640)[s % 3])

	def do_link(self, p, _r, s):
		q = self.fresh(s)
		self.did("link", p, "to", q)
		os.link(self.c.p(p), self.c.p(q), follow_symlinks=False)
		self.give_name(q, self.names[p])

	def do_unlink(self, p, _r, _s):
		self.did("unlink", p)
		os.unlink(self.c.p(p))
		self.drop_name(p)

	def do_rename(self, p, _r, s):
		q = self.some(s) if s % 3 == 0 else self.fresh(s)
		self.did("rename", p, "to", q)
		os.rename(self.c.p(p), self.c.p(q))
		o = self.names[p]
		if self.names.get(q) is o:
			return
		self.drop_name_keep(p)
		self.give_name(q, o)

	def drop_name_keep(self, p):
		self.names.pop(p).names.discard(p)

	def do_renamedir(self, _p, r, s):
		key = sorted(self.dirs)[r % len(self.dirs)]
		old, new = self.dirs[key], "r%d" % s
		if os.path.lexists(self.c.p(new)):
			return
		self.did("rename directory", old, "to", new)
		os.rename(self.c.p(old), self.c.p(new))
		self.dirs[key] = new
		for p in [p for p in self.names if p.startswith(old + "/")]:
			o = self.names[p]
			self.drop_name_keep(p)
			self.give_name(new + p[len(old):], o)

	def do_create(self, _p, _r, s):
		q = self.fresh(s)
		self.did("create", q)
		self.c.create(q, b"new %d" % s)
		self.give_name(q, Obj(b"new %d" % s, self.c.ino(q), self.c.handle(q)))

	def do_symlink(self, _p, _r, s):
		q = self.fresh(s)
		self.did("symlink", q)
		os.symlink("to%d" % s, self.c.p(q))
		self.give_name(q, Obj("to%d" % s, self.c.ino(q), self.c.handle(q)))

	def do_remount(self, _p, _r, s):
		self.did("kill the server" if s % 2 else "remount")
		if s % 2:
			self.c.crash()
		else:
			self.c.remount()
		self.check()

	def do_drop(self, _p, _r, _s):
		self.did("drop caches")
		self.c.drop()
		self.check()

	def do_kernel(self, _p, _r, _s):
		"""Names and contents must be right on the kernel's overlay too."""
		self.did("mount by the kernel")
		self.c.remount(world.Driver("kernel"), [])
		self.check(identity=False)
		self.c.remount()

	def do_check(self, p, _r, _s):
		self.did("check", p)
		self.check_one(p)

	# ---- looking ----

	def check_one(self, p, identity=True):
		o, c = self.names[p], self.c
		st = os.lstat(c.p(p))
		if stat.S_ISLNK(st.st_mode):
			rows.need(os.readlink(c.p(p)) == o.data, "%s points elsewhere" % p)
		else:
			got = c.read(p)
			rows.need(got == o.data, "%s has %r, not %r" % (p, got[:60], o.data[:60]))
		if not identity:
			# nor links: the kernel miscounts them in a complete index, and where a name
			# was removed without copying the file up
			return
		rows.need(st.st_nlink == len(o.names), "%s has %d links, not %d" % (
			p, st.st_nlink, len(o.names)))
		rows.need(st.st_ino == o.ino, "%s has number %d, not %d" % (p, st.st_ino, o.ino))
		self.decodes_to(o.handle, o.ino, p)

	def check_dirs(self):
		for key, (ino, handle) in self.dir_ids.items():
			now = self.c.ino(self.dirs[key])
			rows.need(now == ino, "directory %s had number %d, now %d" % (
				key, ino, now))
			self.decodes_to(handle, ino, "directory " + key)

	def decodes_to(self, handle, ino, what):
		try:
			fd = self.c.decode(handle)
		except OSError as e:
			raise rows.Wrong("the handle of %s: %s" % (what, sysc.ename(e))) from e
		rows.need(os.fstat(fd).st_ino == ino, "the handle of %s gives another" % what)
		self.c.done(fd)

	def check(self, identity=True):
		for d in self.dirs.values():
			got = {d + "/" + n for n in os.listdir(self.c.p(d))}
			want = {p for p in self.names if os.path.dirname(p) == d}
			rows.need(got == want, "%s lists %s" % (d, sorted(got ^ want)))
		if identity:
			self.check_dirs()
		for p in sorted(self.names):
			self.check_one(p, identity)
		if identity and "nfs_export=on" in self.c.opts:
			for o in self.dead:
				e = self.c.error(o.handle)
				rows.need(e == "ESTALE", "the handle of a removed object: %s" % e)


def attempt(args, root, config, mode, steps, number):
	"""None, or (index of the failing step, what is wrong, what was done)."""
	program, opts = rows.MODES[mode]
	driver = world.Driver(program or args.program)
	place = world.Place(root, config, "r%d" % number, "p", 2)
	ctx = rows.Ctx(place, driver, opts, 2)
	i, run = -1, Run(ctx)
	try:
		for path, items in zip(place.lower, lower_items()):
			layers.build(path, items)
		layers.build(place.upper, [])
		ctx.start()
		run.load()
		for i, step in enumerate(steps):
			run.apply(step)
		i = len(steps)
		run.check()
		ctx.stop()
		return None
	except (rows.Wrong, world.MountError, OSError) as e:
		return i, "%s: %s" % (type(e).__name__, e), run.log
	finally:
		for fd in ctx.fds:
			try:
				os.close(fd)
			except OSError:
				pass
		place.remove()


def shorten(args, root, config, mode, steps, bad):
	"""Leave out parts for as long as what is left still fails; the last failure."""
	number, size = 1, max(len(steps) // 2, 1)
	while True:
		i = 0
		while i < len(steps) and number < 400:
			shorter = steps[:i] + steps[i + size:]
			number += 1
			again = attempt(args, root, config, mode, shorter, number)
			if again:
				steps, bad = shorter, again
			else:
				i += size
		if size == 1 or number >= 400:
			return bad
		size //= 2


def main(args, root, configs, modes):
	"""One random run for each configuration and mode; the exit code."""
	rc = 0
	for config in configs:
		for mode in [m for m in modes if m != "kernel" or args.program == "kernel"]:
			steps = make_steps(random.Random("%d" % args.seed), args.random)
			bad = attempt(args, root, config, mode, steps, 0)
			name = "random[%s,%s] seed %d, %d steps" % (
				config, mode, args.seed, args.random)
			if not bad:
				print("ok " + name)
				continue
			rc = 1
			print("FAIL %s: step %d: %s" % (name, bad[0], bad[1]), flush=True)
			bad = shorten(args, root, config, mode, steps[:bad[0] + 1], bad)
			print("  shortened: %s" % bad[1])
			for line in bad[2]:
				print("    " + line)
	return rc
