# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests of taking over share: a mount, who serves it, and loads that check themselves.

A load is a method that does one round and raises when something is not as it must be.  None of them
knows when a server ends.
"""
import fcntl
import mmap
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [os.path.join(TOP, "tests", "conform"), os.path.join(TOP, "tests", "nfs")]

from lib import layers, model, sysc, world	# noqa: E402,F401
import patient	# noqa: E402

BUILD = os.environ.get("LAMINA_BUILD", os.path.join(TOP, "build"))
LAMINA = os.environ.get("LAMINA", os.path.join(BUILD, "lamina"))
MOUNT = os.environ.get("LAMINA_MOUNT", os.path.join(BUILD, "lamina-mount"))


class Wrong(Exception):
	"""Something is not as it must be."""


def need(truth, text):
	if not truth:
		raise Wrong(text)


def children(pid):
	"""The processes whose parent is PID."""
	try:
		with open("/proc/%d/task/%d/children" % (pid, pid)) as f:
			return [int(p) for p in f.read().split()]
	except OSError:
		return []


def alive(pid):
	try:
		with open("/proc/%d/stat" % pid) as f:
			return f.read().rsplit(")", 1)[1].split()[0] not in "ZX"
	except OSError:
		return False


class Mount:
	"""A mount, its supervisor and its workers."""

	def __init__(self, place, options=(), program=MOUNT):
		self.place, self.options, self.mnt = place, list(options), place.mnt
		self.driver = world.Driver(program)
		self.supervisor = 0
		self.nfs_port = 0

	def up(self, lowers=("l1", "l2"), nfs=False):
		self.layers = ["lowerdir=" + ":".join(lowers), "upperdir=u", "workdir=w"]
		if nfs:
			self._up_with_nfs()
		else:
			self.driver.mount(self.place, self.layers, self.options, self.mnt)
		self.supervisor = min(world.servers_of(self.mnt))

	def _up_with_nfs(self):
		"""The same tree is served by NFS too."""
		with socket.create_server(("127.0.0.1", 0)) as s:
			self.nfs_port = s.getsockname()[1]
		run([LAMINA, "mount", "--nfs", "127.0.0.1:%d" % self.nfs_port, "--nfs-allow",
			"127.0.0.0/8,no_root_squash", "-o", ",".join(self.layers + self.options),
			self.mnt], cwd=self.place.dir)

	def check(self):
		"""Nothing is to be said of the layers."""
		kinds, said = world.check_layers(LAMINA, self.place, self.layers, self.options)
		need(not kinds, "lamina check: " + said)

	def down(self):
		self.driver.unmount(self.mnt)

	def workers(self):
		return [p for p in children(self.supervisor) if alive(p)]

	def worker(self, seconds=20.0):
		"""The process that serves; waits for one."""
		end = time.monotonic() + seconds
		while time.monotonic() < end:
			have = self.workers()
			if have:
				return have[0]
			need(alive(self.supervisor), "the supervisor is gone")
			time.sleep(0.0005)
		raise Wrong("no worker after %g s" % seconds)

	def orphans(self):
		return os.listdir(os.path.join(self.place.work, "lamina", "orphans"))

	def await_no_orphans(self, seconds=40.0):
		end = time.monotonic() + seconds
		while self.orphans():
			need(time.monotonic() < end, "orphans stay: %s" % self.orphans())
			time.sleep(0.05)


def kill(pid):
	try:
		os.kill(pid, signal.SIGKILL)
	except ProcessLookupError:
		pass


def waiting(mount):
	"""Where the threads of this process and of the mount's are, for who looks for the cause."""
	out = []
	for pid in [os.getpid(), mount.supervisor] + mount.workers():
		try:
			tids = sorted(os.listdir("/proc/%d/task" % pid))
		except OSError as e:
			tids = []
			out.append("  %d: %s" % (pid, e))
		for tid in tids:
			try:
				with open("/proc/%d/task/%s/stack" % (pid, tid)) as f:
					where = [line.split()[1].split("+")[0] for line in f]
			except OSError as e:
				where = [str(e)]
			out.append("  %d/%s: %s" % (pid, tid, " < ".join(where[:7])))
	return "\n".join(out)


LONG = 3.0	# seconds; of a pause whose cause is to be looked for


class Probe(threading.Thread):
	"""Asks the server without end, and notes how long the answers take.  Of a long pause it is told meanwhile
	where everything waits."""

	def __init__(self, mount):
		super().__init__(daemon=True)
		self.mount, self.mnt = mount, mount.mnt
		self.stop, self.times, self.problem, self.since = False, [], None, None

	def start(self):
		super().start()
		threading.Thread(target=self._watch, daemon=True).start()

	def _watch(self):
		told = None
		while not self.stop:
			time.sleep(0.5)
			since = self.since
			if since and since != told and time.monotonic() - since > LONG:
				told = since
				print("no answer for %g s:\n%s" % (LONG, waiting(self.mount)), flush=True)

	def run(self):
		while not self.stop:
			begin = self.since = time.monotonic()
			try:
				os.statvfs(self.mnt)
			except OSError as e:
				self.problem = "statfs: %s" % e
				return
			self.since = None
			self.times.append(time.monotonic() - begin)
			time.sleep(0.0005)

	def pauses(self, n):
		"""The N longest, in milliseconds: median, 99 %, longest."""
		t = sorted(self.times)[-n:] if n else [0]
		return tuple(1000 * t[min(len(t) - 1, int(len(t) * q))] for q in (0.5, 0.99, 1))


# ---- Loads ----

class Loads:
	"""One round each of everything that must not notice; DIR is theirs alone."""

	def __init__(self, path, seed, mount):
		self.dir, self.mount = path, mount
		self.rng = random.Random(seed)
		self.n = 0
		os.makedirs(path, exist_ok=True)

	def new(self, what):
		self.n += 1
		return os.path.join(self.dir, "%s%d" % (what, self.n))

	def names(self):
		"""Each of these succeeds once, and may not be done twice or not at all."""
		a, b = self.new("a"), self.new("b")
		os.mkdir(a, 0o700)
		fd = os.open(a + "/x", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
		os.write(fd, b"x")
		os.close(fd)
		os.link(a + "/x", a + "/y")
		os.symlink("to", a + "/s")
		os.mkfifo(a + "/p")
		os.rename(a + "/y", a + "/z")
		need(os.stat(a + "/x").st_nlink == 2, "two links")
		sysc.renameat2(sysc.AT_FDCWD, a + "/p", sysc.AT_FDCWD, a + "/z",
			sysc.RENAME_EXCHANGE)
		need(os.path.isfile(a + "/p") and not os.path.isfile(a + "/z"), "exchanged")
		os.setxattr(a + "/x", "user.a", b"1", os.XATTR_CREATE)
		os.setxattr(a + "/x", "user.a", b"2", os.XATTR_REPLACE)
		need(os.getxattr(a + "/x", "user.a") == b"2", "the attribute")
		os.removexattr(a + "/x", "user.a")
		os.rename(a, b)
		need(sorted(os.listdir(b)) == ["p", "s", "x", "z"], "names: %s" % os.listdir(b))
		for name in ("p", "s", "x", "z"):
			os.unlink(b + "/" + name)
		os.rmdir(b)

	def orphan(self):
		"""Files without a name keep what they hold."""
		path = self.new("o")
		data = self.rng.randbytes(20000)
		fd = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
		fd2 = os.open(self.dir, os.O_TMPFILE | os.O_RDWR, 0o600)
		try:
			os.write(fd, data)
			os.write(fd2, data)
			os.unlink(path)
			for i in range(5):
				time.sleep(self.rng.random() * 0.02)
				need(os.pread(fd, 30000, 0) == data, "what an unlinked file holds")
				os.fsync(fd2)
				need(os.pread(fd2, 30000, 0) == data, "what a nameless file holds")
				data = bytes([i]) + data[1:]
				os.pwrite(fd, data[:1], 0)
				os.pwrite(fd2, data[:1], 0)
			need(os.fstat(fd).st_nlink == 0, "links of an unlinked file")
		finally:
			os.close(fd)
			os.close(fd2)

	def nameless(self):
		"""A file without a name gets one, and goes on under it."""
		path = self.new("n")
		data = self.rng.randbytes(self.rng.choice((10, 5000, 70000)))
		fd = os.open(self.dir, os.O_TMPFILE | os.O_RDWR, 0o640)
		try:
			need(os.write(fd, data) == len(data), "a short write")
			sysc.linkat(fd, "", sysc.AT_FDCWD, path, sysc.AT_EMPTY_PATH)
			need(os.fstat(fd).st_nlink == 1, "links of a named file")
			with open(path, "rb") as f:
				need(os.path.sameopenfile(fd, f.fileno()), "one file")
				need(f.read() == data, "what a named file holds")
			os.unlink(path)
			need(os.pread(fd, len(data) + 1, 0) == data, "what it holds without the name")
		finally:
			os.close(fd)

	def replaced(self):
		"""A file that another one was renamed over, and a directory that was removed, while open."""
		a, b, d = self.new("r"), self.new("r"), self.new("d")
		for path in (a, b):
			with open(path, "w") as f:
				f.write(path)
		os.mkdir(d)
		dirfd = os.open(d, os.O_RDONLY | os.O_DIRECTORY)
		fd = os.open(b, os.O_RDONLY)
		try:
			os.rename(a, b)
			os.rmdir(d)
			time.sleep(self.rng.random() * 0.05)
			need(os.pread(fd, 1000, 0).decode() == b, "what a replaced file holds")
			need(os.listdir(dirfd) == [], "a removed directory")
			with open(b) as f:
				need(f.read() == a, "what replaced it")
			os.unlink(b)
		finally:
			os.close(fd)
			os.close(dirfd)

	def handles(self):
		"""What the kernel's NFS server does: files are found by handles, whatever their names."""
		path = self.new("h")
		data = bytearray(self.rng.randbytes(9000))
		with open(path, "wb") as f:
			f.write(data)
		handle = sysc.name_to_handle(sysc.AT_FDCWD, path)
		top = os.open(self.dir, os.O_RDONLY | os.O_DIRECTORY)
		try:
			parent = sysc.name_to_handle(top, ".")
			for i in range(8):
				fd = sysc.open_by_handle(top, handle, os.O_RDWR)
				need(os.pread(fd, 10000, 0) == data, "what a handle leads to")
				os.pwrite(fd, bytes([i]), i)
				data[i] = i
				os.close(fd)
				other = self.new("h")
				os.rename(path, other)
				path = other
				fd = sysc.open_by_handle(top, parent, os.O_RDONLY | os.O_DIRECTORY)
				need(os.path.basename(path) in os.listdir(fd), "a name by a handle")
				os.close(fd)
				time.sleep(self.rng.random() * 0.01)
			need(sysc.name_to_handle(sysc.AT_FDCWD, path) == handle, "one handle")
		finally:
			os.close(top)
		os.unlink(path)

	def nfs(self):
		"""A client of the built-in server, in a connection of its own."""
		self.n += 1
		with patient.Patient(self.mount.nfs_port) as c:
			patient.one_round(c, c.walk(os.path.relpath(self.dir, self.mount.mnt)), self.n)

	def mapping(self):
		"""Shared mappings, read and written, and written back."""
		path = self.new("m")
		size = 64 * 4096
		want = bytearray(size)
		with open(path, "wb") as f:
			f.truncate(size)
		with open(path, "r+b") as f, mmap.mmap(f.fileno(), size) as m:
			for _ in range(60):
				at = self.rng.randrange(size - 100)
				data = self.rng.randbytes(100)
				m[at:at + 100] = want[at:at + 100] = data
				if self.rng.random() < 0.1:
					m.flush()
				if self.rng.random() < 0.2:
					time.sleep(0.002)
			need(m[:] == bytes(want), "a mapping")
			m.flush()
		with open(path, "rb") as f:
			need(f.read() == bytes(want), "what was written by a mapping")
		os.unlink(path)

	def writes(self):
		"""Random writes, appends and truncations, each read back."""
		path = self.new("w")
		want = bytearray()
		with open(path, "w+b", buffering=0) as f, open(path, "ab", buffering=0) as tail:
			for _ in range(40):
				how = self.rng.random()
				data = self.rng.randbytes(self.rng.choice((1, 3000, 70000)))
				if how < 0.3:
					need(tail.write(data) == len(data), "a short append")
					want.extend(data)
				elif how < 0.4:
					size = self.rng.randrange(len(want) + 1)
					f.truncate(size)
					del want[size:]
				else:
					at = self.rng.randrange(len(want) + 1)
					need(os.pwrite(f.fileno(), data, at) == len(data),
						"a short write")
					want[at:at + len(data)] = data
				if self.rng.random() < 0.2:
					need(os.pread(f.fileno(), len(want) + 1, 0) == bytes(want),
						"what was written")
		with open(path, "rb") as f:
			need(f.read() == bytes(want), "what was written, at the end")
		os.unlink(path)

	def locks(self):
		"""Locks are held for as long as their holder says."""
		path = self.new("l")
		with open(path, "w+") as f, open(path, "w+") as g:
			fcntl.flock(f, fcntl.LOCK_EX)
			fcntl.lockf(f, fcntl.LOCK_EX, 10, 0)
			for _ in range(5):
				time.sleep(self.rng.random() * 0.02)
				os.fsync(f.fileno())
				try:
					fcntl.flock(g, fcntl.LOCK_EX | fcntl.LOCK_NB)
					raise Wrong("a lock was lost")
				except BlockingIOError:
					pass
				pid = os.fork()
				if pid == 0:
					try:
						fcntl.lockf(g, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 0)
						os._exit(1)
					except OSError:
						os._exit(0)
				need(os.waitpid(pid, 0)[1] == 0, "a record lock was lost")
		os.unlink(path)

	def stream(self):
		"""A directory read in pieces shows each name once."""
		path = self.new("s")
		os.mkdir(path)
		names = {"name-%d" % i for i in range(400)}
		for name in names:
			os.close(os.open(os.path.join(path, name), os.O_CREAT | os.O_WRONLY))
		fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
		got = []
		try:
			while True:
				some = sysc.getdents(fd, 2048)
				if not some:
					break
				got += [e[0] for e in some]
				time.sleep(self.rng.random() * 0.004)
		finally:
			os.close(fd)
		got = [n for n in got if n not in (".", "..")]
		need(sorted(got) == sorted(names), "a listing of %d names has %d" % (
			len(names), len(got)))
		shutil.rmtree(path)

	def tree(self):
		"""Copies, and a git repository that is cloned and checked."""
		path = self.new("t")
		os.mkdir(path)
		src = os.path.join(path, "src")
		shutil.copytree(os.path.join(TOP, "src", "base"), src)
		run(["diff", "-r", os.path.join(TOP, "src", "base"), src])
		env = dict(os.environ, GIT_AUTHOR_NAME="a", GIT_AUTHOR_EMAIL="a@b",
			GIT_COMMITTER_NAME="a", GIT_COMMITTER_EMAIL="a@b", HOME=path,
			GIT_CONFIG_NOSYSTEM="1")
		run(["git", "init", "-q", src], env)
		run(["git", "-C", src, "add", "-A"], env)
		run(["git", "-C", src, "commit", "-qm", "x"], env)
		run(["git", "clone", "-q", src, path + "/clone"], env)
		run(["git", "-C", path + "/clone", "fsck", "--strict", "--no-progress"], env)
		run(["git", "-C", path + "/clone", "status", "--porcelain"], env)
		shutil.rmtree(path)

	def build(self):
		"""A small program is compiled and run."""
		path = self.new("c")
		os.mkdir(path)
		for i in range(3):
			with open("%s/f%d.c" % (path, i), "w") as f:
				f.write("int f%d(int x) { return x + %d; }\n" % (i, i))
		with open(path + "/main.c", "w") as f:
			f.write("int f0(int); int f1(int); int f2(int);\n"
				"int main(void) { return f0(f1(f2(4))); }\n")
		for i in ("f0", "f1", "f2", "main"):
			run(["cc", "-c", "-o", "%s/%s.o" % (path, i), "%s/%s.c" % (path, i)])
		run(["cc", "-o", path + "/p"] + ["%s/%s.o" % (path, i)
			for i in ("f0", "f1", "f2", "main")])
		need(subprocess.run([path + "/p"]).returncode == 7, "the program that was built")
		shutil.rmtree(path)


def run(argv, env=None, cwd=None):
	r = subprocess.run(argv, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
		stderr=subprocess.STDOUT, text=True, errors="replace")
	need(r.returncode == 0, "%s: status %d: %s" % (" ".join(argv[:3]), r.returncode,
		r.stdout[-300:]))


ALL_LOADS = ("names", "orphan", "nameless", "replaced", "handles", "nfs", "mapping", "writes", "locks",
	"stream", "tree", "build")


class Runner:
	"""Loads in threads until told to end; the problems they found."""

	def __init__(self, mount, seed, which=ALL_LOADS):
		self.stop, self.problems, self.rounds = threading.Event(), [], {}
		self.threads = [threading.Thread(target=self._run, daemon=True, args=(
			Loads("%s/load/%s" % (mount.mnt, w), "%s.%s" % (seed, w), mount), w))
			for w in which if w != "nfs" or mount.nfs_port]

	def _run(self, loads, which):
		while not self.stop.is_set() and not self.problems:
			try:
				getattr(loads, which)()
			except (Wrong, OSError, AssertionError) as e:
				at = ["%s:%d: %s" % (os.path.basename(f.filename), f.lineno, f.line)
					for f in traceback.extract_tb(e.__traceback__)[1:]]
				self.problems.append("%s: %s: %s; %s" % (which, type(e).__name__, e, "; ".join(at)))
				return
			self.rounds[which] = self.rounds.get(which, 0) + 1

	def start(self):
		for t in self.threads:
			t.start()

	def end(self, seconds=120):
		"""Let each finish its round."""
		self.stop.set()
		limit = time.monotonic() + seconds
		for t in self.threads:
			t.join(max(0.1, limit - time.monotonic()))
			if t.is_alive():
				self.problems.append("a load hangs: %s" % t.name)
		return self.problems
