#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A crash at every step of the opening that repairs what a crash left.
# shellcheck source=tests/crash/fs-lib.sh
. "$(dirname "$0")/fs-lib.sh"

on_fs ext4 crash crash-steps --repairs --setup default
on_fs tmpfs crash crash-steps --repairs --setup nfs_export
on_fs tmpfs crash crash-steps --repairs --setup userxattr

finish
