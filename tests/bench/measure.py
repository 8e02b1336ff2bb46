# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs one workload on all targets, in turns, and collects samples.

The machine may be busy with other things.  So the targets take turns within a round (A B C, then
B C A, ...), all that is computed are medians over the rounds, and the spread is shown beside them.
"""

import os
import resource
import signal
import statistics
import subprocess
import sys
import time

import targets


class Sample:
    def __init__(self, wall, client, server):
        self.wall = wall
        self.client = client
        self.server = server


class Result:
    """Samples of one workload in one phase on one target."""

    def __init__(self, workload, phase, target):
        self.workload = workload
        self.phase = phase
        self.target = target
        self.samples = []
        self.memory = []
        self.error = None

    def wall(self):
        return statistics.median(s.wall for s in self.samples) if self.samples else None

    def cpu(self):
        return statistics.median(s.client + s.server
                                 for s in self.samples) if self.samples else None

    def server(self):
        return statistics.median(s.server for s in self.samples) if self.samples else None

    def spread(self):
        """Half the distance of the quartiles, as a part of the median."""
        values = sorted(s.client + s.server if self.workload.by_cpu else s.wall
                        for s in self.samples)
        if len(values) < 2 or not statistics.median(values):
            return None
        low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
        return (high - low) / 2 / middle

    def peak_memory(self):
        return max(self.memory) if self.memory else None


class Runner:
    def __init__(self, forest, all_targets, rounds, cold, timeout):
        self.forest = forest
        self.targets = all_targets
        self.rounds = rounds
        self.cold = cold
        self.timeout = timeout
        self.env = dict(os.environ, LC_ALL="C", HOME=forest.base, GIT_CONFIG_NOSYSTEM="1")

    def run(self, workload):
        """All rounds of WORKLOAD; returns {(phase, target name): Result}."""
        tree = self.forest.get(workload.tree)
        if "$VICTIM" in workload.command:
            self.env["VICTIM"] = self.forest.get("victim").flat
        chosen = [t for t in self.targets if workload.syncs or not t.volatile]
        results = {(p, t.name): Result(workload, p, t.name)
                   for p in workload.phases if p != "cold" or self.cold for t in chosen}
        self.warm_up(tree)
        for r in range(self.rounds):
            for i in range(len(chosen)):
                target = chosen[(i + r) % len(chosen)]
                self.one_turn(workload, tree, target, results)
                print(".", end="", flush=True)
        print(f" {workload.name}", flush=True)
        return results

    def warm_up(self, tree):
        for layer in {*tree.layers, tree.flat}:
            subprocess.run(["sh", "-c", "tar -cf - . | cat >/dev/null"], cwd=layer, check=False)

    def one_turn(self, workload, tree, target, results):
        mine = [r for r in results.values() if r.target == target.name]
        if any(r.error for r in mine):
            return
        try:
            for phase in ("cold", "first"):
                if phase == "cold" and ("cold", target.name) not in results:
                    continue
                if phase == "first" and not set(workload.phases) & {"first", "second", "warm"}:
                    continue
                self.with_mount(workload, tree, target, phase, results)
        except (targets.SetupError, subprocess.SubprocessError, OSError) as e:
            for r in mine:
                r.error = str(e)
            print(f"\n{target.name}: {workload.name}: {e}", file=sys.stderr, flush=True)

    def with_mount(self, workload, tree, target, phase, results):
        if target.overlay:
            target.up(tree)
        else:
            target.up(tree, copy=workload.changes and not workload.raw_in_place)
        try:
            if workload.setup:
                self.timed(workload.setup, target)
            if workload.changes:
                subprocess.run(["sync", "-f", self.forest.base], check=True)
            if phase == "cold":
                subprocess.run(["sync", "-f", self.forest.base], check=True)
                with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as f:
                    f.write("3")
            first = self.timed(workload.command, target)
            if (phase, target.name) in results:
                results[phase, target.name].samples.append(first)
            for again in ("second", "warm"):
                if phase == "first" and (again, target.name) in results:
                    results[again, target.name].samples.append(
                        self.timed(workload.command, target))
            if workload.memory and phase == "first" and target.servers:
                for p in ("first", "warm"):
                    results[p, target.name].memory.append(targets.resident_bytes(target.servers))
        finally:
            target.down()

    def timed(self, command, target):
        """Run COMMAND in the target; wall time, and CPU time of it and of the servers."""
        server = targets.cpu_seconds(target.servers)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.perf_counter()
        child = subprocess.Popen(["bash", "-o", "pipefail", "-c", command], cwd=target.root,
                                 env=self.env,
                                 stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                 stderr=subprocess.PIPE, start_new_session=True)
        try:
            _, err = child.communicate(timeout=self.timeout)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            raise
        wall = time.perf_counter() - start
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if child.returncode:
            said = err.decode(errors="replace").strip()[:300]
            raise targets.SetupError(f"status {child.returncode}: {said}")
        client = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return Sample(wall, client, targets.cpu_seconds(target.servers) - server)
