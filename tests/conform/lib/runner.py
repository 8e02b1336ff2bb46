# SPDX-License-Identifier: GPL-2.0-or-later
"""Cases: how one is declared, its two runs, the comparison, and the report."""
import fnmatch
import os
import signal
import sys
import time
import traceback

from . import layers as lay
from . import look, world
from .ops import Ops

CASES = []
ALL_FS = ("ext4", "xfs", "btrfs", "tmpfs", "mixed")


class Case:
	"""One scripted case.

	lower	list of layers, each a list of items; the first is the topmost
	upper	what upper holds at the start
	opts	mount options for both sides
	fs	configurations it runs on
	prepare	called with the Place before the mount; may craft what items cannot say
	mount	whether the stack is mounted before the function runs
	tree	compare the trees seen at the end and cross-mount
	bytes	compare what upper and the index hold
	ignore	patterns of paths whose bytes in upper are not compared
	diverges  the name of the meant difference that the case asserts
	no_upper  a stack of lowers only
	dirty	lower layers are changed by the case itself
	leaves	kinds of findings that `lamina check` may have afterwards: what is wrong from the
		start, or is meant to be left so; all others are mistakes
	"""

	def __init__(self, fn, group, **kw):
		self.fn = fn
		self.name = group + "." + fn.__name__
		self.lower = kw.pop("lower", [[]])
		self.upper = kw.pop("upper", [])
		self.opts = kw.pop("opts", [])
		self.fs = kw.pop("fs", ALL_FS)
		self.prepare = kw.pop("prepare", None)
		self.mount = kw.pop("mount", True)
		self.tree = kw.pop("tree", True)
		self.bytes = kw.pop("bytes", True)
		self.ignore = kw.pop("ignore", ())
		self.diverges = kw.pop("diverges", None)
		self.no_upper = kw.pop("no_upper", False)
		self.dirty = kw.pop("dirty", False)
		self.leaves = frozenset(kw.pop("leaves", ()))
		self.timeout = kw.pop("timeout", 60)
		self.lowerdir = kw.pop("lowerdir", None)
		if kw:
			raise TypeError("case %s: unknown %s" % (self.name, ", ".join(kw)))

	def layer_options(self):
		lower = self.lowerdir or ":".join("l%d" % (i + 1) for i in range(len(self.lower)))
		out = ["lowerdir=" + lower]
		if not self.no_upper:
			out += ["upperdir=u", "workdir=w"]
		return out


def case(**kw):
	"""Declare a case; the group is the name of the file without `cases_`."""
	def wrap(fn):
		group = fn.__module__.split(".")[-1].replace("cases_", "")
		CASES.append(Case(fn, group, **kw))
		return fn
	return wrap


class Side:
	"""One side's run of a case and all that was seen."""

	def __init__(self, c, config, root, ident, name, driver):
		self.case, self.driver = c, driver
		self.place = world.Place(root, config, ident, name, max(len(c.lower), 1))
		self.ops = None
		self.tree, self.upper, self.unmarked = {}, {}, set()

	def build(self):
		for path, items in zip(self.place.lower, self.case.lower):
			lay.build(path, items)
		lay.build(self.place.upper, self.case.upper)
		if self.case.prepare:
			self.case.prepare(self.place)

	def run(self):
		c, p = self.case, self.place
		before = None if c.dirty else [look.layer_print(l) for l in p.lower]
		self.ops = o = Ops(self.driver.program, p, self.driver, c.layer_options(),
			list(c.opts))
		try:
			if c.mount:
				o.start()
			c.fn(o)
			if c.tree and o.root >= 0:
				self.tree = look.tree(p.mnt)
		finally:
			o.stop()
		if before is not None:
			for i, old in enumerate(before):
				d = first_difference(old, look.layer_print(p.lower[i]))
				if d:
					o.problems.append("lower %d was written: %s" % (i + 1, d))
		if not c.no_upper and c.bytes:
			self.upper = look.upper(p, look.Handles(p))
			self.unmarked = look.missing_impure(p)

	def check(self, program):
		"""What `lamina check` has to say of what this side left, or None."""
		kinds, said = world.check_layers(program, self.place, self.ops.layers, self.ops.opts)
		wrong = kinds - self.case.leaves
		return "%s in %s" % (", ".join(sorted(wrong)), said) if wrong else None

	def cross(self, other):
		"""The tree that the other side's driver shows of what this side left."""
		o = Ops(other.program, self.place, other, self.ops.layers, self.ops.opts)
		try:
			o.start()
			return look.tree(self.place.mnt)
		finally:
			o.stop()


def first_difference(a, b, ignore=()):
	"""One line about the first key where two mappings differ, or None."""
	for key in sorted(set(a) | set(b)):
		if any(fnmatch.fnmatchcase(key, pat) for pat in ignore):
			continue
		x, y = a.get(key, "absent"), b.get(key, "absent")
		if x != y:
			return "%s: %s | %s" % (key, x, y)
	return None


def short(value):
	text = str(value)
	return text if len(text) < 300 else text[:300] + "..."


def compare_records(a, b):
	for i, (x, y) in enumerate(zip(a, b)):
		if x[:2] != y[:2]:
			return "step %d: the runs part: %s%s | %s%s" % (i, x[0], x[1], y[0], y[1])
		if x[2] != y[2]:
			if isinstance(x[2], dict) and isinstance(y[2], dict):
				return "step %d: %s%s: %s" % (i, x[0], x[1],
					short(first_difference(x[2], y[2])))
			return "step %d: %s%s: kernel %s | program %s" % (
				i, x[0], x[1], short(x[2]), short(y[2]))
	if len(a) != len(b):
		return "one run has %d steps, the other %d" % (len(a), len(b))
	return None


def compare(c, k, p):
	"""The first difference of two runs, or None."""
	for side, who in ((k, "kernel"), (p, "program")):
		if side.ops.problems:
			return "%s: %s" % (who, short(side.ops.problems[0]))
	if c.diverges and not p.ops.musts and not p.ops.is_kernel:
		return "declares %s but demands nothing of the program" % c.diverges
	d = compare_records(k.ops.rec, p.ops.rec)
	if d:
		return d
	if c.tree:
		d = first_difference(k.tree, p.tree)
		if d:
			return "tree at the end: " + short(d)
	if c.bytes and not c.no_upper:
		d = first_difference(k.upper, p.upper, c.ignore)
		if d:
			return "bytes in upper: " + short(d)
		if p.unmarked - k.unmarked:
			return "bytes in upper: no impure mark on " + ", ".join(
				sorted(p.unmarked - k.unmarked))
	return None


def check_layers(k, p):
	"""The first thing that `lamina check` finds in what either side left, or None."""
	if p.driver.is_kernel:
		return None
	for side, who in ((k, "kernel"), (p, "program")):
		d = side.check(p.driver.program)
		if d:
			return "check of what the %s left: %s" % (who, short(d))
	return None


def cross_mount(c, k, p):
	if not c.tree or c.diverges or not k.tree:
		return None
	d = first_difference(k.tree, k.cross(p.driver))
	if d:
		return "program on what the kernel left: " + short(d)
	d = first_difference(p.tree, p.cross(k.driver))
	if d:
		return "kernel on what the program left: " + short(d)
	return None


def show(c, config, sides):
	"""All that was recorded, for somebody who writes or repairs a case."""
	for s in sides:
		print("---- %s[%s] %s" % (c.name, config, s.driver.program))
		for op, args, res in s.ops.rec if s.ops else ():
			print("%s%s = %s" % (op, args, res))
		for key, value in sorted(s.upper.items()):
			print("\t%s: %s" % (key, value))
		print("\tnot marked impure: " + " ".join(sorted(s.unmarked)), flush=True)


def run_case(c, config, root, ident, program, verbose=False):
	"""Both runs of one case; None if all is equal, else what is not."""
	kernel = world.Driver("kernel")
	sides = []
	step = "set up"
	try:
		for name, driver in (("k", kernel), ("p", world.Driver(program))):
			side = Side(c, config, root, ident, name, driver)
			sides.append(side)
			step = "building layers"
			side.build()
			step = "running on " + ("the kernel" if name == "k" else "the program")
			side.run()
		step = "comparing"
		d = compare(c, *sides)
		if d is None:
			step = "checking layers"
			d = check_layers(*sides)
		if d is None:
			step = "cross-mounting"
			d = cross_mount(c, *sides)
		return d
	except world.MountError as e:
		return "%s: mount refused: %s" % (step, e)
	except Exception:	# whatever a case does, it is a failure of that case alone
		tb = traceback.format_exc().strip().splitlines()
		where = [l.strip() for l in tb if "cases_" in l or "conform/" in l]
		return "%s: %s (%s)" % (step, tb[-1], where[-1] if where else "?")
	finally:
		if verbose:
			show(c, config, sides)
		for s in sides:
			s.place.remove()


class Runner:
	"""Does jobs in children, some at a time, each with a time limit.

	A job has a name, a timeout in seconds, and run(ident), which gives None or what is wrong;
	ident is a directory name that nobody else uses.
	"""

	def __init__(self, root, parallel):
		self.root, self.parallel = root, parallel
		self.running = {}
		self.took = []
		self.serial = 0

	def go(self, jobs):
		todo = list(jobs)[::-1]
		while todo or self.running:
			while todo and len(self.running) < self.parallel:
				self._launch(todo.pop())
			self._reap()

	def report(self, job, said):
		raise NotImplementedError

	def _launch(self, job):
		self.serial += 1
		ident = "c%d" % self.serial
		rfd, wfd = os.pipe()
		pid = os.fork()
		if pid == 0:
			os.close(rfd)
			os.setpgid(0, 0)
			said = job.run(ident)
			os.write(wfd, (said or "").encode("utf-8", "replace")[:4000])
			os._exit(1 if said else 0)
		os.close(wfd)
		self.running[pid] = (job, ident, rfd, time.monotonic())

	def _reap(self):
		try:
			pid, status = os.waitpid(-1, os.WNOHANG)
		except ChildProcessError:
			pid, status = 0, 0
		if pid in self.running:
			job, ident, rfd, t0 = self.running.pop(pid)
			self.took.append((time.monotonic() - t0, job.name))
			said = os.read(rfd, 8192).decode("utf-8", "replace")
			os.close(rfd)
			if status and not said:
				said = "the job's own process ended with status %d" % status
			self.report(job, said)
		elif pid == 0:
			self._time_out()
			time.sleep(0.005)

	def _time_out(self):
		now = time.monotonic()
		for pid, (job, ident, rfd, t0) in list(self.running.items()):
			if now - t0 < job.timeout:
				continue
			del self.running[pid]
			os.killpg(pid, signal.SIGKILL)
			world.force_clean(os.path.join(self.root, "run", ident))
			os.waitpid(pid, 0)
			os.close(rfd)
			for fs in os.listdir(os.path.join(self.root, "fs")):
				world.remove_tree(os.path.join(self.root, "fs", fs, ident))
			self.report(job, "not done after %d s" % job.timeout)


class CaseJob:
	"""One case on one configuration."""

	def __init__(self, c, config, root, program, verbose):
		self.case, self.config, self.root = c, config, root
		self.program, self.verbose = program, verbose
		self.name = "%s[%s]" % (c.name, config)
		self.timeout = c.timeout

	def run(self, ident):
		return run_case(self.case, self.config, self.root, ident, self.program,
			self.verbose)


class CaseRunner(Runner):
	"""Prints a line for each case, and a sum."""

	def __init__(self, root, parallel):
		super().__init__(root, parallel)
		self.passed = self.failed = 0

	def report(self, job, said):
		if said:
			self.failed += 1
			print("FAIL %s: %s" % (job.name, said.replace("\n", " ")), flush=True)
		else:
			self.passed += 1
			print("ok %s" % job.name, flush=True)

	def finish(self, times):
		if times:
			for t, name in sorted(self.took, reverse=True)[:20]:
				print("%7.2f s  %s" % (t, name))
		print("%d passed, %d failed" % (self.passed, self.failed), flush=True)
		return 1 if self.failed else 0


def select(pattern, configs):
	"""(case, configuration) pairs that are asked for, by one or more shell patterns."""
	patterns = pattern.split() if pattern else ["*"]
	for c in CASES:
		for config in c.fs:
			name = "%s[%s]" % (c.name, config)
			if config in configs and any(fnmatch.fnmatchcase(n, p)
					for n in (name, c.name) for p in patterns):
				yield c, config


def load_cases(directory):
	"""Import every cases_*.py."""
	sys.path.insert(0, directory)
	for name in sorted(os.listdir(directory)):
		if name.startswith("cases_") and name.endswith(".py"):
			__import__(name[:-3])
