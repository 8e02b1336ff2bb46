# SPDX-License-Identifier: GPL-2.0-or-later
"""Copy-up: what is kept, when it happens, and what is left when it fails."""
import os
import signal
import subprocess
import threading
import time

from lib import look, sysc
from lib.layers import B, C, D, F, H, K, OVL, P, S, T0, W
from lib.runner import case

OLD = 1_234_567_890_123_456_789
ACL = sysc.posix_acl(("u", 6), ("U", 4, 1234), ("g", 4), ("m", 6), ("o", 0))
DACL = sysc.posix_acl(("u", 7), ("U", 5, 1234), ("g", 5), ("m", 7), ("o", 0))
XA = {"user.one": b"1", "user.empty": b"", "user.bin": bytes(range(256)), "trusted.t": b"t",
	"security.foo": b"s"}
TYPES = [
	F("f", "data", mode=0o4751, uid=11, gid=12, x=XA, mtime=OLD, atime=OLD - 5),
	D("d", mode=0o3770, uid=13, gid=14, x=XA, mtime=OLD),
	S("l", "target", uid=15, gid=16, mtime=OLD),
	C("c", 1, 7, mode=0o620, uid=17, mtime=OLD), B("b", mode=0o606, gid=18, mtime=OLD),
	P("p", mode=0o611, uid=19, mtime=OLD), K("s", mode=0o755, gid=20, mtime=OLD),
]
NAMES = "fdlcbps"


@case(lower=[TYPES])
def by_chown(o):
	for p in NAMES:
		o.chown(p, 100, 200)
		o.allx(p)


@case(lower=[TYPES])
def by_chmod(o):
	for p in "fdcbps":
		o.chmod(p, 0o7000 | 0o111)
		o.times(p)


@case(lower=[TYPES])
def by_utimes(o):
	for p in NAMES:
		o.utimes(p, OLD + 1, OLD + 2)
		o.times(p)
		o.stat(p)


@case(lower=[TYPES])
def by_setxattr(o):
	for p in NAMES:
		o.setx(p, "trusted.new", b"n")
		o.setx(p, "user.new", b"n")
		o.setx(p, "user.one", b"n", os.XATTR_CREATE)
		o.setx(p, "user.none", b"n", os.XATTR_REPLACE)
		o.rmx(p, "user.none")
		o.allx(p)


@case(lower=[TYPES])
def by_link_and_rename(o):
	for p in NAMES:
		o.link(p, p + "2")
		o.rename(p, p + "3")
		o.stat(p + "3")
		o.times(p + "3")


@case(lower=[TYPES])
def nothing_by_looking(o):
	"""Reading changes nothing in upper."""
	o.find()
	for p in NAMES:
		o.stat(p)
		o.lsx(p)
	o.read("f")
	o.readlink("l")
	o.rmx("f", "user.none")


@case(lower=[[F("f", "x", x={"user.one": b"1"})]], diverges="refused-setxattr", bytes=False)
def nothing_by_refused_setxattr(o):
	"""A setxattr that is refused: the kernel has copied up by then."""
	o.setx("f", "user.one", b"x", os.XATTR_CREATE)
	o.setx("f", "user.two", b"x", os.XATTR_REPLACE)
	o.must(os.listdir(o.place.upper) == [], "nothing was copied up")


@case(lower=[[F("f", "data", mode=0o600, x={"system.posix_acl_access": ACL}),
	D("d", x={"system.posix_acl_access": ACL, "system.posix_acl_default": DACL}),
	F("d/f", "x")]])
def acls(o):
	o.chown("f", 1, 2)
	o.chmod("d", 0o710)
	o.create("d/n", b"x", 0o666)
	o.allx("f")
	o.allx("d")
	o.allx("d/n")
	o.append("d/f", b"y")
	o.lsx("d/f")


@case(lower=[[F("cap", "x", mode=0o755, x={"security.capability": sysc.CAP_NET_RAW}),
	F("cap2", "x", mode=0o755, x={"security.capability": sysc.CAP_NET_RAW})]])
def capabilities(o):
	"""Kept by chmod and rename, dropped by write and chown."""
	o.chmod("cap", 0o711)
	o.getx("cap", "security.capability")
	o.rename("cap", "cap3")
	o.getx("cap3", "security.capability")
	o.append("cap3", b"y")
	o.getx("cap3", "security.capability")
	o.chown("cap2", 1, 1)
	o.getx("cap2", "security.capability")


@case(lower=[[F("f", "x", flags=sysc.FS_NOATIME_FL | sysc.FS_SYNC_FL), F("n", "x"),
	D("d", flags=sysc.FS_NOATIME_FL)]], fs=("ext4", "xfs", "btrfs"))
def flags_kept(o):
	o.getflags("f")
	o.chmod("f", 0o600)
	o.getflags("f")
	o.chmod("d", 0o700)
	o.getflags("d")
	o.setflags("n", sysc.FS_NOATIME_FL)
	o.getflags("n")


@case(lower=[[F("f", "x", flags=sysc.FS_NODUMP_FL)]], fs=("ext4", "xfs", "btrfs"),
	diverges="more-flags-kept", tree=False, bytes=False)
def more_flags_kept(o):
	"""The kernel keeps only S, A, a and i."""
	o.chmod("f", 0o600)
	with o.apart():
		o.must(o.getflags("f") == sysc.FS_NODUMP_FL, "nodump is kept")


@case(lower=[[F("f", "x", projid=42)]], fs=("xfs",), diverges="project-id-kept", tree=False,
	bytes=False)
def project_id_kept(o):
	o.chmod("f", 0o600)
	with o.apart():
		o.must(o.projid("f") == 42, "the project id is kept")


@case(lower=[[F("i", "x", flags=sysc.FS_IMMUTABLE_FL), F("a", "x", flags=sysc.FS_APPEND_FL),
	D("d", flags=sysc.FS_IMMUTABLE_FL), F("n", "n")]], fs=("ext4", "xfs", "btrfs"), tree=False)
def immutable_lower(o):
	"""The flags of lower objects hold in the mount."""
	o.unlink("i")
	o.chmod("i", 0o600)
	o.rename("i", "i2")
	o.link("i", "i3")
	o.unlink("a")
	o.append("a", b"y")
	o.read("a")
	o.chmod("a", 0o600)
	o.getflags("i")


@case(lower=[[F("f", "x"), D("d"), F("d/x", "x")]], fs=("ext4", "xfs", "btrfs"), tree=False)
def chattr(o):
	"""+i and +a through the mount: kept in protattr, not in the layer's own flags."""
	o.setflags("f", sysc.FS_IMMUTABLE_FL)
	o.getflags("f")
	o.chmod("f", 0o600)
	o.unlink("f")
	o.remount()
	o.getflags("f")
	o.truncate("f", 0)
	o.setflags("f", sysc.FS_IMMUTABLE_FL, False)
	o.setflags("f", sysc.FS_APPEND_FL)
	o.append("f", b"y")
	o.truncate("f", 0)
	o.setflags("d", sysc.FS_IMMUTABLE_FL)
	o.create("d/n")
	o.unlink("d/x")
	o.setflags("d", sysc.FS_IMMUTABLE_FL, False)
	o.unlink("d/x")


@case(lower=[[F("f", size=1 << 22, at={0: b"A" * 70000, 1 << 20: b"B" * 65536,
	3 << 20: b"C"})]], diverges="exact-holes")
def holes_kept(o):
	"""The kernel copies whole MiB that hold any data."""
	before = o.holes("f")
	o.write("f", b"x", 10)
	with o.apart():
		o.must(o.holes("f") == before, "the holes are where they were")
	o.read("f", 1 << 20, 100)
	o.stat("f")
	o.must(o.blocks("f") * 512 < 1 << 20, "%d blocks are in use" % o.blocks("f"))


BIG = 5 << 30


@case(lower=[[F("f", size=BIG, at={0: b"start", (4 << 30) + 5: b"past", BIG - 3: b"end"})]],
	timeout=120)
def larger_than_4_gib(o):
	o.write("f", b"X", 1)
	o.stat("f")
	o.read("f", 0, 10)
	o.read("f", 4 << 30, 20)
	o.read("f", BIG - 5, 20)
	o.note("sparse", o.blocks("f") * 512 < 1 << 24)
	o.write("f", b"Y", BIG)
	o.stat("f")


@case(lower=[[F("f", b"0123456789" * 10000, mode=0o644)]])
def by_truncate(o):
	o.truncate("f", 12345)
	o.stat("f")
	o.truncate("f", 200000)
	o.read("f", 12340, 20)
	o.truncate("f", 0)
	o.create("f", b"trunc", flags=os.O_TRUNC)


@case(lower=[[F("f", b"x" * (1 << 23)), F("g", b"y" * (1 << 23))]], fs=("ext4", "xfs"))
def truncation_copies_little(o):
	"""O_TRUNC copies nothing of what it throws away."""
	before = os.statvfs(o.place.upper)
	o.create("f", b"", flags=os.O_TRUNC)
	after = os.statvfs(o.place.upper)
	used = (before.f_bfree - after.f_bfree) * after.f_frsize
	o.always(used < 1 << 22, "%d bytes were written" % used)
	o.stat("f")


@case(lower=[[F("d/f", "x")]], diverges="open-does-not-copy-up", tree=False, bytes=False)
def open_alone_copies_nothing(o):
	"""The kernel copies up at open for writing, we at the first change."""
	fd = o.open("d/f", os.O_RDWR)
	o.fpread(fd)
	with o.apart():
		o.must(not os.path.exists(o.place.upper + "/d/f"), "nothing is in upper yet")
	o.fpwrite(fd, b"y")
	o.close(fd)
	o.read("d/f")
	o.always(os.path.exists(o.place.upper + "/d/f"), "now it is")


@case(lower=[[D("d", mtime=OLD), D("d/e", mtime=OLD), F("d/e/f", "x")]])
def parents_keep_times(o):
	o.append("d/e/f", b"y")
	o.times("d")
	o.times("d/e")
	o.stat("d")


@case(lower=[[F("f", "old"), F("g", "old"), F("d/h", "old")]])
def seen_by_old_descriptor(o):
	"""A descriptor from before reads what is written later."""
	fd = o.open("f")
	o.fpread(fd)
	o.write("f", b"NEWER")
	o.fpread(fd)
	o.fstat(fd)
	o.close(fd)
	fd = o.open("d/h")
	o.rename("d", "e")
	o.write("e/h", b"moved")
	o.fpread(fd)
	o.close(fd)


@case(lower=[[F("f", b"old" + b"." * 4093)]], diverges="coherent-mappings", tree=False,
	bytes=False)
def seen_by_old_mapping(o):
	"""And so does a mapping; the kernel's shows the lower file for ever."""
	fd = o.open("f")
	m = o.map_read(fd, 4096)
	first = m[:3]
	o.note("mapped", first)
	o.write("f", b"NEW")
	with o.apart():
		o.must(m[:3] == b"NEW", "the mapping from before shows the new bytes")
		again = o.map_read(fd, 4096)
		o.must(again[:3] == b"NEW", "and a new mapping of the old descriptor")
		again.close()
	m.close()
	o.close(fd)


@case(lower=[[F("f", "data", mode=0o644), F("g", "data", mode=0o600, uid=1000, gid=1000)]])
def ino_and_btime(o):
	"""The inode number stays when a file comes up, by data or by attribute."""
	for p in ("f", "g"):
		i = o.ino(p)
		o.chmod(p, 0o640)
		o.always(o.ino(p) == i and i, "chmod changed the inode number")
		o.write(p, b"x")
		o.always(o.ino(p) == i, "write changed the inode number")
		o.remount()
		o.always(o.ino(p) == i, "a remount changed the inode number")
	o.always(sysc.statx_btime(o.root, "f") is not None, "there is a birth time")


@case(lower=[[F("f", "x", x={"user.a": b"A" * 3000, "trusted.b": b"B" * 200})]])
def large_xattrs(o):
	o.chmod("f", 0o600)
	o.getx("f", "user.a")
	o.setx("f", "user.c", b"C" * 500)
	o.setx("f", "user.huge", b"H" * 65537)
	o.setx("f", "user." + "n" * 250, b"1")
	o.setx("f", "user." + "n" * 251, b"1")
	o.lsx("f")


def _small(place):
	"""Upper and work become directories of a small filesystem, for ENOSPC."""
	small = os.path.join(place.dir, "small")
	os.mkdir(small)
	sysc.mount("small", small, "tmpfs", 0, "size=2M,huge=never")
	for name in ("u", "w"):
		os.mkdir(os.path.join(small, name))
		link = os.path.join(place.dir, name)
		os.unlink(link)
		os.symlink(os.path.join(small, name), link)
	place.upper = os.path.join(small, "u")
	place.work = os.path.join(small, "w")


@case(lower=[[F("big", b"b" * (4 << 20)), F("s", "small"), D("d"), F("d/big", b"c" * (3 << 20))]],
	prepare=_small, fs=("ext4", "xfs", "tmpfs"),
	ignore=("d",))
def no_space(o):
	"""A copy-up that fails leaves the object as it was, and no litter."""
	r = _try_write(o, "big")
	o.always(r == "ENOSPC", "writing gives ENOSPC, not %s" % r)
	o.stat("big")
	o.read("big", 4000, 10)
	o.chmod("big", 0o600)
	o.stat("big")
	o.write("s", b"fits")
	o.always(_try_write(o, "d/big") == "ENOSPC", "and again")
	o.ls("d")
	o.unlink("big")
	o.create("n", b"x")
	o.find()


def _try_write(o, p, data=b"x"):
	"""errno of writing a byte: the kernel fails in open, we in write."""
	try:
		fd = os.open(os.path.join(o.mnt, p), os.O_WRONLY)
	except OSError as e:
		return sysc.ename(e)
	try:
		os.pwrite(fd, data, 5)
		os.fsync(fd)
		return "ok"
	except OSError as e:
		return sysc.ename(e)
	finally:
		os.close(fd)


@case(lower=[[F("big", b"b" * (48 << 20))]], fs=("ext4", "tmpfs"), bytes=False)
def killed_while_copying(o):
	"""The writer is killed during copy-up: the file is whole, and no litter stays."""
	for delay in (0.0, 0.003, 0.01, 0.03):
		pid = os.fork()
		if pid == 0:
			_try_write(o, "big", b"b")
			os._exit(0)
		time.sleep(delay)
		os.kill(pid, signal.SIGKILL)
		os.waitpid(pid, 0)
	o.always(os.stat(o.mnt + "/big").st_size == 48 << 20, "the size is right")
	with o.apart():
		o.write("big", b"b", 7)
	with open(o.mnt + "/big", "rb") as f:
		got = f.read()
	# A writer that was too quick to be killed has written its byte.
	o.always(got[5:6] in (b"b", b"x"), "the byte is the old or the new one")
	o.always(got[:5] + b"b" + got[6:] == b"b" * (48 << 20), "the content is right")
	o.stop()
	o.always(_litter(o.place) == [], "litter: %s" % _litter(o.place))
	o.start()


def _litter(place):
	"""Temporary names in the work directory, but for the shared whiteout."""
	out = []
	for sub in ("work", "index"):
		d = os.path.join(place.work, sub)
		for name in os.listdir(d) if os.path.isdir(d) else ():
			st = os.lstat(os.path.join(d, name))
			if name.startswith("#") and not (st.st_rdev == 0
					and look.TYPE[st.st_mode & 0o170000] == "c"):
				out.append(sub + "/" + name)
	return out


@case(lower=[[F("f%d" % i, b"x" * (1 << 20)) for i in range(24)]], fs=("ext4", "xfs"),
	bytes=False)
def server_killed_while_copying(o):
	"""kill -9 of the server: each file is old or new, and the next mount cleans."""
	def writer():
		for i in range(24):
			try:
				fd = os.open("%s/f%d" % (o.mnt, i), os.O_WRONLY)
				os.pwrite(fd, b"NEW", 0)
				os.close(fd)
			except OSError:
				return
	pid = os.fork()
	if pid == 0:
		writer()
		os._exit(0)
	time.sleep(0.03)
	if o.is_kernel:
		os.waitpid(pid, 0)
		o.crash()
	else:
		o.crash()
		os.waitpid(pid, 0)
	o.start()
	for i in range(24):
		with open("%s/f%d" % (o.mnt, i), "rb") as f:
			got = f.read()
		o.always(got in (b"x" * (1 << 20), b"NEW" + b"x" * ((1 << 20) - 3)),
			"f%d is neither old nor new" % i)
		if not o.is_kernel:
			with open("%s/f%d" % (o.mnt, i), "r+b") as f:
				f.write(b"NEW")
	o.stop()
	o.always(_litter(o.place) == [], "litter: %s" % _litter(o.place))
	o.start()


@case(lower=[[F("f", b"x" * (8 << 20))]], bytes=False)
def many_writers_at_once(o):
	"""Twelve first writers of one file: one copy, no write lost."""
	def one(i):
		with open(o.mnt + "/f", "r+b", buffering=0) as f:
			f.seek(i * 100000)
			f.write(b"w%02d" % i)
	ts = [threading.Thread(target=one, args=(i,)) for i in range(12)]
	for t in ts:
		t.start()
	for t in ts:
		t.join()
	for i in range(12):
		o.read("f", i * 100000, 3)
	o.stat("f")


@case(lower=[[F("d%d/f" % i, "x") for i in range(40)]])
def many_parents_at_once(o):
	def one(i):
		for j in range(i, 40, 4):
			with open("%s/d%d/n" % (o.mnt, j), "x", encoding="utf-8") as f:
				f.write("n")
			os.chmod("%s/d%d/f" % (o.mnt, j), 0o600)
	ts = [threading.Thread(target=one, args=(i,)) for i in range(4)]
	for t in ts:
		t.start()
	for t in ts:
		t.join()
	o.find()


@case(lower=[[F("f", "meta", mode=0o644, x={"user.a": b"1"}), F("g", b"G" * 9000),
	F("h1", "h"), H("h2", "h1"), D("d"), F("d/x", "x")]], opts=["metacopy=on"])
def metacopy(o):
	"""Attributes come up without data."""
	o.chmod("f", 0o600)
	o.chown("g", 1, 2)
	o.read("f")
	o.read("g", 8990)
	o.rename("g", "d/g2")
	o.read("d/g2", 8990)
	o.link("f", "f2")
	o.chmod("h1", 0o600)
	o.stat("h2")
	o.find()


@case(lower=[[F("f", b"F" * 9000), F("h1", "h"), H("h2", "h1")]], opts=["metacopy=on"])
def metacopy_then_data(o):
	o.chmod("f", 0o600)
	o.write("f", b"data", 5)
	o.read("f")
	o.chown("h2", 3, 3)
	o.append("h1", b"+")
	o.read("h2")
	o.remount()
	o.find()


def _meta_upper(place):
	path = os.path.join(place.upper, "f")
	os.truncate(path, 6000)
	os.setxattr(path, OVL + "metacopy", b"")
	os.setxattr(path, OVL + "redirect", b"/d/data")
	os.utime(path, ns=(T0, T0))


@case(lower=[[F("d/data", b"D" * 6000)]], prepare=_meta_upper,
	upper=[F("f", mode=0o600), D("d"), W("d/data")],
	opts=["metacopy=on"])
def metacopy_with_redirect_read(o):
	o.stat("f")
	o.read("f", 5990)
	o.append("f", b"more")
	o.read("f", 5990)


@case(lower=[[F("f", b"x")]], fs=("ext4",))
def executed_and_written(o):
	"""A program that runs cannot be written."""
	with o.apart():
		subprocess.run(["cp", "/bin/sleep", o.mnt + "/sl"], check=True)
	p = subprocess.Popen([o.mnt + "/sl", "60"])
	time.sleep(0.02)
	o.write("sl", b"x")
	p.kill()
	p.wait()
	o.unlink("sl")
