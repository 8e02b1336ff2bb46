#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's NFS client and `lamina nfs`."""

import guest

guest.main("nfs3")
