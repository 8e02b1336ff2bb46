# SPDX-License-Identifier: GPL-2.0-or-later
"""System calls that the standard library does not offer, through ctypes.

Every function raises OSError with the errno of the call.
"""
import ctypes
import errno
import fcntl
import os
import struct

libc = ctypes.CDLL(None, use_errno=True)

AT_FDCWD = -100
AT_SYMLINK_FOLLOW = 0x400
AT_SYMLINK_NOFOLLOW = 0x100
AT_EMPTY_PATH = 0x1000
AT_HANDLE_FID = 0x200
AT_HANDLE_CONNECTABLE = 0x002

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
RENAME_WHITEOUT = 4

FALLOC_KEEP_SIZE = 1
FALLOC_PUNCH_HOLE = 2
FALLOC_COLLAPSE = 8
FALLOC_ZERO_RANGE = 16
FALLOC_INSERT = 32

MS_RDONLY = 1
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MNT_DETACH = 2

FS_IOC_GETFLAGS = 0x80086601
FS_IOC_SETFLAGS = 0x40086602
FS_IOC_FSGETXATTR = 0x801C581F
FS_IOC_FSSETXATTR = 0x401C5820
FS_IOC_GETFSUUID = 0x80111500
BTRFS_IOC_FS_INFO = 0x8400941F
FICLONE = 0x40049409

FS_SYNC_FL = 0x8
FS_IMMUTABLE_FL = 0x10
FS_APPEND_FL = 0x20
FS_NODUMP_FL = 0x40
FS_NOATIME_FL = 0x80

DT_NAMES = {1: "p", 2: "c", 4: "d", 6: "b", 8: "f", 10: "l", 12: "s", 0: "?"}


def _b(path):
	return os.fsencode(path)


def _check(r):
	if r < 0:
		e = ctypes.get_errno()
		raise OSError(e, os.strerror(e))
	return r


def ename(exc):
	"""The name of the errno of an OSError, e.g. ENOENT."""
	if exc.errno == errno.EOPNOTSUPP:
		return "EOPNOTSUPP"	# the same number as ENOTSUP, which Python prefers
	return errno.errorcode.get(exc.errno, str(exc.errno))


def renameat2(olddir, old, newdir, new, flags):
	_check(libc.renameat2(olddir, _b(old), newdir, _b(new), ctypes.c_uint(flags)))


def linkat(olddir, old, newdir, new, flags):
	_check(libc.linkat(olddir, _b(old), newdir, _b(new), flags))


def mknodat(dirfd, path, mode, dev=0):
	_check(libc.mknodat(dirfd, _b(path), ctypes.c_uint(mode), ctypes.c_ulong(dev)))


def fallocate(fd, mode, off, length):
	_check(libc.fallocate(fd, mode, ctypes.c_long(off), ctypes.c_long(length)))


def copy_file_range(fd_in, off_in, fd_out, off_out, length):
	i, o = ctypes.c_long(off_in), ctypes.c_long(off_out)
	return _check(libc.copy_file_range(fd_in, ctypes.byref(i), fd_out, ctypes.byref(o),
			ctypes.c_size_t(length), 0))


def mount(source, target, fstype, flags=0, data=None):
	_check(libc.mount(_b(source), _b(target), _b(fstype) if fstype else None,
			ctypes.c_ulong(flags), _b(data) if data else None))


def umount(target, flags=0):
	_check(libc.umount2(_b(target), flags))


def getdents(fd, size=32768):
	"""One getdents64 call: a list of (name, d_type letter, d_ino, d_off); empty at the end."""
	buf = ctypes.create_string_buffer(size)
	n = _check(libc.getdents64(fd, buf, ctypes.c_size_t(size)))
	out, pos, raw = [], 0, buf.raw
	while pos < n:
		ino, off, reclen, typ = struct.unpack_from("=QqHB", raw, pos)
		name = raw[pos + 19:pos + reclen].split(b"\0", 1)[0]
		out.append((os.fsdecode(name), DT_NAMES.get(typ, "?"), ino, off))
		pos += reclen
	return out


def name_to_handle(dirfd, path, flags=0):
	"""(handle type, handle bytes) of an object; a final symlink is not followed."""
	buf = ctypes.create_string_buffer(8 + 128)
	struct.pack_into("=Ii", buf, 0, 128, 0)
	mnt = ctypes.c_int(0)
	_check(libc.name_to_handle_at(dirfd, _b(path), buf, ctypes.byref(mnt), flags))
	n, typ = struct.unpack_from("=Ii", buf, 0)
	return typ, buf.raw[8:8 + n]


def open_by_handle(mount_fd, handle, flags):
	typ, raw = handle
	buf = ctypes.create_string_buffer(struct.pack("=Ii", len(raw), typ) + raw)
	return _check(libc.open_by_handle_at(mount_fd, buf, flags))


def statx_btime(dirfd, path):
	"""Birth time in nanoseconds, or None when the filesystem has none."""
	buf = ctypes.create_string_buffer(256)
	_check(libc.statx(dirfd, _b(path), AT_SYMLINK_NOFOLLOW, 0xFFF, buf))
	mask, = struct.unpack_from("=I", buf, 0)
	sec, nsec = struct.unpack_from("=qI", buf, 80)
	return sec * 10**9 + nsec if mask & 0x800 else None


def get_flags(fd):
	return struct.unpack_from("=I", fcntl.ioctl(fd, FS_IOC_GETFLAGS, bytes(8)))[0]


def set_flags(fd, flags):
	fcntl.ioctl(fd, FS_IOC_SETFLAGS, struct.pack("=Q", flags))


def get_fsxattr(fd):
	"""(xflags, extsize, nextents, projid, cowextsize)"""
	return struct.unpack("=IIIII8x", fcntl.ioctl(fd, FS_IOC_FSGETXATTR, bytes(28)))


def set_projid(fd, projid):
	xflags, extsize, _, _, cow = get_fsxattr(fd)
	fcntl.ioctl(fd, FS_IOC_FSSETXATTR,
		struct.pack("=IIIII8x", xflags, extsize, 0, projid, cow))


def fs_uuid(path):
	"""The 16 bytes that the kernel calls s_uuid, or zeros."""
	fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
	try:
		try:
			return fcntl.ioctl(fd, FS_IOC_GETFSUUID, bytes(17))[1:17]
		except OSError:
			buf = bytearray(1024)
			fcntl.ioctl(fd, BTRFS_IOC_FS_INFO, buf)
			return bytes(buf[16:32])
	except OSError:
		return bytes(16)
	finally:
		os.close(fd)


def posix_acl(*entries):
	"""Bytes of system.posix_acl_*: entries are (tag, perm[, id]), tags as in u g o m U G."""
	tags = {"u": 1, "U": 2, "g": 4, "G": 8, "m": 16, "o": 32}
	out = struct.pack("<I", 2)
	for e in sorted(entries, key=lambda e: (tags[e[0]], e[2] if len(e) > 2 else 0)):
		ident = e[2] if len(e) > 2 else 0xFFFFFFFF
		out += struct.pack("<HHI", tags[e[0]], e[1], ident)
	return out


# security.capability, version 2: cap_net_raw+ep
CAP_NET_RAW = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)
