# SPDX-License-Identifier: GPL-2.0-or-later
"""Names: long, odd, deep."""
import os
import subprocess

from lib.layers import D, F
from lib.runner import case

N255 = "n" * 255
UTF = "\u00e4" * 127


@case(lower=[[F(N255, "low"), D("d"), F("d/" + N255, "x")]])
def longest(o):
	o.read(N255)
	o.write(N255, b"up")
	o.unlink("d/" + N255)
	o.ls("d")
	o.create("d/" + N255, b"again")
	o.rename("d/" + N255, "d/" + "m" * 255)
	o.mkdir("d/" + "k" * 255)
	o.symlink("t", "s" * 255)
	o.link("d/" + "m" * 255, "l" * 255)
	o.create(UTF, b"u")
	o.statvfs_namemax()
	o.rename("d", "e" * 255)
	o.ls("e" * 255)


@case(lower=[[F("f", "x"), D("d")]])
def too_long(o):
	n = "n" * 256
	o.stat(n)
	o.create(n)
	o.mkdir(n)
	o.symlink("x", n)
	o.link("f", n)
	o.rename("f", n)
	o.unlink(n)
	o.rmdir(n)
	o.stat("d/" + "n" * 5000)
	o.exists("f/" + n)


ODD = ["with space", "tab\there", "new\nline", "back\\slash", "colon:comma,", "quote'\"", "*?[x]",
	"-rf", " lead", "trail ", "\x01\x7f", os.fsdecode(b"\xff\xfe"), os.fsdecode(b"\xc3"), "...",
	".hidden", "..x", "%s%n", "~", "#1", "#12ab", "\\054", "\\072", "$HOME"]


@case(lower=[[F("low/" + n, n.encode("utf-8", "surrogateescape")) for n in ODD]])
def odd_bytes(o):
	o.ls("low")
	for n in ODD:
		o.read("low/" + n)
		o.create("low/new" + n, b"1")
		o.append("low/" + n, b"2")
		o.mkdir(n)
		o.create(n + "/" + n)
	o.rename("low", "moved: a\nb")
	o.find()
	for n in ODD:
		o.unlink("moved: a\nb/" + n)
	o.ls("moved: a\nb")


@case(lower=[[F("work/f", "x"), F("index/f"), F("lamina/f"), F(".wh", "x"), F("l1/f")]])
def names_that_are_used_elsewhere(o):
	for d in ("work", "index", "lamina", "l1"):
		o.create(d + "/n", b"n")
		o.rename(d, d + "2")
	o.create("#1")
	o.mkdir("#deadbeef")
	o.unlink(".wh")
	o.find()


def _deep(place):
	"""40 nested directories with names of 200 bytes, 8 KB of path; a file at the end."""
	fd = os.open(place.lower[0], os.O_RDONLY)
	for i in range(40):
		name = "%03d" % i + "x" * 197
		os.mkdir(name, dir_fd=fd)
		new = os.open(name, os.O_RDONLY, dir_fd=fd)
		os.close(fd)
		fd = new
	f = os.open("end", os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=fd)
	os.write(f, b"deep")
	os.close(f)
	os.close(fd)


@case(lower=[[]], prepare=_deep, tree=False, bytes=False, dirty=True)
def deeper_than_path_max(o):
	"""Going down step by step, copying up at the bottom, going up again, removing all."""
	fds = [os.open(o.mnt, os.O_RDONLY)]
	for i in range(40):
		fds.append(os.open("%03d" % i + "x" * 197, os.O_RDONLY, dir_fd=fds[-1]))
	last = fds[-1]

	def write():
		f = os.open("end", os.O_WRONLY | os.O_APPEND, dir_fd=last)
		os.write(f, b"er")
		os.close(f)
	o.fd("write", write)

	def read():
		f = os.open("end", os.O_RDONLY, dir_fd=last)
		try:
			return os.read(f, 100)
		finally:
			os.close(f)
	o.fd("read", read)
	o.fd("mkdir", lambda: os.mkdir("n", dir_fd=last))
	o.fd("rename", lambda: os.rename("n", "m", src_dir_fd=last, dst_dir_fd=last))
	o.fd("list", lambda: sorted(os.listdir(last)))
	o.fd("same", lambda: os.stat("..", dir_fd=last).st_ino == os.fstat(fds[-2]).st_ino)
	for fd in fds:
		os.close(fd)
	r = subprocess.run(["rm", "-rf", o.mnt + "/000" + "x" * 197], stderr=subprocess.PIPE)
	o.note("rm", r.returncode)
	o.ls()


@case(lower=[[F("a/" * 60 + "f", "deep")]])
def sixty_levels(o):
	o.append("a/" * 60 + "f", b"er")
	o.rename("a/a", "b")
	o.read("b/" + "a/" * 58 + "f")
	o.rename("b", "a/a")
	o.read("a/" * 60 + "f")


@case(lower=[[F("Case", "1"), F("case", "2")]])
def case_matters(o):
	o.unlink("Case")
	o.read("case")
	o.create("CASE", b"3")
	o.ls()
