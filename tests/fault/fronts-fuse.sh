#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Every failing system call and allocation of every kind of request of FUSE, from the message to the answer.
# shellcheck source=tests/crash/fs-lib.sh
. "$(dirname "$0")/../crash/fs-lib.sh"

on_fs tmpfs fault fault-fronts --client FUSE --setup default
on_fs tmpfs fault fault-fronts --client FUSE --setup default --memory

finish
