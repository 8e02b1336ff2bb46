# SPDX-License-Identifier: GPL-2.0-or-later
"""Hard links: made through the mount, and those of a lower layer, which the index keeps whole."""
import itertools
import os

from lib.layers import C, D, F, H, P, S
from lib.runner import case

TRIO = [F("a", "abc", mode=0o640), H("b", "a"), D("d"), H("d/c", "a"), F("other", "o")]


@case(lower=[[F("f", "f"), S("l", "f"), C("c"), P("p"), D("d")]], upper=[F("u", "u")])
def make(o):
	for p in ("f", "l", "c", "p", "u"):
		o.link(p, "d/" + p)
		o.link(p, "again_" + p)
		o.same(p, "d/" + p, "again_" + p)
	o.link("d", "dd")
	o.link("f", "u")
	o.link("none", "x")
	o.find()


@case(lower=[[F("f", "f"), F("g", "g"), F("d/h", "h")]])
def over_whiteouts(o):
	o.unlink("g")
	o.link("f", "g")
	o.unlink("d/h")
	o.link("f", "d/h")
	o.same("f", "g", "d/h")
	o.write("g", b"G")
	o.read("f")


@case(lower=[TRIO])
def write_through_one(o):
	o.write("a", b"new!")
	for p in ("a", "b", "d/c"):
		o.read(p)
		o.stat(p)
	o.same("a", "b", "d/c")


@case(lower=[TRIO])
def metadata_through_one(o):
	o.chmod("b", 0o600)
	o.stat("a")
	o.stat("d/c")
	o.setx("d/c", "user.x", b"1")
	o.getx("a", "user.x")
	o.chown("a", 5, 6)
	o.utimes("b", 10**18, 10**18)
	o.stat("d/c")


@case(lower=[TRIO])
def after_remount(o):
	o.write("b", b"new!")
	o.remount()
	o.read("a")
	o.same("a", "b", "d/c")
	o.stat("a")
	o.append("d/c", b"++")
	o.remount()
	o.read("b")
	o.unlink("b")
	o.stat("a")
	o.remount()
	o.stat("d/c")
	o.unlink("d/c")
	o.stat("a")
	o.unlink("a")
	o.ls()


@case(lower=[TRIO])
def unlink_before_copy_up(o):
	o.unlink("a")
	o.stat("b")
	o.write("b", b"B")
	o.read("d/c")
	o.unlink("b")
	o.stat("d/c")
	o.remount()
	o.stat("d/c")
	o.unlink("d/c")


@case(lower=[TRIO])
def unlink_after_copy_up(o):
	o.append("a", b"1")
	o.unlink("a")
	o.stat("b")
	o.unlink("b")
	o.stat("d/c")
	o.read("d/c")
	o.unlink("d/c")
	o.ls()


@case(lower=[TRIO])
def new_links_of_lower(o):
	o.link("a", "n1")
	o.stat("b")
	o.link("b", "d/n2")
	o.stat("d/c")
	o.same("a", "b", "d/c", "n1", "d/n2")
	o.unlink("a")
	o.unlink("n1")
	o.stat("b")
	o.remount()
	o.stat("d/n2")


@case(lower=[TRIO])
def rename_over_link(o):
	o.rename("other", "a")
	o.stat("b")
	o.write("b", b"B")
	o.create("x", b"x")
	o.rename("x", "b")
	o.stat("d/c")
	o.read("d/c")


@case(lower=[TRIO])
def rename_links(o):
	o.rename("a", "d/a2")
	o.stat("b")
	o.rename("d", "e")
	o.same("e/a2", "e/c", "b")
	o.write("e/c", b"moved")
	o.read("b")
	o.remount()
	o.read("e/a2")
	o.stat("b")


@case(lower=[[F("x/a", "1"), H("x/b", "x/a")], [F("x/c", "2"), H("y/d", "x/c")]])
def links_in_two_layers(o):
	o.write("x/b", b"B")
	o.write("y/d", b"D")
	o.find()


@case(lower=[[F("first", "1"), D("d"), H("d/second", "first")]],
	upper=[D("d"), F("d/second", "cover")])
def covered_link(o):
	"""A name of a lower file that upper covers does not count."""
	o.stat("first")
	o.write("first", b"W")
	o.stat("first")
	o.read("d/second")
	o.unlink("d/second")
	o.stat("first")


@case(lower=[[S("s1", "t"), H("s2", "s1"), P("p1"), H("p2", "p1"), C("c1"), H("c2", "c1")]])
def links_of_special_files(o):
	for t in "spc":
		o.chown(t + "1", 3, 4)
		o.stat(t + "2")
		o.same(t + "1", t + "2")
		o.unlink(t + "2")
		o.stat(t + "1")


@case(lower=[[x for t in range(6) for x in (F("t%d/a" % t, "x"), H("t%d/b" % t, "t%d/a" % t),
	H("t%d/c" % t, "t%d/a" % t))]])
def every_order(o):
	"""Write through, remove and look, in every order of three names."""
	for t, order in enumerate(itertools.permutations("abc")):
		first, second, third = ("t%d/%s" % (t, n) for n in order)
		o.append(first, b"1")
		o.stat(second)
		o.unlink(second)
		o.append(third, b"3")
		o.read(first)
		o.stat(first)
	o.remount()
	o.find()


@case(lower=[[F("d/f", "x"), H("d/h", "d/f"), H("d/i", "d/f")]], opts=["index=off"])
def broken_links_are_listed_anew(o):
	"""Each ls() compares the numbers of entries and objects."""
	o.ls("d")
	o.chmod("d/f", 0o600)
	o.ls("d")
	o.append("d/h", b"y")
	o.ls("d")
	o.link("d/i", "d/j")
	o.ls("d")


@case(lower=[TRIO], opts=["index=off"], bytes=False)
def without_index(o):
	"""Links break as the kernel's do when there is no index; each name keeps its own data."""
	o.write("a", b"A")
	o.read("a")


@case(lower=[TRIO])
def open_link_removed(o):
	fd = o.open("a", os.O_RDWR)
	o.unlink("b")
	o.unlink("d/c")
	o.fpwrite(fd, b"kept")
	o.read("a")
	o.fstat(fd)
	o.unlink("a")
	o.fpread(fd)
	o.close(fd)
	o.ls()


@case(lower=[[F("b/f", "x"), H("b/h", "b/f"), F("a/x", "x"), F("c/y", "y")]])
def rename_after_partner_is_removed(o):
	"""One of two lower names goes, in a directory that has been worked in; the other moves."""
	o.create("b/n1")
	o.create("c/n3")
	o.rename("a/x", "b/n4")
	o.unlink("c/n3")
	o.unlink("b/f")
	o.rename("b/h", "b/n5")
	o.stat("b/n5")
	o.ls("b")
	o.write("b/n5", b"moved")
	o.remount()
	o.read("b/n5")
	o.stat("b/n5")


@case(lower=[[F("b/f", "x"), H("b/h", "b/f")], [F("b/k", "k"), H("c/k2", "b/k")]])
def exchange_links(o):
	o.ls("b")
	o.unlink("b/f")
	o.create("b/new", b"n")
	o.rename("b/h", "c/k2", 2)
	o.stat("b/h")
	o.stat("c/k2")
	o.same("b/k", "b/h")
	o.rename("b/k", "b/h", 2)
	o.find()
