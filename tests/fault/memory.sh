#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Every failing allocation of every change.
# shellcheck source=tests/crash/fs-lib.sh
. "$(dirname "$0")/../crash/fs-lib.sh"

on_fs tmpfs fault fault-calls --memory --setup default
on_fs tmpfs fault fault-calls --memory --setup nfs_export

finish
