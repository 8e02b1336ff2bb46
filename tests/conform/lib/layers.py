# SPDX-License-Identifier: GPL-2.0-or-later
"""What a layer holds, and building it on disk.

A layer is a list of items; parents that no item names are made as plain directories.  Everything
gets the same old time (T0), so that what a run changed can be told from what it left alone.
"""
import os
import socket
import stat
import struct

from . import sysc

T0 = 1_500_000_000_000_000_000
OVL = "trusted.overlay."


class Item:
	"""One object: its kind (a letter), its path, and what is special about it."""

	def __init__(self, kind, path, **kw):
		self.kind, self.path, self.kw = kind, path, kw

	def get(self, key, default=None):
		return self.kw.get(key, default)


def F(path, data=b"", **kw):
	"""A file.  size= makes it sparse, at={offset: data} fills parts of it."""
	return Item("f", path, data=data.encode() if isinstance(data, str) else data, **kw)


def D(path, **kw):
	"""A directory.  opaque= one of y x wh user fuse."""
	return Item("d", path, **kw)


def S(path, target, **kw):
	return Item("l", path, target=target, **kw)


def H(path, other):
	"""A hard link to an object made before."""
	return Item("h", path, other=other)


def C(path, major=1, minor=3, **kw):
	return Item("c", path, rdev=os.makedev(major, minor), **kw)


def B(path, major=7, minor=99, **kw):
	return Item("b", path, rdev=os.makedev(major, minor), **kw)


def P(path, **kw):
	return Item("p", path, **kw)


def K(path, **kw):
	return Item("s", path, **kw)


def W(path):
	"""A whiteout as the kernel writes it."""
	return Item("c", path, rdev=0, mode=0)


def WX(path, prefix=OVL):
	"""A whiteout as an empty file with an xattr; its directory needs opaque="x"."""
	return Item("f", path, data=b"", x={prefix + "whiteout": b"y"})


def WH(path):
	"""A whiteout as a `.wh.` name."""
	head, _, tail = path.rpartition("/")
	return Item("f", (head + "/" if head else "") + ".wh." + tail, data=b"")


OPAQUE = {
	"y": {OVL + "opaque": b"y"},
	"x": {OVL + "opaque": b"x"},
	"user": {"user.overlay.opaque": b"y"},
	"fuse": {"user.fuseoverlayfs.opaque": b"y"},
}


def _make_file(path, item):
	fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
	try:
		data = item.get("data")
		if data:
			os.write(fd, data)
		for off, part in (item.get("at") or {}).items():
			os.pwrite(fd, part, off)
		if item.get("size") is not None:
			os.ftruncate(fd, item.get("size"))
	finally:
		os.close(fd)


def _make_socket(path):
	# sun_path holds 107 bytes; bind from inside the directory
	here = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
	s = socket.socket(socket.AF_UNIX)
	try:
		os.chdir(os.path.dirname(path))
		s.bind(os.path.basename(path))
	finally:
		os.fchdir(here)
		os.close(here)
		s.close()


def _make(root, item):
	path = os.path.join(root, item.path)
	os.makedirs(os.path.dirname(path), exist_ok=True)
	k = item.kind
	if k == "f":
		_make_file(path, item)
	elif k == "d":
		os.makedirs(path, exist_ok=True)
	elif k == "l":
		os.symlink(item.get("target"), path)
	elif k == "h":
		os.link(os.path.join(root, item.get("other")), path, follow_symlinks=False)
	elif k == "p":
		os.mkfifo(path)
	elif k == "s":
		_make_socket(path)
	else:
		kind = stat.S_IFCHR if k == "c" else stat.S_IFBLK
		os.mknod(path, kind | 0o600, item.get("rdev"))
	return path


def _finish(path, item):
	"""Owner, mode, attributes: in the order in which one does not undo the other."""
	if item.get("uid") is not None or item.get("gid") is not None:
		os.lchown(path, item.get("uid", 0), item.get("gid", 0))
	if item.kind not in "lh":
		default = {"d": 0o755, "f": 0o644}.get(item.kind, 0o600)
		os.chmod(path, item.get("mode", default))
	for name, value in (item.get("x") or {}).items():
		os.setxattr(path, name, value, follow_symlinks=False)
	op = item.get("opaque")
	if op == "wh":
		open(os.path.join(path, ".wh..wh..opq"), "x").close()
	elif op:
		for name, value in OPAQUE[op].items():
			os.setxattr(path, name, value)


def _flags(path, item):
	if item.get("projid") is None and item.get("flags") is None:
		return
	fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
	try:
		if item.get("projid") is not None:
			sysc.set_projid(fd, item.get("projid"))
		if item.get("flags") is not None:
			sysc.set_flags(fd, sysc.get_flags(fd) | item.get("flags"))
	finally:
		os.close(fd)


def build(root, items):
	"""Make a layer at ROOT, which must not exist or be empty."""
	os.makedirs(root, exist_ok=True)
	os.chmod(root, 0o755)
	paths = [(_make(root, i), i) for i in items]
	for path, item in paths:
		_finish(path, item)
	for here, dirs, files in os.walk(root, topdown=False):
		for name in dirs + files:
			os.utime(os.path.join(here, name), ns=(T0, T0), follow_symlinks=False)
	os.utime(root, ns=(T0, T0))
	for path, item in paths:
		if item.get("mtime") is not None:
			os.utime(path, ns=(item.get("atime", T0), item.get("mtime")),
				follow_symlinks=False)
		_flags(path, item)


def handle_bytes(path, upper=False):
	"""The bytes that overlayfs stores for the handle of an object."""
	typ, fid = sysc.name_to_handle(sysc.AT_FDCWD, path)
	anchor = path if os.path.isdir(path) and not os.path.islink(path) else os.path.dirname(path)
	flags = 4 if upper else 0
	return struct.pack("BBBBB", 0, 0xFB, 21 + len(fid), flags, typ) + sysc.fs_uuid(anchor) + fid
