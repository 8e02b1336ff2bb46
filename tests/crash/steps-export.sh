#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A crash at every step with the complete index of nfs_export=on, and without any index.
# shellcheck source=tests/crash/fs-lib.sh
. "$(dirname "$0")/fs-lib.sh"

on_fs tmpfs crash crash-steps --setup nfs_export
on_fs tmpfs crash crash-steps --setup "no index"

finish
