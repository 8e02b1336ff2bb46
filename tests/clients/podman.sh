#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# podman as it comes: import, build, run, commit, diff, cp, export, save, load, rmi.
LIMIT=400
# shellcheck source=podman-lib.sh
. "$(dirname "$0")/podman-lib.sh"

podman_store
podman_story
finish
