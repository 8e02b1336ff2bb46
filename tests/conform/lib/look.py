# SPDX-License-Identifier: GPL-2.0-or-later
"""What is seen: attributes, listings, whole trees, and the bytes that a layer holds.

Everything is reduced to values that are the same for two equal trees on one filesystem: inode
numbers become groups of names, recent times become "now", handles become the name of what they
mean.
"""
import hashlib
import os
import re
import stat
import time

from . import sysc
from .layers import OVL

START_NS = time.time_ns() - 2 * 10**9
TYPE = {
	stat.S_IFREG: "f", stat.S_IFDIR: "d", stat.S_IFLNK: "l", stat.S_IFCHR: "c",
	stat.S_IFBLK: "b", stat.S_IFIFO: "p", stat.S_IFSOCK: "s",
}


def when(ns):
	return "now" if ns >= START_NS else ns


def attrs(st):
	"""The attributes that two equal objects share, as a short string."""
	kind = TYPE[stat.S_IFMT(st.st_mode)]
	out = "%s%04o %d:%d" % (kind, stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid)
	if kind != "d":
		out += " n%d" % st.st_nlink
	if kind in "fl":
		out += " s%d" % st.st_size
	if kind in "cb":
		out += " r%d,%d" % (os.major(st.st_rdev), os.minor(st.st_rdev))
	return out + " m%s" % when(st.st_mtime_ns)


def xattrs(path):
	"""All xattrs of an object, without following a symlink."""
	out = {}
	for name in os.listxattr(path, follow_symlinks=False):
		out[name] = os.getxattr(path, name, follow_symlinks=False)
	return out


def show_value(value):
	if len(value) > 40:
		return "%d:%s" % (len(value), hashlib.sha1(value).hexdigest()[:12])
	return repr(value)[1:]


def digest_fd(fd, size):
	"""Content of a file in one word; holes and zeros are the same, big holes are skipped."""
	h, pos, empty = hashlib.sha1(), 0, True
	while pos < size:
		if size > 1 << 22:
			try:
				pos = os.lseek(fd, pos, os.SEEK_DATA) & ~4095
			except OSError:
				break
		data = os.pread(fd, 1 << 20, pos)
		for i in range(0, len(data), 4096):
			part = data[i:i + 4096].rstrip(b"\0")
			if part:
				h.update(b"%d:" % (pos + i) + part)
				empty = False
		if len(data) < 1 << 20:
			break
		pos += len(data)
	return "zeros" if empty else h.hexdigest()[:12]


def listing(dirfd, path):
	"""Every (name, type, d_ino) but . and .., in the order given."""
	fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=dirfd)
	try:
		return [e[:3] for e in read_all(fd) if e[0] not in (".", "..")]
	finally:
		os.close(fd)


def read_all(fd):
	out = []
	while True:
		part = sysc.getdents(fd)
		if not part:
			return out
		out += part


def walk(root):
	"""(relative path, stat) of everything below ROOT, in sorted order."""
	todo = [""]
	while todo:
		rel = todo.pop()
		here = os.path.join(root, rel) if rel else root
		try:
			names = sorted(os.listdir(here), reverse=True)
		except OSError as e:
			yield rel, e
			continue
		sub = []
		for name in reversed(names):
			r = rel + "/" + name if rel else name
			try:
				st = os.lstat(os.path.join(root, r))
			except OSError as e:
				yield r, e
				continue
			yield r, st
			if stat.S_ISDIR(st.st_mode):
				sub.append(r)
		todo += reversed(sub)


def one(path, st, links, rel, skip=()):
	"""An object as one string: attributes, target or content, xattrs."""
	out = attrs(st)
	if stat.S_ISLNK(st.st_mode):
		out += " -> " + os.readlink(path)
	elif stat.S_ISREG(st.st_mode):
		try:
			fd = os.open(path, os.O_RDONLY | os.O_NOATIME | os.O_CLOEXEC)
			try:
				out += " " + digest_fd(fd, st.st_size)
			finally:
				os.close(fd)
		except OSError as e:
			out += " " + sysc.ename(e)
	if not stat.S_ISDIR(st.st_mode) and st.st_nlink > 1:
		first = links.setdefault((st.st_dev, st.st_ino), rel)
		if first != rel:
			out += " =" + first
	try:
		for name, value in sorted(xattrs(path).items()):
			if name not in skip:
				out += " %s=%s" % (name, show_value(value))
	except OSError as e:
		if sysc.ename(e) != "EOPNOTSUPP":	# which says that there are none
			out += " xattr:" + sysc.ename(e)
	return out


def tree(root):
	"""A mounted tree as {path: description}."""
	links, out = {}, {}
	st = os.stat(root)
	out["."] = re.sub(r" m\S+", "", attrs(st))
	for rel, st in walk(root):
		if isinstance(st, OSError):
			out[rel] = sysc.ename(st)
		else:
			out[rel] = one(os.path.join(root, rel), st, links, rel)
	return out


class Handles:
	"""Names for the handles of all objects of a stack, and for the filesystems they are on."""

	def __init__(self, place):
		self.names = {}
		for i, root in enumerate(place.lower):
			self._add(root, "l%d" % (i + 1))
		self._add(place.upper, "u")

	def _add(self, root, label):
		uuid = sysc.fs_uuid(root)
		for rel, st in [("", os.stat(root))] + list(walk(root)):
			if isinstance(st, OSError):
				continue
			try:
				h = sysc.name_to_handle(sysc.AT_FDCWD, os.path.join(root, rel))
			except OSError:
				continue
			self.names.setdefault((uuid, h[0], h[1]), label + ":" + (rel or "/"))

	def name(self, raw):
		"""What a stored handle means; its bytes if they are not in order."""
		if NO_HANDLES:
			return "any"
		if not raw:
			return "empty"
		if len(raw) < 21 or raw[0] != 0 or raw[1] != 0xFB or raw[2] != len(raw):
			return "damaged:" + raw.hex()
		where = self.names.get((bytes(raw[5:21]), raw[4], bytes(raw[21:])), "unknown")
		return "%s%s" % (where, "" if raw[3] == 0 else " flags=%d" % raw[3])


# Then nothing is stored but that there was one.
NO_HANDLES = "name_to_handle" in os.environ.get("LAMINA_WITHOUT", "").split()
HANDLE_XATTRS = (OVL + "origin", OVL + "upper", "user.overlay.origin", "user.overlay.upper")


def layer_one(path, st, links, rel, handles):
	"""As one(), but for an object of a layer: handles by name, nothing that may differ."""
	if stat.S_ISCHR(st.st_mode) and st.st_rdev == 0:
		return "whiteout"
	skip = HANDLE_XATTRS + (OVL + "uuid", OVL + "impure")
	out = one(path, st, links, rel, skip)
	for name in HANDLE_XATTRS:
		try:
			raw = os.getxattr(path, name, follow_symlinks=False)
			out += " %s=%s" % (name, handles.name(raw))
		except OSError:
			pass
	return out


def index_one(path, st, rel, handles):
	"""An index entry: its own names do not count, the link count is that of the union.

	When a name of an indexed file gets its link in upper is not seen by anybody, and each side
	is free in it: the union of names is what must be equal.
	"""
	text = layer_one(path, st, {}, rel, handles)
	m = re.search(r" trusted.overlay.nlink='U([+-]\d+)'", text)
	if not m:
		return text
	text = text.replace(m.group(0), "")
	return re.sub(r" n\d+", " union%d" % (st.st_nlink + int(m.group(1))), text, count=1)


def upper(place, handles):
	"""The bytes of upper and of the index, as {path: description}."""
	links, out, indexed = {}, {}, {}
	for rel, st in walk(place.work):
		top, _, rest = rel.partition("/")
		if top == "lamina" or isinstance(st, OSError) or not rest:
			continue
		path = os.path.join(place.work, rel)
		if rest.startswith("#") and "/" not in rest and layer_one(path, st, {}, rel,
				handles) == "whiteout":
			continue	# the inode that whiteouts share
		if top == "index":
			try:
				rest = handles.name(bytes.fromhex(rest))
			except ValueError:
				pass
			out["W/index/" + rest] = index_one(path, st, rel, handles)
			if not stat.S_ISDIR(st.st_mode):
				indexed[st.st_dev, st.st_ino] = rest
		else:
			out["W/" + rel] = layer_one(path, st, links, rel, handles)
	for rel, st in walk(place.upper):
		if isinstance(st, OSError):
			out[rel] = sysc.ename(st)
		elif stat.S_ISCHR(st.st_mode) or (st.st_dev, st.st_ino) not in indexed:
			path = os.path.join(place.upper, rel)
			out[rel] = layer_one(path, st, links, rel, handles)
	return out


def missing_impure(place):
	"""Directories of upper that hold something with an origin and are not marked for it."""
	out = set()
	for rel, st in walk(place.upper):
		if isinstance(st, OSError):
			continue
		path = os.path.join(place.upper, rel)
		parent = os.path.dirname(rel)
		try:
			os.getxattr(path, OVL + "origin", follow_symlinks=False)
		except OSError:
			continue
		try:
			os.getxattr(os.path.join(place.upper, parent), OVL + "impure")
		except OSError:
			out.add(parent or ".")
	return out


def layer_print(root):
	"""A lower layer as it is, to see later that nothing wrote to it."""
	links, out = {}, {}
	for rel, st in walk(root):
		if isinstance(st, OSError):
			out[rel] = sysc.ename(st)
		else:
			text = one(os.path.join(root, rel), st, links, rel)
			out[rel] = text + " c%d" % st.st_ctime_ns
	return out
