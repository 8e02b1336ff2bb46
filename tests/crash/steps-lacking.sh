#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A crash at every step where the upper filesystem lacks something.
# shellcheck source=tests/crash/fs-lib.sh
. "$(dirname "$0")/fs-lib.sh"

on_fs tmpfs crash crash-steps --setup userxattr
on_fs tmpfs crash crash-steps --setup "no tmpfile"
on_fs tmpfs crash crash-steps --setup "no whiteout renames"
on_fs tmpfs crash crash-steps --setup "no exchange"
on_fs tmpfs crash crash-steps --setup "no device nodes"

finish
