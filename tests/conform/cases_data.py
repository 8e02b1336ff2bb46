# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading and writing: mappings, holes, ranges, locks, flags of open."""
import fcntl
import mmap
import os
import signal

from lib import sysc
from lib.layers import D, F
from lib.runner import case

MIB = 1 << 20


@case(lower=[[F("f", b"0123456789")]])
def read_and_write(o):
	o.read("f", 3, 4)
	o.read("f", 10)
	o.read("f", 100)
	o.write("f", b"ab", 2)
	o.read("f")
	o.write("f", b"far", 100000)
	o.stat("f")
	o.read("f", 9, 10)
	o.read("f", 99998)
	o.append("f", b"tail")
	o.read("f", 100000)


@case(lower=[[F("f", b"abc"), D("d")]])
def open_flags(o):
	o.open("f", os.O_RDONLY | os.O_DIRECTORY)
	o.open("d", os.O_RDWR)
	o.open("f", os.O_WRONLY | os.O_TRUNC)
	o.stat("f")
	o.open("n", os.O_RDWR)
	o.open("f", os.O_CREAT | os.O_EXCL | os.O_RDWR)
	fd = o.open("f", os.O_RDONLY)
	o.fpwrite(fd, b"x")
	fd = o.open("f", os.O_WRONLY)
	o.fpread(fd)
	fd = o.open("f", os.O_PATH)
	o.fstat(fd)
	o.fpread(fd)


@case(lower=[[F("f", b"start")]])
def append_from_two(o):
	"""O_APPEND finds the end at every write."""
	a = o.open("f", os.O_WRONLY | os.O_APPEND)
	b = o.open("f", os.O_WRONLY | os.O_APPEND)
	for i in range(5):
		o.fd("append", lambda: os.write(a, b"a%d" % i))
		o.fd("append", lambda: os.write(b, b"b%d" % i))
	o.read("f")


@case(lower=[[F("f", b"x" * 8192)]], fs=("ext4", "xfs", "btrfs"))
def direct_io(o):
	fd = o.open("f", os.O_RDWR | os.O_DIRECT)
	buf = mmap.mmap(-1, 4096)
	buf[:] = b"d" * 4096
	o.fd("pwritev", lambda: os.pwritev(fd, [buf], 4096))
	o.read("f", 4090, 10)
	o.write("f", b"cached", 4096)
	o.fd("preadv", lambda: os.preadv(fd, [buf], 4096))
	o.note("seen", buf[:8])
	o.close(fd)


@case(lower=[[F("f", b"x"), F("g", b"x")]])
def sync_flags(o):
	fd = o.open("f", os.O_WRONLY | os.O_SYNC)
	o.fpwrite(fd, b"s")
	fd = o.open("g", os.O_WRONLY | os.O_DSYNC)
	o.fpwrite(fd, b"d")
	o.fd("fsync", lambda: os.fsync(fd))
	o.fd("fdatasync", lambda: os.fdatasync(fd))
	d = o.open(".", os.O_RDONLY | os.O_DIRECTORY)
	o.fd("fsync of a directory", lambda: os.fsync(d))
	ro = o.open("f")
	o.fd("fsync of a reader", lambda: os.fsync(ro))


@case(lower=[[F("f", b"m" * 10000)]])
def shared_mapping(o):
	"""Writes through a mapping are seen by read, and the other way round."""
	fd = o.open("f", os.O_RDWR)
	m = mmap.mmap(fd, 8192)
	m[0:3] = b"MAP"
	o.read("f", 0, 5)
	o.write("f", b"fd", 100)
	o.note("mapped", m[99:104])
	m[4096:4099] = b"two"
	m.flush()
	m.close()
	o.close(fd)
	o.remount()
	o.read("f", 4094, 8)


@case(lower=[[F("f", b"m" * 10000)]])
def private_mapping(o):
	fd = o.open("f")
	m = mmap.mmap(fd, 8192, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
	m[0:3] = b"PRI"
	o.read("f", 0, 5)
	o.note("mapped", m[0:5])
	m.close()
	o.close(fd)


@case(lower=[[F("f", b"m" * 8192), F("g", b"n" * 8192)]])
def mapping_outlives_descriptor_and_name(o):
	fd = o.open("f", os.O_RDWR)
	m = mmap.mmap(fd, 8192)
	o.close(fd)
	m[0:3] = b"one"
	o.unlink("f")
	m[3:6] = b"two"
	o.note("mapped", m[0:8])
	m.close()
	fd = o.open("g", os.O_RDWR)
	m = mmap.mmap(fd, 8192)
	o.rename("g", "h")
	m[0:3] = b"new"
	m.close()
	o.close(fd)
	o.read("h", 0, 5)


@case(lower=[[F("f", b"m" * 8192), F("g", b"n" * 8192)]], fs=("ext4", "xfs", "btrfs"))
def mapped_before_it_was_guarded(o):
	"""What was written to a mapping before chattr +i and +a is in the file, though not yet then."""
	for name, flag in (("f", sysc.FS_IMMUTABLE_FL), ("g", sysc.FS_APPEND_FL)):
		fd = o.open(name, os.O_RDWR)
		m = mmap.mmap(fd, 8192)
		m[0:3] = b"one"
		m[4096:4099] = b"two"
		o.setflags(name, flag)
		m.close()
		o.fd("fsync", lambda: os.fsync(fd))
		o.close(fd)
	o.remount()
	for name, flag in (("f", sysc.FS_IMMUTABLE_FL), ("g", sysc.FS_APPEND_FL)):
		o.read(name, 0, 5)
		o.read(name, 4094, 8)
		o.stat(name)
		o.setflags(name, flag, False)


@case(lower=[[F("f", b"x" * (2 * MIB)), F("g", b"y" * 100000)]])
def fallocate(o):
	fd = o.open("f", os.O_RDWR)
	fa = lambda mode, off, n: o.fd("fallocate", lambda: sysc.fallocate(fd, mode, off, n),
		mode, off, n)
	fa(sysc.FALLOC_PUNCH_HOLE | sysc.FALLOC_KEEP_SIZE, 65536, 65536)
	o.read("f", 65530, 12)
	o.read("f", 131066, 12)
	fa(0, 3 * MIB, 1000)
	o.fstat(fd)
	fa(sysc.FALLOC_KEEP_SIZE, 8 * MIB, 65536)
	o.fstat(fd)
	fa(sysc.FALLOC_PUNCH_HOLE, 0, 10)
	fa(0, 0, 0)
	fa(0, -1, 5)
	ro = o.open("g")
	o.fd("fallocate", lambda: sysc.fallocate(ro, 0, 0, 10))
	o.close(fd)


@case(lower=[[F("f", b"x" * 300000)]], fs=("ext4", "xfs"))
def zero_range(o):
	fd = o.open("f", os.O_RDWR)
	o.fd("zero", lambda: sysc.fallocate(fd, sysc.FALLOC_ZERO_RANGE, 1000, 100000))
	o.fd("zero", lambda: sysc.fallocate(fd, sysc.FALLOC_ZERO_RANGE | sysc.FALLOC_KEEP_SIZE,
		290000, 100000))
	o.fstat(fd)
	o.read("f", 995, 10)
	o.read("f", 100995, 10)
	o.close(fd)


@case(lower=[[F("f", b"x" * 262144)]], fs=("ext4", "xfs"), diverges="collapse-and-insert",
	tree=False, bytes=False)
def collapse_and_insert(o):
	"""FUSE has no such requests."""
	fd = o.open("f", os.O_RDWR)
	with o.apart():
		for mode in (sysc.FALLOC_COLLAPSE, sysc.FALLOC_INSERT):
			r = o.fd("fallocate", lambda m=mode: sysc.fallocate(fd, m, 65536, 65536))
			o.must(r == "EOPNOTSUPP", "mode %d gives EOPNOTSUPP, not %s" % (mode, r))
	with o.apart():
		o.must(o.read("f", 65530, 12) == b"x" * 12, "the file is as it was")
	o.close(fd)


@case(lower=[[F("f", size=4 * MIB, at={MIB: b"data" * 20000}), F("full", b"x" * 200000)]])
def seek_hole(o):
	o.holes("f")
	o.holes("full")
	fd = o.open("f")
	for off in (0, MIB, MIB + 5, 2 * MIB, 4 * MIB, 5 * MIB):
		o.fd("seek_data", lambda: os.lseek(fd, off, os.SEEK_DATA) >> 16, off)
		o.fd("seek_hole", lambda: os.lseek(fd, off, os.SEEK_HOLE) >> 16, off)
	o.fd("seek_end", lambda: os.lseek(fd, -5, os.SEEK_END))
	o.close(fd)


@case(lower=[[]])
def seek_hole_in_what_was_written(o):
	fd = o.open("n", os.O_RDWR | os.O_CREAT)
	o.fpwrite(fd, b"a" * 65536, 0)
	o.fpwrite(fd, b"b" * 65536, MIB)
	o.fd("truncate", lambda: os.ftruncate(fd, 2 * MIB))
	o.fd("fsync", lambda: os.fsync(fd))
	o.close(fd)
	o.holes("n")


@case(lower=[[F("src", b"0123456789" * 1000), F("dst", b"-" * 5000)]],
	diverges="copy-between-layers", tree=False, bytes=False)
def copy_between_layers(o):
	"""From a lower file to one of upper: the kernel refuses this between filesystems."""
	a = o.open("src")
	b = o.open("dst", os.O_RDWR)
	with o.apart():
		r = o.fd("copy_file_range", lambda: sysc.copy_file_range(a, 5, b, 10, 100))
		o.must(r == 100, "100 bytes are copied, not %s" % r)
		o.must(o.read("dst", 8, 10) == b"--56789012", "they are the right ones")


@case(lower=[[F("src", b"0123456789" * 1000), F("dst", b"-" * 5000)]],
	fs=("ext4", "xfs", "btrfs", "tmpfs"))
def copy_file_range(o):
	a = o.open("src")
	b = o.open("dst", os.O_RDWR)
	cfr = lambda x, xo, y, yo, n: o.fd("copy_file_range", lambda: sysc.copy_file_range(
		x, xo, y, yo, n), xo, yo, n)
	cfr(a, 5, b, 4990, 100)
	o.fstat(b)
	o.read("dst", 4985, 20)
	cfr(a, 9995, b, 0, 100)
	cfr(a, 20000, b, 0, 100)
	o.read("dst", 0, 10)
	cfr(b, 0, b, 2500, 1000)
	cfr(b, 0, b, 10, 1000)
	cfr(b, 0, a, 0, 10)
	o.read("dst", 2495, 20)


@case(lower=[[F("f", b"lock")]])
def locks(o):
	"""flock and fcntl locks, kept over copy-up; a child of another process sees them."""
	a = o.open("f", os.O_RDWR)
	b = o.open("f", os.O_RDWR)
	o.flock(a, fcntl.LOCK_SH)
	o.flock(b, fcntl.LOCK_EX | fcntl.LOCK_NB)
	o.flock(b, fcntl.LOCK_SH | fcntl.LOCK_NB)
	o.flock(b, fcntl.LOCK_UN)
	o.fpwrite(a, b"LOCK")
	o.flock(b, fcntl.LOCK_EX | fcntl.LOCK_NB)
	o.flock(a, fcntl.LOCK_UN)
	o.fd("lockf", lambda: fcntl.lockf(a, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 0))
	o.note("child", _in_child(lambda: _try_lockf(o.mnt + "/f", 0)))
	o.note("child", _in_child(lambda: _try_lockf(o.mnt + "/f", 20)))


def _try_lockf(path, start):
	fd = os.open(path, os.O_RDWR)
	try:
		fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 5, start)
		return 0
	except OSError as e:
		return e.errno


def _in_child(fn):
	"""Exit code of a child that runs FN."""
	pid = os.fork()
	if pid == 0:
		rc = 99
		try:
			rc = fn()
		finally:
			os._exit(rc)
	return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@case(lower=[[F("f", b"lease")]])
def leases(o):
	fd = o.open("f")
	signal.signal(signal.SIGIO, signal.SIG_IGN)
	o.fd("setlease", lambda: fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK))
	o.fd("getlease", lambda: fcntl.fcntl(fd, fcntl.F_GETLEASE))
	o.fd("unlease", lambda: fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK))


@case(lower=[[F("f", b"x" * 5000)]])
def truncate_open_file(o):
	fd = o.open("f", os.O_RDWR)
	o.fd("ftruncate", lambda: os.ftruncate(fd, 100))
	o.fstat(fd)
	o.fpread(fd, 10, 95)
	o.fd("ftruncate", lambda: os.ftruncate(fd, 9000))
	o.fpread(fd, 10, 95)
	o.fd("ftruncate", lambda: os.ftruncate(fd, -1))
	ro = o.open("f")
	o.fd("ftruncate", lambda: os.ftruncate(ro, 0))
	o.truncate("f", 10)
	o.fstat(ro)
	o.truncate(".", 0)


@case(lower=[[F("a", b"a" * MIB)]])
def data_survives_remount(o):
	"""Buffered, mapped and appended data is all there after an unmount."""
	o.write("a", b"mid", 500000)
	o.create("n", b"n" * 100000)
	o.append("n", b"tail")
	o.remount()
	o.read("a", 499999, 5)
	o.read("n", 99999)
	o.stat("n")


@case(lower=[[F("f", b"x" * 100)]])
def times_of_writes(o):
	"""Writing sets mtime; a write of nothing and a failed one do not."""
	o.write("f", b"")
	o.times("f")
	o.write("f", b"y")
	o.times("f")
	o.utimes("f", 10**18, 10**18 + 999999999)
	o.times("f")


@case(lower=[[F("f", b"x" * 100)]], diverges="truncate-sets-mtime", tree=False, bytes=False)
def times_of_truncation(o):
	"""To the same size: the kernel does as upper's filesystem, and some do nothing."""
	o.utimes("f", 10**18, 10**18)
	with o.apart():
		o.truncate("f", 100)
		o.must(" mnow" in o.stat("f"), "mtime is set, as POSIX says")


@case(lower=[[F("sp", size=1 << 20), F("w", b"w" * 4096)]])
def sendfile_and_splice(o):
	a = o.open("w")
	b = o.open("sp", os.O_RDWR)
	o.fd("sendfile", lambda: os.sendfile(b, a, 0, 4096))
	r, w = os.pipe()
	o.fd("splice", lambda: os.splice(a, w, 100, offset_src=0))
	o.fd("splice", lambda: os.splice(r, b, 100, offset_dst=8192))
	o.read("sp", 4090, 10)
	o.read("sp", 8190, 10)
	os.close(r)
	os.close(w)
