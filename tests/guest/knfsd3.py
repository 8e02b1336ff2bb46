#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's NFS client and server, version 3, over a mount by FUSE."""

import guest

guest.main("knfsd3")
