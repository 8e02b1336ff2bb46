# SPDX-License-Identifier: GPL-2.0-or-later
"""5: whole trees over the client: copied, archived, cloned, built and removed, with results as on
ext4; and a directory with 100,000 entries, listed while names come and go."""

import mmap
import os
import signal
import struct
import time

from lib import alive, check, put, run, same, same_tree, told
from servers import D, M

HERE, PLAIN = M + "/five", D + "/plain/five"
ENTRIES, FEWER = 100000, 6000
SOURCES = 6
MAKEFILE = """\
OBJECTS := $(patsubst %.c,out/%.o,$(wildcard *.c))
program: $(OBJECTS)
	gcc -o $@ $^
out/%.o: %.c all.h | out
	gcc -O1 -c -o $@ $<
out:
	mkdir out
clean:
	rm -rf out program
"""


def project(top):
    os.makedirs(top + "/share/deep/er")
    put(top + "/Makefile", MAKEFILE)
    put(top + "/all.h", "#include <stdio.h>\n" +
        "".join(f"int f{i}(int x);\n" for i in range(SOURCES)))
    for i in range(SOURCES):
        put(f"{top}/f{i}.c", f'#include "all.h"\nint f{i}(int x)\n{{\n\treturn x * {i};\n}}\n')
    put(top + "/main.c", '#include "all.h"\nint main(void)\n{\n\tprintf("%d\\n", ' +
        " + ".join(f"f{i}({i})" for i in range(SOURCES)) + ");\n\treturn 0;\n}\n")
    for i in range(60):
        put(f"{top}/share/file{i}", bytes([i]) * (i * 997))
        os.link(f"{top}/share/file{i}", f"{top}/share/deep/hard{i}")
        os.symlink(f"../file{i}", f"{top}/share/deep/link{i}")
    for name in (" with space", "new\nline", "\u00fcn\u00efcode", "-dash", "q'uote"):
        put(f"{top}/share/deep/er/{name}", name)
    os.chmod(top + "/share/file2", 0o444)
    os.mkfifo(top + "/share/fifo")
    os.chown(top + "/share/file3", 1000, 1000)
    os.truncate(top + "/share/file4", 10000000)


def lay(lower):
    project(PLAIN + "/project")
    # What git writes has times in it.
    os.environ.update({"GIT_AUTHOR_DATE": "2020-01-01T00:00:00Z",
                       "GIT_COMMITTER_DATE": "2020-01-01T00:00:00Z"})
    run("git init -q . && git add -A Makefile *.c *.h share/file1* && git commit -q -m first &&"
        "git checkout -q -b side && echo '/* side */' >>f1.c && git commit -q -a -m side &&"
        "git checkout -q master", cwd=PLAIN + "/project")
    run(["cp", "-a", PLAIN, lower + "/"])
    for name, entries in (("many", ENTRIES), ("fewer", FEWER)):
        os.makedirs(f"{lower}/{name}")
        for i in range(entries):
            os.close(os.open(f"{lower}/{name}/entry-{i:06d}", os.O_CREAT | os.O_WRONLY))
            if i % 5000 == 0:
                alive()


BOTH = (
    ("the tree as it is", "find . | sort | md5sum; find . -type f | wc -l"),
    ("cp -a", "cp -a project copy"),
    ("tar", "mkdir untar; tar -cf - project | tar -xpf - -C untar"),
    ("tar of what is there", "tar --sort=name --mtime=@0 -cf - untar/project/share | md5sum"),
    ("git clone", "git clone -q project clone; cd clone; git fsck 2>&1; git log --format=%H; ls"),
    ("git: another branch, a commit",
     "cd clone; git checkout -q side; tail -n1 f1.c; echo '/* x */' >>f2.c; git status --porcelain;"
     "git stash -q; git status --porcelain; git checkout -q master; git branch -q -D side"),
    ("build", "cd copy; make -s; ./program; make -q; echo $?"),
    ("build again after a change", "cd copy; sed -i 's/x \\* 3/x * 33/' f3.c; make -s; ./program"),
    ("mv", "mv copy/share copy/moved; mv copy renamed; mv renamed/moved/deep .; ls renamed deep"),
    ("edit in place", "sed -i 's/int/int /' project/*.c; cat project/*.c | md5sum"),
)


def trees(server):
    for say, script in BOTH:
        with check(f"5 {say}, as on ext4"):
            here, plain = (run(["bash", "-ec", script], cwd=top) for top in (HERE, PLAIN))
            same(here, plain)
    # The index has times and numbers of files in it, these others the path that was cloned.
    for top in (HERE, PLAIN):
        run("find . -path '*/.git/index' -delete; rm -r clone/.git/config clone/.git/logs", cwd=top)
    with check("5 both trees are the same"):
        same_tree(HERE, PLAIN)
    with check("5 and after a remount"):
        server.remount()
        same_tree(HERE, PLAIN)
    with check("5 cp -a keeps links, owners and times"):
        same_tree(HERE + "/untar", PLAIN + "/untar", times=True)
    with check("5 rm -rf"):
        run("rm -rf untar clone renamed deep project", cwd=HERE)
        same(os.listdir(HERE), [])
        server.remount()
        same(os.listdir(HERE), [])


# ---- 100,000 entries ----

def come_and_go(top, pause, done):
    """Until it is killed: names appear, are renamed, and go; none comes twice.  DONE: memory for the
    number of changes."""
    i = 0
    while True:
        put(f"{top}/new-{i}", "")
        os.rename(f"{top}/new-{i}", f"{top}/renamed-{i}")
        if i >= 5:
            os.unlink(f"{top}/renamed-{i - 5}")
        i += 1
        done[:8] = struct.pack("Q", 3 * i)
        time.sleep(pause)


def listed(path):
    names = []
    with os.scandir(path) as entries:
        for entry in entries:
            names.append(entry.name)
            if len(names) % 1000 == 0:
                alive()
    return names


def list_while(pid, changes):
    """List until 30 changes came in between; the names of each listing, and how many changes."""
    lists, came = [], 0
    try:
        while came <= 30:
            before = changes()
            lists.append(listed(M + "/many"))
            came += changes() - before
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return lists, came


def many(server):
    stay = {f"entry-{i:06d}" for i in range(ENTRIES)}
    with check(f"5 {ENTRIES} entries listed while names come and go: each once, none twice"):
        done = mmap.mmap(-1, mmap.PAGESIZE)
        pid = os.fork()
        if pid == 0:
            come_and_go(server.there + "/many", server.pause, done)
        lists, came = list_while(pid, lambda: struct.unpack("Q", done[:8])[0])
        for names in lists:
            same(len(names), len(set(names)))
            same(stay - set(names), set())
            assert all(name.startswith(("new-", "renamed-")) for name in set(names) - stay)
        told(f"{came} changes came in between, in {len(lists)} listings")
    with check("5 a listing that is interrupted by kill -9 goes on where it was"):
        seen = []
        with os.scandir(M + "/fewer") as entries:
            for entry in entries:
                seen.append(entry.name)
                if len(seen) == FEWER // 2:
                    list(server.hows().values())[1]()
        same(len(seen), len(set(seen)))
        same(set(seen), {f"entry-{i:06d}" for i in range(FEWER)})


def go(server):
    trees(server)
    many(server)
