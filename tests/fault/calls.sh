#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Every failing system call of every change, each with one of eight errors in turn.
# shellcheck source=tests/crash/fs-lib.sh
. "$(dirname "$0")/../crash/fs-lib.sh"

on_fs tmpfs fault fault-calls --setup default
on_fs tmpfs fault fault-calls --setup nfs_export

finish
