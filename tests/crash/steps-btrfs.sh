#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A crash at every step, on btrfs.
# shellcheck source=tests/crash/fs-lib.sh
. "$(dirname "$0")/fs-lib.sh"

on_fs btrfs crash crash-steps --setup default

finish
