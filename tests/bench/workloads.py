# SPDX-License-Identifier: GPL-2.0-or-later
"""What is timed: for each workload the tree, the command, the phases and the aims.

Phases: `cold` (nothing of the layers in the page cache), `first` (a fresh mount, the layers in the
page cache), `second` (the same again on the same mount), `warm` (and once more: a FUSE filesystem is asked
for the attributes of what was read once more after it was read).  Workloads that change the tree are run once
on a fresh mount, which is `first` too.
An aim is a ratio to the kernel's overlayfs that Lamina sets out to reach.
"""


class Workload:
    def __init__(self, name, tree, command, phases=("first",), changes=False, syncs=False, per=1,
                 unit="ms",
                 setup=None, aims=None, raw_in_place=False, memory=False, by_cpu=False):
        self.name = name
        self.tree = tree
        self.command = command          # shell; runs in the root of the target
        self.phases = phases
        self.changes = changes          # changes the tree: the plain filesystem needs a copy
        self.syncs = syncs              # the kernel syncs here: compare volatile mounts as well
        self.per = per                  # operations in one run
        self.unit = unit
        self.setup = setup              # shell, not timed
        self.aims = aims or {}          # phase -> ratio to the kernel
        self.raw_in_place = raw_in_place
        self.memory = memory            # note the server's memory afterwards
        self.by_cpu = by_cpu            # compare CPU time, not wall time


def all_workloads(ops, forest):
    """The table, with OPS the compiled helper and FOREST the trees (for sizes)."""
    n_open = forest.count(100000)
    n_churn = forest.count(20000)
    n_random = forest.count(50000)
    mib = max(32, int(256 * forest.scale))
    reading = ("cold", "first", "second", "warm")
    git = "git --no-optional-locks -c safe.directory='*' -c core.fsmonitor=false status --porcelain"
    w = [
        Workload("find", "big3", "find .", reading, aims={"first": 3.0, "second": .85, "warm": .85}),
        Workload("find, 20 layers", "big20", "find .", reading),
        Workload("find + stat", "big3", "find . -printf '%s %m %T@\\n'", reading,
                 aims={"first": 1.6, "second": .85, "warm": .85}, memory=True),
        Workload("find + stat, 20 layers", "big20", "find . -printf '%s %m %T@\\n'", reading),
        Workload("tar", "big3", "tar -cf - . | cat", reading, aims={"first": 3.0}),
        Workload("git status", "git", git, reading, aims={"first": 2.2, "second": .95, "warm": .95}),
        Workload("open+read+close", "victim", f"{ops} openread tree/dir7 {n_open}", ("warm",),
                 per=n_open,
                 unit="us", aims={"warm": .9}),
        Workload("create+unlink 20k", "nothing", f"{ops} churn d {n_churn}", changes=True,
                 aims={"first": 2.0}),
        Workload("rm -rf 10k lower files", "victim", "rm -rf tree", changes=True,
                 aims={"first": 1.2}),
        Workload("chmod -R 10k", "victim", "chmod -R g+w tree", changes=True, syncs=True,
                 aims={"first": .12, "volatile": 1.5}),
        Workload("append to 500 x 1 MiB", "appendees", f"{ops} append logs", changes=True,
                 syncs=True,
                 aims={"volatile": 1.1}),
        Workload("1 byte into 2 GiB", "huge", f"{ops} poke file", changes=True, syncs=True,
                 raw_in_place=True),
        Workload("cp -a 10k files in", "nothing", "cp -a $VICTIM/tree d/", changes=True, syncs=True,
                 by_cpu=True),
        Workload("cc -j2", "project", "make -s -j2", changes=True, by_cpu=True),
        Workload("1M sequential read, lower", "medium", f"{ops} seqread file", ("first", "warm"),
                 aims={"first": 1.0, "warm": 1.0}),
        Workload("1M sequential write, upper", "nothing", f"{ops} seqwrite d/new {mib}",
                 changes=True,
                 aims={"first": 1.0}),
        Workload("4k random read, lower", "medium", f"{ops} randread file {n_random}",
                 ("first", "warm"),
                 aims={"first": 1.0, "warm": 1.0}),
        Workload("4k random write, upper", "nothing", f"{ops} randwrite d/new {n_random}",
                 changes=True,
                 setup=f"{ops} seqwrite d/new {mib}", aims={"first": 1.0}),
        Workload("mapped read, lower", "medium", f"{ops} mapread file", ("first", "warm"),
                 aims={"first": 1.0, "warm": 1.0}),
    ]
    return w
