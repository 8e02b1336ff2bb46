# SPDX-License-Identifier: GPL-2.0-or-later
"""Mounts, remounts, crashes: what lies in the work directory and what survives."""
import os
import subprocess

from lib import sysc, world
from lib.layers import D, F, H, build
from lib.runner import case

LOW = [F("f", "f"), D("d"), F("d/g", "g"), F("h1", "h"), H("h2", "h1")]


@case(lower=[LOW])
def remounted_unchanged(o):
	o.find()
	o.remount()
	o.find()


@case(lower=[LOW])
def remounted_after_everything(o):
	o.write("f", b"F")
	o.rename("d", "e")
	o.append("h1", b"+")
	o.unlink("e/g")
	o.mkdir("n")
	o.create("n/x", b"x")
	o.symlink("n/x", "l")
	o.remount()
	o.find()
	o.rename("e", "d")
	o.unlink("h1")
	o.remount()
	o.find()


@case(lower=[LOW], tree=False, bytes=False)
def volatile_leaves_its_mark(o):
	"""`volatile` leaves work/incompat/volatile; the next mount is refused until it is gone."""
	o.remount(["volatile"])
	o.create("n", b"n")
	fd = o.open("n", os.O_RDWR)
	o.fd("fsync", lambda: os.fsync(fd))
	o.always(os.path.isdir(o.place.work + "/work/incompat/volatile"), "there is a mark")
	o.try_mount([])
	o.try_mount(["volatile"])
	subprocess.run(["rm", "-rf", o.place.work + "/work/incompat"], check=True)
	o.try_mount([])
	o.read("n")


@case(lower=[LOW], tree=False, bytes=False)
def crash_and_remount(o):
	"""kill -9 of the server: what was done is there, what was synced is there, no litter."""
	o.write("f", b"F")
	o.rename("d", "e")
	fd = o.open("s", os.O_RDWR | os.O_CREAT)
	o.fpwrite(fd, b"synced")
	o.fd("fsync", lambda: os.fsync(fd))
	o.append("h1", b"+")
	o.crash()
	o.start()
	o.ls()
	o.ls("e")
	o.read("s")
	o.stat("h2")
	o.read("h2")
	o.append("h2", b"-")
	o.read("h1")


@case(lower=[LOW], tree=False, bytes=False)
def crash_with_orphans(o):
	"""Files that were unlinked and open when the server died leave nothing behind."""
	for i in range(10):
		o.create("o%d" % i, b"x" * 1000)
		fd = o.open("o%d" % i, os.O_RDWR)
		o.unlink("o%d" % i)
		o.fpwrite(fd, b"y")
	fd = o.open("f")
	o.unlink("f")
	o.crash()
	o.start()
	o.ls()
	o.stop()
	o.always(_files(o.place.work) == [], "litter: %s" % _files(o.place.work))
	o.start()


def _files(work):
	"""Regular files in work and index that no name of upper has."""
	out = []
	for top in ("work", "index"):
		for here, _, files in os.walk(os.path.join(work, top)):
			for n in files:
				st = os.lstat(os.path.join(here, n))
				if st.st_mode & 0o170000 == 0o100000 and st.st_nlink == 1:
					out.append(os.path.join(here, n))
	own = os.path.join(work, "lamina")
	for here, _, files in os.walk(own):
		out += [os.path.join(here, n) for n in files if "orphan" in here]
	return out


@case(lower=[LOW], mount=False, fs=("ext4", "xfs"), tree=False, bytes=False)
def over_its_own_layers(o):
	"""The mount covers the directory that holds its layers."""
	base = os.path.join(o.place.dir, "own")
	real = os.path.join(o.place.extra, "own")
	for n in ("lower", "upper", "work"):
		os.makedirs(os.path.join(real, n))
	build(real + "/lower", LOW)
	os.mkdir(base)
	sysc.mount(real, base, None, sysc.MS_BIND)
	layers = ["lowerdir=%s/lower" % base, "upperdir=%s/upper" % base, "workdir=%s/work" % base]
	o.driver.mount(o.place, layers, o.opts, base)
	o.root = os.open(base, os.O_PATH | os.O_DIRECTORY)
	o.ls()
	o.write("f", b"F")
	o.rename("d", "e")
	o.unlink("h1")
	o.read("h2")
	o.ls("e")
	os.close(o.root)
	o.root = -1
	o.driver.unmount(base)
	o.note("upper", sorted(os.listdir(base + "/upper")))
	world.unmount_soon(base)


@case(lower=[LOW, [F("x", "below")]], mount=False, tree=False, bytes=False)
def layer_added_on_top(o):
	"""First over one lower; then with another one above it."""
	o.try_mount(["index=off"], ["lowerdir=l2", "upperdir=u", "workdir=w"])
	o.write("x", b"changed")
	o.create("n", b"n")
	o.try_mount(["index=off"], ["lowerdir=l1:l2", "upperdir=u", "workdir=w"])
	o.find()


@case(lower=[LOW], mount=False, tree=False, bytes=False)
def in_use_by_another(o):
	"""Upper and work in use by a mount: a second one is refused."""
	o.start()
	other = os.path.join(o.place.dir, "m2")
	os.mkdir(other)
	from lib.world import MountError
	try:
		o.driver.mount(o.place, o.layers, o.opts, other)
		res = "mounted"
		o.driver.unmount(other)
	except MountError:
		res = "refused"
	o.note("second", res)
	o.create("n", b"n")


@case(lower=[LOW], tree=False)
def remount_read_only_and_back(o):
	o.create("a", b"a")
	r = o.fd("remount ro", lambda: sysc.mount("x", o.mnt, None, sysc.MS_REMOUNT
		| sysc.MS_RDONLY))
	o.create("b")
	o.read("a")
	if r == "ok":
		o.fd("remount rw", lambda: sysc.mount("x", o.mnt, None, sysc.MS_REMOUNT))
		o.create("c", b"c")


@case(lower=[LOW], tree=False, bytes=False)
def statfs(o):
	"""The numbers are those of upper's filesystem."""
	a, b = os.statvfs(o.mnt), os.statvfs(o.place.upper)
	o.always(a.f_blocks * a.f_frsize == b.f_blocks * b.f_frsize, "total size")
	o.always(abs(a.f_bfree * a.f_frsize - b.f_bfree * b.f_frsize) < 1 << 28, "free space")
	o.always(a.f_files == b.f_files, "inodes")


@case(lower=[[F("d%d/f%d" % (i, j), "x" * 100) for i in range(20) for j in range(10)],
	[F("d%d/g%d" % (i, j), "y") for i in range(20) for j in range(5)]])
def a_day_of_work(o):
	"""A mixed sequence over some directories, remounted on the way."""
	for i in range(20):
		d = "d%d" % i
		o.write(d + "/f1", b"w")
		o.unlink(d + "/f2")
		o.rename(d + "/f3", d + "/r3")
		o.rename(d + "/g1", "d%d/from%d" % ((i + 1) % 20, i))
		o.mkdir(d + "/n")
		if i % 5 == 0:
			o.rename(d, "moved%d" % i)
			o.rename("moved%d" % i, d)
		if i % 7 == 0:
			o.remount()
	o.find()


@case(lower=[LOW], opts=["nfs_export=on"], tree=False)
def with_nfs_export(o):
	"""The complete index, as the kernel writes it, whose own link counts are wrong later."""
	o.write("f", b"F")
	o.mkdir("d/n")
	o.rename("d/g", "g")
	o.chmod("d", 0o700)
	o.append("h1", b"+")
	o.read("h2")
	o.rename("d", "e")
	o.ls("e")
