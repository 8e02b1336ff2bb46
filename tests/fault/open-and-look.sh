#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Every failing system call and allocation of opening the layers, and of looking at the whole tree.
# shellcheck source=tests/crash/fs-lib.sh
. "$(dirname "$0")/../crash/fs-lib.sh"

on_fs tmpfs fault fault-calls --open --setup default
on_fs tmpfs fault fault-calls --open --memory --setup default
on_fs tmpfs fault fault-calls --look --memory --setup default

finish
