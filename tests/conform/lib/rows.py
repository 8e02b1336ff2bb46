# SPDX-License-Identifier: GPL-2.0-or-later
"""Rows of the identity matrix: what must be true, and where and how it is tried."""
import contextlib
import os
import stat

from . import layers as lay
from . import look, sysc, world

ROWS = []
# How a column mounts: the kernel with its complete index; the program as it comes; and the program
# with the complete index.
MODES = {
	"kernel": ("kernel", ["nfs_export=on", "index=on", "redirect_dir=on"]),
	"default": (None, []),
	"export": (None, ["nfs_export=on"]),
}
ALL_FS = ("ext4", "xfs", "btrfs", "tmpfs", "mixed", "mixed2")


class Wrong(Exception):
	"""Something that must be true is not."""


def need(cond, text):
	if not cond:
		raise Wrong(text)


class Ctx:
	"""One mount on which a row is tried."""

	def __init__(self, place, driver, opts, n_lower):
		self.place, self.driver, self.opts = place, driver, list(opts)
		self.lowers = ["l%d" % (i + 1) for i in range(n_lower)]
		self.upper, self.work = "u", "w"
		self.mounted = None
		self.fds = []

	@property
	def is_kernel(self):
		return self.driver.is_kernel

	@property
	def mnt(self):
		return self.place.mnt

	def p(self, rel):
		return os.path.join(self.mnt, rel)

	def layers(self):
		return ["lowerdir=" + ":".join(self.lowers), "upperdir=" + self.upper,
			"workdir=" + self.work]

	def start(self, driver=None, opts=None):
		d = driver or self.driver
		d.mount(self.place, self.layers(), self.opts if opts is None else opts, self.mnt)
		self.mounted = d

	def stop(self):
		for fd in self.fds:
			with contextlib.suppress(OSError):
				os.close(fd)
		self.fds = []
		if self.mounted:
			self.mounted.unmount(self.mnt)
			self.mounted = None

	def remount(self, driver=None, opts=None):
		self.stop()
		self.start(driver, opts)

	def crash(self):
		"""End the server with SIGKILL; the kernel's overlay is unmounted."""
		if self.is_kernel:
			self.remount()
			return
		for fd in self.fds:
			with contextlib.suppress(OSError):
				os.close(fd)
		self.fds = []
		world.kill_servers(self.mnt)
		with contextlib.suppress(OSError):
			sysc.umount(self.mnt, sysc.MNT_DETACH)
		self.start()

	@staticmethod
	def drop():
		"""Have the kernel forget every inode and page that nobody uses."""
		with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as f:
			f.write("3")

	# ---- short forms ----

	def ino(self, rel):
		return os.lstat(self.p(rel)).st_ino

	def nlink(self, rel):
		return os.lstat(self.p(rel)).st_nlink

	def read(self, rel):
		with open(self.p(rel), "rb") as f:
			return f.read()

	def write(self, rel, data):
		"""Write at the beginning of an existing file."""
		with open(self.p(rel), "r+b") as f:
			f.write(data)

	def create(self, rel, data=b""):
		with open(self.p(rel), "xb") as f:
			f.write(data)

	def open(self, rel, flags=os.O_RDONLY):
		fd = os.open(self.p(rel), flags | os.O_CLOEXEC)
		self.fds.append(fd)
		return fd

	def handle(self, rel, flags=0):
		return sysc.name_to_handle(sysc.AT_FDCWD, self.p(rel), flags)

	def decode(self, handle, flags=os.O_PATH):
		"""A descriptor of what the handle means."""
		top = os.open(self.mnt, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
		try:
			fd = sysc.open_by_handle(top, handle, flags | os.O_CLOEXEC)
		finally:
			os.close(top)
		self.fds.append(fd)
		return fd

	def error(self, handle, flags=os.O_PATH):
		"""errno of decoding a handle, or None."""
		try:
			self.done(self.decode(handle, flags))
			return None
		except OSError as e:
			return sysc.ename(e)

	def done(self, fd):
		self.fds.remove(fd)
		os.close(fd)

	def need_same(self, handle, rel, content=None):
		"""The handle gives the object at this path, with its content as of now."""
		fd = self.decode(handle)
		a, b = os.fstat(fd), os.lstat(self.p(rel))
		self.done(fd)
		need((a.st_ino, a.st_mode, a.st_dev) == (b.st_ino, b.st_mode, b.st_dev),
			"the handle of %s gives another object" % rel)
		if content is not None and stat.S_ISREG(a.st_mode):
			fd = self.decode(handle, os.O_RDONLY)
			got = os.pread(fd, 1 << 16, 0)
			self.done(fd)
			need(got == content, "through its handle %s reads %r" % (rel, got[:40]))


class Row:
	def __init__(self, fn, section, text, **kw):
		self.fn, self.section, self.text = fn, section, text
		self.lower = kw.pop("lower", [[]])
		self.upper = kw.pop("upper", [])
		self.fs = kw.pop("fs", ALL_FS)
		self.opts = kw.pop("opts", [])
		self.kernel_opts = kw.pop("kernel_opts", None)
		self.prepare = kw.pop("prepare", None)
		self.mount = kw.pop("mount", True)
		self.timeout = kw.pop("timeout", 60)
		self.modes = kw.pop("modes", tuple(MODES))
		# the row changes a lower layer itself
		self.dirty = kw.pop("dirty", self.prepare is not None)
		# whether it may fail without nfs_export=on
		self.export_only = kw.pop("export_only", False)
		self.name = fn.__name__
		if kw:
			raise TypeError("row %s: unknown %s" % (fn.__name__, ", ".join(kw)))


def row(section, text, **kw):
	"""Declare a row of the matrix."""
	def wrap(fn):
		ROWS.append(Row(fn, section, text, **kw))
		return fn
	return wrap


class Cell:
	"""One row on one configuration in one mode: a job for the runner."""

	def __init__(self, r, config, mode, root, program):
		self.row, self.config, self.mode = r, config, mode
		self.root, self.program = root, program
		self.name = "%s[%s,%s]" % (r.name, config, mode)
		self.timeout = r.timeout * float(os.environ.get("LAMINA_TIME_FACTOR", "1"))

	def run(self, ident):
		"""None, or what is not true."""
		r = self.row
		program, opts = MODES[self.mode]
		driver = world.Driver(program or self.program)
		opts = opts + r.opts
		if driver.is_kernel and r.kernel_opts is not None:
			opts = r.kernel_opts
		place = world.Place(self.root, self.config, ident, "p", len(r.lower))
		ctx = Ctx(place, driver, opts, len(r.lower))
		try:
			for path, items in zip(place.lower, r.lower):
				lay.build(path, items)
			lay.build(place.upper, r.upper)
			if r.prepare:
				r.prepare(place)
			before = [] if r.dirty else [look.layer_print(p) for p in place.lower]
			if r.mount:
				ctx.start()
			r.fn(ctx)
			ctx.stop()
			after = [look.layer_print(p) for p in place.lower[:len(before)]]
			return None if before == after else "a lower layer was written"
		except Wrong as e:
			return str(e)
		except (OSError, world.MountError, AssertionError) as e:
			return "%s: %s" % (type(e).__name__, e)
		finally:
			place.remove()
