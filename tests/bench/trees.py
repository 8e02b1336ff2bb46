# SPDX-License-Identifier: GPL-2.0-or-later
"""The trees that the benchmark works on, made from fixed random numbers: the same in every run.

A tree has layers (topmost first) and a flat directory that shows what the layers show merged.
"""

import os
import random
import shutil
import subprocess

BLOB = random.Random(1).randbytes(1 << 20)


class Tree:
    def __init__(self, layers, flat):
        self.layers = layers
        self.flat = flat


class Forest:
    """Makes trees on demand below a directory, each once."""

    def __init__(self, base, scale):
        self.base = base
        self.scale = scale      # 1.0: the full size
        self.made = {}

    def get(self, name):
        if name not in self.made:
            print(f"making the tree {name} ...", flush=True)
            self.made[name] = getattr(self, "make_" + name)()
            subprocess.run(["sync", "-f", self.base], check=True)
        return self.made[name]

    def path(self, *parts):
        path = os.path.join(self.base, *parts)
        os.makedirs(path, exist_ok=True)
        return path

    def count(self, n):
        return max(10, int(n * self.scale))

    # 71,000 files in 5,400 directories, sizes as in a system's /usr: half below 3 KiB, a long tail.
    def big_names(self):
        rng = random.Random(71)
        dirs = ["."]
        while len(dirs) < self.count(5400):
            parent = dirs[int(rng.random() ** 2 * len(dirs))]
            if parent.count("/") < 9:
                dirs.append(f"{parent}/dir{len(dirs)}")
        files = []
        for i in range(self.count(71000)):
            # Few directories hold many files.
            where = dirs[int(rng.random() ** 1.7 * len(dirs))]
            size = min(262144, int(rng.lognormvariate(7.9, 1.5)))
            files.append((f"{where}/file-{i:05d}.dat", size))
        return dirs, files

    def make_flat(self):
        dirs, files = self.big_names()
        flat = self.path("flat")
        for d in dirs:
            os.makedirs(os.path.join(flat, d), exist_ok=True)
        for name, size in files:
            write_file(os.path.join(flat, name), size)
        return Tree([flat], flat)

    def spread(self, n_layers):
        """The big tree over layers: most in the lowest, the rest over the others, and 4% of the
        files in two layers, the lower version never seen."""
        flat = self.get("flat").flat
        dirs, files = self.big_names()
        rng = random.Random(n_layers)
        layers = [self.path(f"big{n_layers}", f"layer{i:02d}") for i in range(n_layers)]
        for d in dirs:
            os.makedirs(os.path.join(layers[-1], d), exist_ok=True)
        for name, size in files:
            at = n_layers - 1 if rng.random() < 0.6 else rng.randrange(n_layers - 1)
            write_file(os.path.join(layers[at], name), size)
            if at < n_layers - 1 and rng.random() < 0.1:
                write_file(os.path.join(layers[-1], name), size // 2)
        return Tree(layers, flat)

    def make_big3(self):
        return self.spread(3)

    def make_big20(self):
        return self.spread(20)

    def make_git(self):
        """A checkout of 20,000 files with one commit."""
        layer = self.path("git", "layer")
        n = self.count(20000)
        for i in range(n):
            write_file(f"{layer}/module{i % 40}/part{i % 400}/source{i}.c", 500 + i % 3000)
        env = dict(os.environ, HOME=self.base, GIT_CONFIG_NOSYSTEM="1")
        for command in (["init", "-q"], ["config", "gc.auto", "0"],
                        ["config", "core.checkStat", "minimal"],
                        ["config", "core.trustctime", "false"], ["config", "user.name", "bench"],
                        ["config", "user.email", "bench@example.org"], ["add", "-A"],
                        ["commit", "-qm", "all"]):
            subprocess.run(["git", "-C", layer, *command], check=True, env=env)
        return Tree([layer], layer)

    def make_victim(self):
        """10,000 files in 100 directories, to be changed or removed."""
        layer = self.path("victim", "layer")
        n = self.count(10000)
        for i in range(n):
            write_file(f"{layer}/tree/dir{i % 100}/file{i}", 100 + (i * 37) % 8000)
        return Tree([layer], layer)

    def make_appendees(self):
        """500 files of 1 MiB."""
        layer = self.path("appendees", "layer")
        for i in range(self.count(500)):
            write_file(f"{layer}/logs/log{i}", 1 << 20)
        return Tree([layer], layer)

    def make_medium(self):
        """One file of 256 MiB, for reading and overwriting."""
        return self.one_file("medium", max(32, int(256 * self.scale)))

    def make_huge(self):
        """One file of 2 GiB, of which a byte is changed."""
        return self.one_file("huge", max(64, int(2048 * self.scale)))

    def one_file(self, name, mib):
        layer = self.path(name, "layer")
        with open(f"{layer}/file", "wb") as f:
            for _ in range(mib):
                f.write(BLOB)
        return Tree([layer], layer)

    def make_project(self):
        """A C program of 60 sources."""
        layer = self.path("project", "layer")
        os.makedirs(f"{layer}/src", exist_ok=True)
        n = 60
        with open(f"{layer}/src/all.h", "w", encoding="ascii") as f:
            f.writelines(f"#include <{h}.h>\n" for h in ("stdio", "stdlib", "string", "unistd"))
            f.writelines(f"int f{i}(int x);\n" for i in range(n))
        for i in range(n):
            with open(f"{layer}/src/f{i}.c", "w", encoding="ascii") as f:
                f.write(f'#include "all.h"\nint f{i}(int x)\n{{\n\tchar b[64];\n')
                f.write(f'\tsnprintf(b, sizeof(b), "%d", x + {i});\n\treturn (int)strlen(b);\n}}\n')
        with open(f"{layer}/src/main.c", "w", encoding="ascii") as f:
            f.write('#include "all.h"\nint main(void)\n{\n\treturn f0(1) + f1(2);\n}\n')
        with open(f"{layer}/Makefile", "w", encoding="ascii") as f:
            f.write("OBJ := $(patsubst src/%.c,out/%.o,$(wildcard src/*.c))\n"
                    "program: $(OBJ)\n\t$(CC) -o $@ $^\n"
                    "out/%.o: src/%.c src/all.h | out\n\t$(CC) -O0 -c -o $@ $<\n"
                    "out:\n\tmkdir out\n")
        return Tree([layer], layer)

    def make_nothing(self):
        """An empty layer, for work on new files only."""
        layer = self.path("nothing", "layer")
        os.makedirs(f"{layer}/d", exist_ok=True)
        return Tree([layer], layer)


def write_file(path, size):
    offset = hash_of(path) % (len(BLOB) // 2)
    try:
        f = open(path, "wb")
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        f = open(path, "wb")
    with f:
        f.write(BLOB[:size] if size > len(BLOB) // 2 else BLOB[offset:offset + size])


def hash_of(text):
    value = 2166136261
    for c in text.encode()[-12:]:
        value = (value ^ c) * 16777619 & 0xffffffff
    return value


def remove(path):
    shutil.rmtree(path, ignore_errors=True)
