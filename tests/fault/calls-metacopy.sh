#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The same where copies have metadata only, and where there are no unnamed files.
# shellcheck source=tests/crash/fs-lib.sh
. "$(dirname "$0")/../crash/fs-lib.sh"

on_fs tmpfs fault fault-calls --setup metacopy
on_fs tmpfs fault fault-calls --setup "no tmpfile" --only "write"

finish
