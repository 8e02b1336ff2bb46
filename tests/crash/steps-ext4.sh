#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A crash at every step, on ext4.
# shellcheck source=tests/crash/fs-lib.sh
. "$(dirname "$0")/fs-lib.sh"

on_fs ext4 crash crash-steps --setup default
on_fs ext4 crash crash-steps --setup metacopy

finish
