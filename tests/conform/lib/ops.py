# SPDX-License-Identifier: GPL-2.0-or-later
"""The operations of a case.

Each takes paths relative to the mount, does one thing, and records (operation, arguments, result),
where the result is the errno's name or what was given back, with the attributes that the objects
then have.  A method returns the result, so that a case can go on from it.
"""
import contextlib
import fcntl
import mmap
import os
import stat

from . import look, sysc


class Ops:
	def __init__(self, side, place, driver, layers, opts):
		self.side, self.place, self.driver = side, place, driver
		self.layers, self.opts = layers, opts
		self.rec = []
		self.problems = []
		self.musts = 0
		self.root = -1
		self._apart = 0
		self._fds = []

	# ---- mount and unmount ----

	@property
	def is_kernel(self):
		return self.driver.is_kernel

	@property
	def mnt(self):
		return self.place.mnt

	def start(self):
		self.driver.mount(self.place, self.layers, self.opts, self.mnt)
		self.root = os.open(self.mnt, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

	def stop(self):
		for fd in self._fds:
			with contextlib.suppress(OSError):
				os.close(fd)
		self._fds = []
		if self.root >= 0:
			os.close(self.root)
			self.root = -1
			self.driver.unmount(self.mnt)

	def remount(self, opts=None):
		"""Unmount, and mount again, with other options if any are given."""
		self.stop()
		if opts is not None:
			self.opts = opts
		self.start()

	def try_mount(self, opts=(), layers=None):
		"""Whether these layers and options can be mounted; recorded as yes or no."""
		from .world import MountError
		self.stop()
		self.layers = layers or self.layers
		self.opts = list(opts)
		try:
			self.start()
			res = "mounted"
		except MountError as e:
			res = "refused"
			self.refusal = str(e)
		return self._note("mount", (" ".join(opts),), res)

	def crash(self):
		"""End the server as a crash does; the kernel's overlay is only unmounted."""
		from .world import kill_servers
		for fd in self._fds:
			with contextlib.suppress(OSError):
				os.close(fd)
		self._fds = []
		os.close(self.root)
		self.root = -1
		if self.is_kernel:
			self.driver.unmount(self.mnt)
			return
		kill_servers(self.mnt)
		with contextlib.suppress(OSError):
			sysc.umount(self.mnt, sysc.MNT_DETACH)

	# ---- recording ----

	def _note(self, op, args, result):
		if not self._apart:
			self.rec.append((op, args, result))
		return result

	def _do(self, op, args, fn, *shown):
		try:
			res = fn()
			res = "ok" if res is None else res
		except OSError as e:
			res = sysc.ename(e)
		seen = res if not shown else (res, tuple(self._see(p) for p in shown))
		self._note(op, args, seen)
		return res

	def _see(self, path):
		try:
			return look.attrs(os.stat(path, dir_fd=self.root, follow_symlinks=False))
		except OSError as e:
			return sysc.ename(e)

	@contextlib.contextmanager
	def apart(self):
		"""What is done here is not compared: the case says itself what must hold."""
		self._apart += 1
		try:
			yield
		finally:
			self._apart -= 1

	def must(self, cond, text):
		"""A demand on the program under test where the kernel differs."""
		self.musts += 1
		if not self.is_kernel and not cond:
			self.problems.append("must: " + text)

	def always(self, cond, text):
		"""A demand on both."""
		self.musts += 1
		if not cond:
			self.problems.append("always: " + text)

	def note(self, what, value):
		"""Record a value that the case computed."""
		return self._note(what, (), value)

	@contextlib.contextmanager
	def user(self, uid, gid=None, groups=(), umask=None):
		"""Do the operations inside as somebody else (file system ids and no privilege)."""
		gid = uid if gid is None else gid
		old = os.umask(umask) if umask is not None else None
		os.setgroups(list(groups))
		os.setegid(gid)
		os.seteuid(uid)
		try:
			yield
		finally:
			os.seteuid(0)
			os.setegid(0)
			os.setgroups([])
			if old is not None:
				os.umask(old)

	@contextlib.contextmanager
	def umask(self, mask):
		old = os.umask(mask)
		try:
			yield
		finally:
			os.umask(old)

	# ---- looking ----

	def stat(self, p):
		return self._do("stat", (p,), lambda: look.attrs(
			os.stat(p, dir_fd=self.root, follow_symlinks=False)))

	def follow(self, p):
		return self._do("follow", (p,), lambda: look.attrs(os.stat(p, dir_fd=self.root)))

	def exists(self, p):
		def fn():
			os.stat(p, dir_fd=self.root, follow_symlinks=False)
			return "there"
		return self._do("exists", (p,), fn)

	def ino(self, p):
		"""Inode number, not recorded; 0 if there is none."""
		try:
			return os.stat(p, dir_fd=self.root, follow_symlinks=False).st_ino
		except OSError:
			return 0

	def same(self, *paths):
		"""Record whether all of these are one object."""
		inos = [self.ino(p) for p in paths]
		return self._note("same", paths, len(set(inos)) == 1 and inos[0] != 0)

	def ls(self, p="."):
		"""Names and types; d_ino must be st_ino on the program's side."""
		def fn():
			got = look.listing(self.root, p)
			if not self.is_kernel:
				self._check_inos(p, got)
			return sorted((n, t) for n, t, _ in got)
		return self._do("ls", (p,), fn)

	def _check_inos(self, p, got):
		for name, typ, ino in got:
			try:
				st = os.stat(os.path.join(p, name), dir_fd=self.root,
					follow_symlinks=False)
			except OSError as e:
				self.problems.append("%s is listed in %s, but stat says %s"
					% (name, p, sysc.ename(e)))
				continue
			if st.st_ino != ino:
				self.problems.append("d_ino of %s in %s is %d, st_ino %d"
					% (name, p, ino, st.st_ino))
			if look.TYPE[stat.S_IFMT(st.st_mode)] != typ:
				self.problems.append("d_type of %s in %s is %s" % (name, p, typ))

	def find(self, p="."):
		"""The whole tree below p."""
		full = self.mnt if p == "." else os.path.join(self.mnt, p)
		return self._note("find", (p,), look.tree(full))

	def readlink(self, p):
		return self._do("readlink", (p,), lambda: os.readlink(p, dir_fd=self.root))

	def read(self, p, off=0, n=1 << 16):
		def fn():
			fd = self._open(p, os.O_RDONLY)
			try:
				return os.pread(fd, n, off)
			finally:
				os.close(fd)
		return self._do("read", (p, off), fn)

	def times(self, p):
		def fn():
			st = os.stat(p, dir_fd=self.root, follow_symlinks=False)
			return (look.when(st.st_atime_ns), look.when(st.st_mtime_ns))
		return self._do("times", (p,), fn)

	def blocks(self, p):
		try:
			return os.stat(p, dir_fd=self.root, follow_symlinks=False).st_blocks
		except OSError:
			return -1

	def statvfs_namemax(self):
		return self._do("namemax", (), lambda: os.statvfs(self.mnt).f_namemax)

	# ---- xattrs and flags; these take the whole path, as there are no *at calls ----

	def _p(self, p):
		return os.path.join(self.mnt, p)

	def setx(self, p, name, value, flags=0):
		return self._do("setxattr", (p, name, value), lambda: os.setxattr(
			self._p(p), name, value, flags, follow_symlinks=False), p)

	def getx(self, p, name):
		return self._do("getxattr", (p, name), lambda: os.getxattr(
			self._p(p), name, follow_symlinks=False))

	def rmx(self, p, name):
		return self._do("removexattr", (p, name), lambda: os.removexattr(
			self._p(p), name, follow_symlinks=False))

	def lsx(self, p):
		return self._do("listxattr", (p,), lambda: sorted(os.listxattr(
			self._p(p), follow_symlinks=False)))

	def allx(self, p):
		return self._do("xattrs", (p,), lambda: look.xattrs(self._p(p)))

	def _with(self, p, fn, flags=os.O_RDONLY):
		fd = self._open(p, flags)
		try:
			return fn(fd)
		finally:
			os.close(fd)

	def getflags(self, p):
		mask = (sysc.FS_SYNC_FL | sysc.FS_IMMUTABLE_FL | sysc.FS_APPEND_FL
			| sysc.FS_NODUMP_FL | sysc.FS_NOATIME_FL)
		return self._do("getflags", (p,), lambda: self._with(
			p, lambda fd: sysc.get_flags(fd) & mask))

	def setflags(self, p, flags, on=True):
		def fn(fd):
			have = sysc.get_flags(fd)
			sysc.set_flags(fd, have | flags if on else have & ~flags)
		return self._do("setflags", (p, flags, on), lambda: self._with(p, fn))

	def projid(self, p):
		return self._do("projid", (p,), lambda: self._with(
			p, lambda fd: sysc.get_fsxattr(fd)[3]))

	def setprojid(self, p, ident):
		return self._do("setprojid", (p, ident), lambda: self._with(
			p, lambda fd: sysc.set_projid(fd, ident)))

	# ---- names ----

	def mkdir(self, p, mode=0o755):
		return self._do("mkdir", (p, mode),
			lambda: os.mkdir(p, mode, dir_fd=self.root), p, os.path.dirname(p) or ".")

	def mknod(self, p, mode, major=0, minor=0):
		return self._do("mknod", (p, oct(mode), major, minor), lambda: sysc.mknodat(
			self.root, p, mode, os.makedev(major, minor)), p)

	def symlink(self, target, p):
		return self._do("symlink", (target, p),
			lambda: os.symlink(target, p, dir_fd=self.root), p)

	def link(self, old, new):
		return self._do("link", (old, new), lambda: os.link(
			old, new, src_dir_fd=self.root, dst_dir_fd=self.root,
			follow_symlinks=False), old, new)

	def unlink(self, p):
		return self._do("unlink", (p,), lambda: os.unlink(p, dir_fd=self.root),
			p, os.path.dirname(p) or ".")

	def rmdir(self, p):
		return self._do("rmdir", (p,), lambda: os.rmdir(p, dir_fd=self.root),
			p, os.path.dirname(p) or ".")

	def rename(self, old, new, flags=0):
		def fn():
			try:
				sysc.renameat2(self.root, old, self.root, new, flags)
			except OSError as e:
				if sysc.ename(e) != "EEXIST" or flags != 0:
					raise
				return "ENOTEMPTY"	# POSIX allows both for a full directory
			return None
		return self._do("rename", (old, new, flags), fn, old, new)

	def create(self, p, data=b"", mode=0o644, flags=os.O_EXCL):
		def fn():
			fd = self._open(p, os.O_WRONLY | os.O_CREAT | flags, mode)
			try:
				if data:
					os.write(fd, data)
			finally:
				os.close(fd)
		return self._do("create", (p, mode, flags), fn, p)

	# ---- attributes ----

	def chmod(self, p, mode):
		return self._do("chmod", (p, oct(mode)),
			lambda: os.chmod(p, mode, dir_fd=self.root), p)

	def chown(self, p, uid, gid):
		return self._do("chown", (p, uid, gid), lambda: os.chown(
			p, uid, gid, dir_fd=self.root, follow_symlinks=False), p)

	def utimes(self, p, atime, mtime):
		r = self._do("utimes", (p, atime, mtime), lambda: os.utime(
			p, ns=(atime, mtime), dir_fd=self.root, follow_symlinks=False), p)
		return r

	def truncate(self, p, size):
		return self._do("truncate", (p, size), lambda: os.truncate(self._p(p), size), p)

	# ---- files ----

	def _open(self, p, flags, mode=0o644):
		return os.open(p, flags | os.O_CLOEXEC, mode, dir_fd=self.root)

	def open(self, p, flags=os.O_RDONLY, mode=0o644):
		"""A descriptor, or -1; closed at the next unmount at the latest."""
		try:
			fd = self._open(p, flags, mode)
			self._fds.append(fd)
			self._note("open", (p, flags), "ok")
			return fd
		except OSError as e:
			self._note("open", (p, flags), sysc.ename(e))
			return -1

	def close(self, fd):
		if fd in self._fds:
			self._fds.remove(fd)
		return self._do("close", (), lambda: os.close(fd))

	def write(self, p, data, off=0, flags=0):
		"""Open for writing, write at an offset, close."""
		def fn():
			return self._with(p, lambda fd: os.pwrite(fd, data, off),
				os.O_WRONLY | flags)
		return self._do("write", (p, off, len(data), flags), fn, p)

	def append(self, p, data):
		return self.write(p, data, 0, os.O_APPEND)

	def fd(self, op, fn, *args):
		"""Any call on a descriptor, recorded under a name of the case's own."""
		return self._do(op, args, fn)

	def fpread(self, fd, n=1 << 16, off=0):
		return self._do("pread", (n, off), lambda: os.pread(fd, n, off))

	def fpwrite(self, fd, data, off=0):
		return self._do("pwrite", (len(data), off), lambda: os.pwrite(fd, data, off))

	def fstat(self, fd):
		return self._do("fstat", (), lambda: look.attrs(os.fstat(fd)))

	def holes(self, p):
		"""Data extents [start, end) in units of 64 KiB, so that block sizes do not show."""
		def walk(fd):
			out, pos, end = [], 0, os.fstat(fd).st_size
			while pos < end:
				try:
					a = os.lseek(fd, pos, os.SEEK_DATA)
				except OSError as e:
					if sysc.ename(e) == "ENXIO":
						break
					raise
				pos = os.lseek(fd, a, os.SEEK_HOLE)
				out.append((a >> 16, (pos + 65535) >> 16))
			return out
		return self._do("holes", (p,), lambda: self._with(p, walk))

	def map_read(self, fd, size, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ):
		return mmap.mmap(fd, size, flags, prot)

	def tmpfile(self, d=".", data=b"", mode=0o644):
		try:
			fd = self._open(d, os.O_TMPFILE | os.O_RDWR, mode)
			self._fds.append(fd)
			if data:
				os.write(fd, data)
			self._note("tmpfile", (d,), look.attrs(os.fstat(fd)))
			return fd
		except OSError as e:
			self._note("tmpfile", (d,), sysc.ename(e))
			return -1

	def linkfd(self, fd, new):
		return self._do("linkfd", (new,), lambda: sysc.linkat(
			fd, "", self.root, new, sysc.AT_EMPTY_PATH), new)

	def flock(self, fd, how):
		return self._do("flock", (how,), lambda: fcntl.flock(fd, how))
