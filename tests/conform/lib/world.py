# SPDX-License-Identifier: GPL-2.0-or-later
"""Images, mounts and servers.

The whole suite runs in a mount namespace and a pid namespace of its own, so that nothing outlives
it: when it ends, for whatever reason, the kernel ends every server, drops every mount and frees
every loop device.
"""
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time

from . import sysc

FS_NAMES = ("ext4", "xfs", "btrfs", "tmpfs")
# Where upper and the lowers lie.  A mixed stack has its lowers on the others in turn.
CONFIGS = {
	"ext4": ("ext4", ("ext4",)),
	"xfs": ("xfs", ("xfs",)),
	"btrfs": ("btrfs", ("btrfs",)),
	"tmpfs": ("tmpfs", ("tmpfs",)),
	"mixed": ("ext4", ("xfs", "btrfs", "tmpfs")),
	"mixed2": ("xfs", ("ext4", "xfs", "ext4")),
}
MKFS = {
	"ext4": ["mkfs.ext4", "-q", "-F", "-m", "0"],
	"xfs": ["mkfs.xfs", "-q", "-f", "-m", "reflink=1"],
	"btrfs": ["mkfs.btrfs", "-q", "-f"],
}
IMAGE_SIZE = 8 << 30


def enter_sandbox(argv):
	"""Run this program again inside its own namespaces; does not return outside."""
	if os.environ.get("LAMINA_CONFORM_ROOT"):
		return os.environ["LAMINA_CONFORM_ROOT"]
	if os.geteuid() != 0:
		sys.exit("conform: needs root, for mounts and loop devices")
	root = tempfile.mkdtemp(prefix="lamina-conform.")
	env = dict(os.environ, LAMINA_CONFORM_ROOT=root, PYTHONDONTWRITEBYTECODE="1")
	cmd = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork",
		"--kill-child", "--mount-proc", sys.executable] + argv
	child = subprocess.Popen(cmd, env=env)

	def forward(signo, _frame):
		child.kill()
		sys.exit(128 + signo)
	for s in (signal.SIGTERM, signal.SIGHUP):
		signal.signal(s, forward)
	try:
		rc = child.wait()
	except KeyboardInterrupt:
		child.kill()
		rc = 130
	finally:
		child.wait()
		os.rmdir(root)
	sys.exit(rc if rc >= 0 else 128 - rc)


def make_images(root, names):
	"""Mount ROOT/fs/<name> for each name: loop images, which themselves lie in memory."""
	sysc.mount("conform", root, "tmpfs", 0, "size=16G,mode=755")
	for d in ("fs", "run"):
		os.mkdir(os.path.join(root, d))
	os.umask(0o022)
	# /dev/fuse for everybody, as udev makes it; a machine without udev keeps it from users
	node = os.path.join(root, "fuse")
	os.mknod(node, stat.S_IFCHR | 0o666, os.makedev(10, 229))
	os.chmod(node, 0o666)
	sysc.mount(node, "/dev/fuse", None, sysc.MS_BIND)
	for name in names:
		target = os.path.join(root, "fs", name)
		os.mkdir(target)
		if name == "tmpfs":
			sysc.mount("conform", target, "tmpfs", 0, "size=8G,mode=755,huge=never")
			continue
		mount_image(name, os.path.join(root, name + ".img"), target, IMAGE_SIZE)


def mount_image(fstype, image, target, size):
	"""Make an image of SIZE bytes and mount it."""
	with open(image, "wb") as f:
		f.truncate(size)
	extra = ["-m", "single"] if fstype == "btrfs" and size < 1 << 30 else []
	subprocess.run(MKFS[fstype] + extra + [image], check=True, stdout=subprocess.DEVNULL)
	subprocess.run(["mount", "-o", "loop", image, target], check=True)


def needed_images(configs):
	out = set()
	for c in configs:
		out.add(CONFIGS[c][0])
		out.update(CONFIGS[c][1])
	return [n for n in FS_NAMES if n in out]


def mounts_below(prefix):
	"""(mountpoint, major:minor, type) of mounts at or below PREFIX, the latest first."""
	out = []
	with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as f:
		for line in f:
			w = line.split()
			point = w[4].replace("\\040", " ").replace("\\134", "\\")
			if point == prefix or point.startswith(prefix + "/"):
				out.append((point, w[2], w[w.index("-") + 1]))
	return out[::-1]


def servers_of(mountpoint):
	"""Process ids of programs that were started with this mountpoint."""
	out = []
	want = os.fsencode(mountpoint)
	for pid in os.listdir("/proc"):
		if not pid.isdigit() or int(pid) == os.getpid():
			continue
		try:
			with open("/proc/%s/cmdline" % pid, "rb") as f:
				if want in f.read().split(b"\0"):
					out.append(int(pid))
		except OSError:
			pass
	return out


def wait_servers(mountpoint, seconds=10.0):
	"""Wait until no server of this mountpoint is left; False if one stays."""
	end = time.monotonic() + seconds
	pause = 0.001
	while servers_of(mountpoint):
		if time.monotonic() > end:
			return False
		time.sleep(pause)
		pause = min(pause * 2, 0.05)
	return True


def unmount_soon(mnt, seconds=10.0):
	"""Unmount; tries for a while when busy: what a process had open goes after its command line."""
	end = time.monotonic() + seconds
	while True:
		try:
			sysc.umount(mnt)
			return
		except OSError as e:
			if sysc.ename(e) != "EBUSY" or time.monotonic() > end:
				raise
			time.sleep(0.01)


def kill_servers(mountpoint):
	# A supervisor that is met after its worker may have started another one.
	for _ in range(3):
		for pid in sorted(servers_of(mountpoint)):
			try:
				os.kill(pid, signal.SIGKILL)
			except ProcessLookupError:
				pass
	return wait_servers(mountpoint)


def force_clean(prefix):
	"""Get rid of every mount below PREFIX, of servers that hang too."""
	for point, dev, fstype in mounts_below(prefix):
		if fstype.startswith("fuse"):
			minor = dev.split(":")[1]
			try:
				with open("/sys/fs/fuse/connections/%s/abort" % minor, "w") as f:
					f.write("1")
			except OSError:
				pass
			kill_servers(point)
		try:
			sysc.umount(point, sysc.MNT_DETACH)
		except OSError:
			pass


class MountError(Exception):
	"""A mount was refused; the text is what the program said."""


class Place:
	"""Where one side (the kernel's or the program's) of one case has its layers and mount."""

	def __init__(self, root, config, ident, side, n_lower):
		upper_fs, lower_fs = CONFIGS[config]
		self.config = config
		self.dir = os.path.join(root, "run", ident, side)
		self.mnt = os.path.join(self.dir, "m")
		self.areas = []
		os.makedirs(self.mnt)
		self.lower = []
		for i in range(n_lower):
			fs = lower_fs[i % len(lower_fs)]
			self.lower.append(self._area(root, fs, ident, side, "l%d" % (i + 1)))
		self.upper = self._area(root, upper_fs, ident, side, "u")
		self.work = self._area(root, upper_fs, ident, side, "w")
		self.extra = self._area(root, upper_fs, ident, side, "x")

	def _area(self, root, fs, ident, side, name):
		base = os.path.join(root, "fs", fs, ident, side)
		real = os.path.join(base, name)
		os.makedirs(real)
		os.symlink(real, os.path.join(self.dir, name))
		if base not in self.areas:
			self.areas.append(base)
		return real

	def remove(self):
		force_clean(self.dir)
		for a in self.areas + [self.dir]:
			remove_tree(a)


def remove_tree(path):
	"""Delete a tree of any depth, with immutable files in it."""
	for m in mounts_below(path):
		sysc.umount(m[0], sysc.MNT_DETACH)
	r = subprocess.run(["rm", "-rf", path], stderr=subprocess.DEVNULL)
	if r.returncode:
		subprocess.run(["chattr", "-R", "-f", "-i", "-a", path],
			stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
		shutil.rmtree(path, ignore_errors=True)


# Where no filesystem has file handles the kernel has no index.
NO_HANDLES = "name_to_handle" in os.environ.get("LAMINA_WITHOUT", "").split()
KERNEL_DEFAULTS = {
	"index": "off" if NO_HANDLES else "on", "redirect_dir": "on", "metacopy": "off", "nfs_export": "off",
}


def kernel_options(opts, config):
	"""The kernel's own defaults replaced by those of Lamina, then what the case asks for."""
	asked = dict(o.split("=", 1) if "=" in o else (o, None) for o in opts if o)
	if "userxattr" in asked:
		out = {}
	else:
		out = dict(KERNEL_DEFAULTS)
		out["xino"] = "on" if config.startswith("mixed") else "auto"
		if asked.get("metacopy") == "on" or asked.get("nfs_export") == "on":
			out.pop("metacopy")
			out.pop("nfs_export")
	out.update(asked)
	return [k if v is None else k + "=" + v for k, v in out.items()]


def check_layers(program, place, layers, opts):
	"""The kinds of findings of `lamina check`, and what it said."""
	cmd = ["lamina", "check", "--json", "-o", ",".join(layers + list(opts))]
	r = subprocess.run(cmd, executable=program, cwd=place.dir, stdin=subprocess.DEVNULL,
		stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300, check=False)
	said = (r.stdout + r.stderr).decode(errors="replace").strip()
	if r.returncode not in (0, 4):
		return {"exit status %d" % r.returncode}, said
	found = json.loads(r.stdout)["findings"]
	text = "; ".join("%s %s: %s" % (f["place"], f["path"], f["what"]) for f in found)
	return {f["kind"] for f in found}, text


class Driver:
	"""How one of the two mounts a stack."""

	def __init__(self, program):
		self.program = program
		self.is_kernel = program == "kernel"

	def mount(self, place, layers, opts, mnt):
		"""LAYERS: lowerdir=, upperdir=, workdir=, with names relative to the place."""
		if self.is_kernel:
			self._mount_kernel(place, layers, opts, mnt)
		else:
			self._mount_program(place, layers, opts, mnt)

	def _mount_kernel(self, place, layers, opts, mnt):
		flags = sysc.MS_RDONLY if "ro" in opts else 0
		rest = [o for o in opts if o not in ("ro", "rw")]
		if not any(l.startswith("upperdir=") for l in layers):
			rest = [o for o in rest if not o.startswith(("index", "nfs_export"))]
			named = rest
		else:
			named = rest
		data = ",".join(layers + kernel_options(named, place.config))
		os.chdir(place.dir)
		try:
			sysc.mount("overlay", mnt, "overlay", flags, data)
		except OSError as e:
			raise MountError(sysc.ename(e)) from e
		finally:
			os.chdir("/")

	def _mount_program(self, place, layers, opts, mnt):
		cmd = [self.program, "-o", ",".join(layers + list(opts)), mnt]
		with tempfile.TemporaryFile() as err:
			try:
				rc = subprocess.run(cmd, cwd=place.dir, stdin=subprocess.DEVNULL,
					stdout=err, stderr=err, timeout=20).returncode
			except subprocess.TimeoutExpired as e:
				raise MountError("mount did not end in 20 s") from e
			err.seek(0)
			said = err.read().decode(errors="replace").strip()
		if rc:
			raise MountError(said or "exit code %d and no message" % rc)
		if not mounts_below(mnt):
			raise MountError("exit code 0, but nothing is mounted: " + said)

	def unmount(self, mnt):
		"""Unmount and wait until the server is gone."""
		unmount_soon(mnt)
		if not self.is_kernel and not wait_servers(mnt):
			raise MountError("the server did not end after the unmount")
