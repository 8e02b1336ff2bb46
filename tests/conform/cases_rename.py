# SPDX-License-Identifier: GPL-2.0-or-later
"""Renames of every kind, and the redirects that renamed directories leave."""
import os

from lib.layers import B, C, D, F, H, K, OVL, P, S, W
from lib.runner import case
from lib.sysc import RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT

LOW = [
	F("f", "f"), F("g", "g"), D("d"), F("d/a", "a"), F("d/b", "b"), D("e"), F("e/c", "c"),
	D("empty"), S("l", "f"), C("c"), B("b"), P("p"), K("s"),
]
UP = [F("uf", "uf"), D("ud"), F("ud/x", "x"), D("d"), F("d/up", "up"), D("uempty")]


@case(lower=[LOW], upper=UP)
def files_within_directory(o):
	o.rename("f", "f2")
	o.rename("f2", "f")
	o.rename("f", "g")
	o.rename("uf", "uf2")
	o.rename("uf2", "f")
	o.read("f")
	o.rename("none", "x")
	o.ls()


@case(lower=[LOW], upper=UP)
def files_between_directories(o):
	o.rename("f", "d/f")
	o.rename("d/a", "e/a")
	o.rename("ud/x", "d/x")
	o.rename("d/up", "ud/up")
	o.rename("e/c", "ud/c")
	o.find()


@case(lower=[LOW])
def special_files(o):
	for p in ("l", "c", "b", "p", "s"):
		o.rename(p, "d/" + p)
		o.rename("d/" + p, "e/" + p)
	o.find()


@case(lower=[LOW], upper=UP)
def over_others(o):
	o.rename("f", "d")
	o.rename("d", "f")
	o.rename("d", "e")
	o.rename("d", "empty")
	o.ls("empty")
	o.rename("e", "uempty")
	o.rename("ud", "empty")
	o.rename("f", "f")
	o.rename("f", "l")
	o.find()


@case(lower=[LOW], upper=UP)
def noreplace(o):
	o.rename("f", "g", RENAME_NOREPLACE)
	o.rename("f", "h", RENAME_NOREPLACE)
	o.rename("d", "e", RENAME_NOREPLACE)
	o.rename("d", "d2", RENAME_NOREPLACE)
	o.unlink("g")
	o.rename("h", "g", RENAME_NOREPLACE)
	o.rename("g", "none/x", RENAME_NOREPLACE)
	o.find()


@case(lower=[LOW], upper=UP)
def exchange_files(o):
	o.rename("f", "g", RENAME_EXCHANGE)
	o.rename("f", "uf", RENAME_EXCHANGE)
	o.rename("f", "d/a", RENAME_EXCHANGE)
	o.rename("f", "none", RENAME_EXCHANGE)
	o.find()


@case(lower=[LOW], upper=UP)
def exchange_directories(o):
	o.rename("d", "e", RENAME_EXCHANGE)
	o.ls("d")
	o.ls("e")
	o.rename("ud", "d", RENAME_EXCHANGE)
	o.ls("ud")
	o.rename("f", "e", RENAME_EXCHANGE)
	o.rename("f", "f/x", RENAME_EXCHANGE)
	o.find()


@case(lower=[LOW])
def flags_refused(o):
	o.rename("f", "h", RENAME_WHITEOUT)
	o.rename("f", "h", RENAME_NOREPLACE | RENAME_EXCHANGE)
	o.rename("f", "h", 64)
	o.ls()


@case(lower=[LOW], upper=UP)
def over_whiteouts(o):
	o.unlink("g")
	o.rename("f", "g")
	o.unlink("d/a")
	o.rename("uf", "d/a")
	o.unlink("e/c")
	o.rmdir("e")
	o.rename("ud", "e")
	o.ls("e")
	o.find()


@case(lower=[LOW], upper=[W("f"), W("e"), D("d"), W("d/a")])
def merged_dir_over_whiteout(o):
	o.rename("d", "e")
	o.ls("e")
	o.rename("g", "f")
	o.find()


@case(lower=[LOW], upper=UP)
def merged_directory(o):
	"""A relative redirect in the same parent; the names of both layers go along."""
	o.rename("d", "d2")
	o.ls("d2")
	o.stat("d")
	o.rename("d2", "d3")
	o.create("d3/n", b"n")
	o.unlink("d3/a")
	o.write("d3/b", b"B")
	o.ls("d3")
	o.mkdir("d")
	o.ls("d")


@case(lower=[LOW], upper=UP)
def merged_directory_elsewhere(o):
	"""An absolute redirect in another parent."""
	o.rename("d", "e/d")
	o.ls("e/d")
	o.rename("e", "ud/e")
	o.ls("ud/e/d")
	o.read("ud/e/d/b")
	o.rename("ud/e/d", "back")
	o.ls("back")
	o.find()


@case(lower=[[F("a/b/c/f", "f"), F("a/g", "g")]])
def redirects_below_redirects(o):
	o.rename("a", "z")
	o.rename("z/b", "z/y")
	o.rename("z/y/c", "top")
	o.ls("top")
	o.rename("top", "z/y/inner")
	o.read("z/y/inner/f")
	o.rename("z", "a")
	o.find()


@case(lower=[[F("a/f", "f")], [F("a/g", "g")], [F("a/h", "h")]])
def three_layers_redirected(o):
	o.rename("a", "b")
	o.unlink("b/g")
	o.ls("b")
	o.remount()
	o.ls("b")
	o.rename("b", "a")
	o.ls("a")


@case(lower=[[D("z", x={OVL + "redirect": b"/p/a"}), F("z/t", "t")],
	[D("p"), D("p/a", x={OVL + "redirect": b"old"}), F("p/a/m", "m")],
	[D("p"), D("p/old", x={OVL + "redirect": b"older"}), F("p/old/n", "n")],
	[F("p/older/o", "o"), F("old/wrong", "w"), F("a/wrong", "w"), F("p/a/wrong", "w")]])
def relative_redirect_on_absolute_path(o):
	o.ls("z")
	for f in "tmno":
		o.read("z/" + f)
	o.create("z/new")
	o.remount()
	o.ls("z")


@case(lower=[[D("z", x={OVL + "redirect": b"/p/a/d"}), F("z/t", "t")],
	[D("p", x={OVL + "redirect": b"parent"}), D("p/a", x={OVL + "redirect": b"x"}),
		F("p/a/d/m", "m")],
	[F("parent/x/d/n", "n"), F("x/d/wrong", "w"), F("p/x/d/wrong", "w")]])
def relative_redirects_along_absolute_path(o):
	o.ls("z")
	for f in "tmn":
		o.read("z/" + f)


LONG = "/".join(c * 60 for c in "abcde")


@case(lower=[[F(LONG + "/d/f", "f")]], diverges="long-redirect", tree=False, bytes=False)
def redirect_over_256_bytes(o):
	"""The kernel gives EXDEV, though it would follow such a redirect."""
	with o.apart():
		o.must(o.rename(LONG + "/d", "d") == "ok", "a long absolute redirect is written")
		o.must(o.ls("d") == [("f", "f")], "what is below is seen")
		if not o.is_kernel:
			raw = os.getxattr(o.place.upper + "/d", OVL + "redirect")
			o.must(raw == b"/" + LONG.encode() + b"/d",
				"the redirect is the whole path")
		o.remount()
		o.must(o.read("d/f") == b"f", "and after a remount")


@case(lower=[[F(LONG + "/d/f", "f")]], upper=[D(LONG), W(LONG + "/d"),
	D("moved", x={OVL + "redirect": b"/" + LONG.encode() + b"/d"})])
def long_redirect_followed(o):
	o.ls("moved")
	o.read("moved/f")


@case(lower=[[F("x/f", "f"), F("y/g", "g")]], upper=[
	D("abs", x={OVL + "redirect": b"/x"}), D("rel", x={OVL + "redirect": b"y"}),
	W("x"), W("y"), D("sub"), D("sub/deep", x={OVL + "redirect": b"/x"})], tree=False,
	leaves=("redirect-duplicate",))
def redirects_read(o):
	o.ls("abs")
	o.ls("rel")
	o.read("abs/f")
	o.create("abs/n")


@case(lower=[[D("d", x={OVL + "redirect": b"/old"}), F("d/t", "t")], [F("old/f", "f"),
	F("d/hidden", "h")]])
def redirect_in_lower(o):
	o.ls("d")
	o.read("d/f")
	o.rename("d", "e")
	o.ls("e")


@case(lower=[[F("d/f", "f")]], opts=["redirect_dir=follow"])
def no_redirects_written(o):
	"""redirect_dir=follow: directories with something below do not move."""
	o.rename("d", "e")
	o.mkdir("n")
	o.rename("n", "m")
	o.rename("d/f", "f")


@case(lower=[[F("x/f", "f")]], upper=[D("r", x={OVL + "redirect": b"/x"}), D("plain")],
	opts=["redirect_dir=nofollow"], tree=False)
def no_redirects_followed(o):
	o.exists("r")
	o.exists("plain")
	o.rename("x", "y")


@case(lower=[LOW])
def pure_directory_into_merged(o):
	"""A directory that was never below becomes opaque where something might be."""
	o.mkdir("n")
	o.create("n/f", b"x")
	o.rename("n", "d/n")
	o.mkdir("k")
	o.mkdir("k/in")
	o.rename("k/in", "e/in")
	o.rename("d/n", "k/n")
	o.find()


@case(lower=[LOW])
def dir_over_emptied_merged(o):
	"""A target that holds only whiteouts counts as empty."""
	o.unlink("d/a")
	o.unlink("d/b")
	o.rename("e", "d")
	o.ls("d")
	o.mkdir("n")
	o.unlink("d/c")
	o.rename("n", "d")
	o.ls("d")


@case(lower=[[F("h1", "h"), H("h2", "h1"), D("d"), H("d/h3", "h1")]])
def links_of_one_file(o):
	"""Renaming one link over another does nothing."""
	o.rename("h1", "h2")
	o.stat("h1")
	o.rename("h1", "d/n")
	o.same("d/n", "h2", "d/h3")
	o.stat("h2")
	o.create("x", b"x")
	o.rename("x", "h2")
	o.stat("d/h3")
	o.find()


@case(lower=[[F("a/h1", "h"), H("b/h2", "a/h1"), H("c/h3", "a/h1"), F("c/f", "f")]])
def link_in_directory_that_is_only_below(o):
	"""Another name of what is in upper already, in a directory that is not."""
	o.chmod("a/h1", 0o600)
	o.rename("b/h2", "n")
	o.rename("c/h3", "c/f", RENAME_EXCHANGE)
	o.same("n", "c/f", "a/h1")
	o.find()
	o.remount()
	o.find()


@case(lower=[LOW], upper=UP)
def into_own_subtree(o):
	o.rename("d", "d/sub")
	o.mkdir("e/s")
	o.rename("e", "e/s/t")
	o.rename("e/s", "e")
	o.rename("e/c", "e/c/x")


@case(lower=[[F("a/x", "1"), F("b/y", "2")], [F("a/z", "3"), F("c/w", "4")]])
def swap_and_back(o):
	o.rename("a", "t")
	o.rename("b", "a")
	o.rename("t", "b")
	o.find()
	o.remount()
	o.find()
	o.rename("a", "t")
	o.rename("b", "a")
	o.rename("t", "b")
	o.find()


@case(lower=[[F("d/f", "f")]])
def ino_survives(o):
	"""The inode number of what is renamed does not change."""
	for p, q in (("d/f", "d/g"), ("d", "e")):
		i = o.ino(p)
		o.rename(p, q)
		o.always(o.ino(q) == i and i, "the inode number of %s changed" % p)
