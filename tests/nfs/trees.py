#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Whole trees and big directories: a tree that a program has made is written over NFS, read back and
removed; a directory of 100,000 names is listed while names come and go; random operations are
compared with a model."""

import os
import random
import stat
import subprocess
import threading

from client import *  # pylint: disable=wildcard-import,unused-wildcard-import


def put_file(c, directory, name, data, mode):
    made = c.create(directory, name, UNCHECKED, mode=mode)
    same(made.status, OK)
    at = 0
    while at < len(data):
        piece = data[at:at + (1 << 20)]
        same(c.write(made.fh, piece, at, UNSTABLE).count, len(piece))
        at += len(piece)
    same(c.commit(made.fh).status, OK)


def put_tree(c, directory, source):
    for name in sorted(os.listdir(source)):
        path = os.path.join(source, name)
        st = os.lstat(path)
        mode = stat.S_IMODE(st.st_mode)
        if stat.S_ISLNK(st.st_mode):
            same(c.symlink(directory, name, os.readlink(path)).status, OK)
        elif stat.S_ISDIR(st.st_mode):
            made = c.mkdir(directory, name, mode=mode)
            same(made.status, OK)
            put_tree(c, made.fh, path)
        else:
            with open(path, "rb") as file:
                put_file(c, directory, name, file.read(), mode)


def get_tree(c, directory, target):
    os.makedirs(target, exist_ok=True)
    for entry in c.list(directory, plus=True):
        name = os.fsdecode(entry.name)
        path = os.path.join(target, name)
        if name in (".", ".."):
            continue
        if entry.attr["type"] == LNK:
            os.symlink(os.fsdecode(c.readlink(entry.fh).target), path)
        elif entry.attr["type"] == DIR:
            get_tree(c, entry.fh, path)
        else:
            with open(path, "wb") as file:
                while True:
                    one = c.read(entry.fh, file.tell(), 1 << 20)
                    same(one.status, OK)
                    file.write(one.data)
                    if one.eof:
                        break
        if entry.attr["type"] != LNK:
            os.chmod(path, entry.attr["mode"])


def remove_tree(c, directory):
    for entry in c.list(directory, plus=True):
        if entry.name in (b".", b".."):
            continue
        if entry.attr["type"] == DIR:
            remove_tree(c, entry.fh)
            same(c.rmdir(directory, entry.name).status, OK)
        else:
            same(c.remove(directory, entry.name).status, OK)


@case
def a_whole_tree():
    """a git repository with its work tree: written, read back, the same; over what is below too"""
    with Server() as s:
        source = s.path("source")
        git = ["git", "-c", "user.name=t", "-c", "user.email=t@t", "-C", source]
        os.mkdir(source)
        subprocess.run(git + ["init", "-q"], check=True)
        rng = random.Random(3)
        for i in range(60):
            directory = os.path.join(source, f"d{i % 7}", f"e{i % 3}")
            os.makedirs(directory, exist_ok=True)
            with open(os.path.join(directory, f"file{i}"), "wb") as file:
                file.write(rng.randbytes(rng.choice([0, 1, 100, 5000, 70000])))
        with open(os.path.join(source, "big"), "wb") as file:
            file.write(rng.randbytes(3 << 20))
        os.symlink("d1/e1", os.path.join(source, "link"))
        subprocess.run(git + ["add", "-A"], check=True)
        subprocess.run(git + ["commit", "-q", "-m", "one"], check=True)
        subprocess.run(["cp", "-a", source, s.path("lower", "below")], check=True)
        with s.client() as c:
            made = c.mkdir(c.root(), "tree", mode=0o755).fh
            put_tree(c, made, source)
            get_tree(c, made, s.path("back"))
            get_tree(c, c.walk("below"), s.path("back2"))
            for back in ("back", "back2"):
                subprocess.run(["diff", "-r", "--no-dereference", source, s.path(back)],
                               check=True)
                for command in (["fsck", "--strict"], ["diff", "--exit-code", "HEAD"]):
                    subprocess.run(["git", "-C", s.path(back)] + command, check=True,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            remove_tree(c, c.root())
            same([e.name for e in c.list(c.root())], [b".", b".."])


@case
def a_big_directory():
    """100,000 names are listed once each, while others come and go"""
    with Server() as s:
        os.mkdir(s.path("lower", "d"))
        for i in range(100000):
            os.close(os.open(s.path("lower", "d", f"stays{i}"), os.O_CREAT | os.O_WRONLY, 0o644))
        done = threading.Event()

        def come_and_go():
            with s.client() as c:
                d, i = c.walk("d"), 0
                while not done.is_set():
                    same(c.create(d, f"goes{i}").status, OK)
                    if i > 5:
                        same(c.remove(d, f"goes{i - 5}").status, OK)
                    i += 1
        thread = threading.Thread(target=come_and_go)
        thread.start()
        try:
            with s.client() as c:
                d = c.walk("d")
                for plus in (False, True):
                    names = [e.name for e in c.list(d, plus, **(
                        {"dircount": 100000, "maxcount": 250000} if plus else {"count": 60000}))]
                    same(len(names), len(set(names)))
                    stays = {n for n in names if n.startswith(b"stays")}
                    same(len(stays), 100000)
        finally:
            done.set()
            thread.join()


@case
def random_operations():
    """what many random operations leave is what a model says, also after restarts"""
    rng = random.Random(11)
    with Server() as s:
        model = {}  # name to contents, of files in the root
        for i in range(20):
            model[f"f{i}"] = bytearray(rng.randbytes(rng.randrange(10000)))
            s.lower(f"f{i}", bytes(model[f"f{i}"]))
        c = s.client()
        for step in range(3000):
            name, other = (f"f{rng.randrange(40)}" for _ in range(2))
            root = c.root() if step % 500 == 0 else root
            kind = rng.randrange(6)
            found = c.lookup(root, name)
            same((step, found.status), (step, OK if name in model else NOENT))
            if kind == 0:
                same(c.create(root, name).status, EXIST if name in model else OK)
                model.setdefault(name, bytearray())
            elif kind == 1:
                same(c.remove(root, name).status, OK if name in model else NOENT)
                model.pop(name, None)
            elif kind == 2:
                same(c.rename(root, name, root, other).status, OK if name in model else NOENT)
                if name in model:
                    model[other] = model.pop(name)
            elif name not in model:
                continue
            elif kind == 3:
                at, data = rng.randrange(20000), rng.randbytes(rng.randrange(1, 5000))
                same(c.write(found.fh, data, at, rng.randrange(3)).count, len(data))
                content = model[name]
                content.extend(b"\0" * (at + len(data) - len(content)))
                content[at:at + len(data)] = data
            elif kind == 4:
                size = rng.randrange(25000)
                same(c.setattr(found.fh, size=size).status, OK)
                content = model[name]
                content.extend(b"\0" * (size - len(content)))
                del content[size:]
            else:
                at, n = rng.randrange(25000), rng.randrange(1, 9000)
                got = c.read(found.fh, at, n)
                same((step, got.data), (step, bytes(model[name][at:at + n])))
                same(bool(got.eof), at + n >= len(model[name]))
            if step % 1000 == 999:
                c.close()
                s.stop((signal.SIGTERM, signal.SIGKILL)[step // 1000 % 2])
                s.start()
                c = s.client()
                same({os.fsdecode(e.name) for e in c.list(root)} - {".", ".."}, set(model))
                for name, content in model.items():
                    same(c.read(c.walk(name)).data, bytes(content))
        c.close()


main()
