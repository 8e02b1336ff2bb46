#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A crash at every step, on xfs.
# shellcheck source=tests/crash/fs-lib.sh
. "$(dirname "$0")/fs-lib.sh"

on_fs xfs crash crash-steps --setup default
on_fs xfs crash crash-steps --setup strict

finish
