#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Sums gcovr's summary up by module (a directory of src/): lines and branches that were reached."""

import json
import sys
from collections import defaultdict


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: scripts/coverage.py SUMMARY.json")
    with open(sys.argv[1], encoding="utf-8") as f:
        files = json.load(f)["files"]
    sums = defaultdict(lambda: [0, 0, 0, 0])
    for file in files:
        module = "/".join(file["filename"].split("/")[:2])
        for total in (sums[module], sums["all"]):
            for i, key in enumerate(("line_covered", "line_total", "branch_covered", "branch_total")):
                total[i] += file[key]
    print("%-12s %15s %7s %17s %7s" % ("module", "lines", "", "branches", ""))
    for module in sorted(sums, key=lambda m: (m == "all", m)):
        lines, of_lines, branches, of_branches = sums[module]
        print("%-12s %7d / %5d %6.1f%% %8d / %6d %6.1f%%" % (
            module, lines, of_lines, 100 * lines / max(of_lines, 1),
            branches, of_branches, 100 * branches / max(of_branches, 1)))


main()
