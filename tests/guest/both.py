#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""`lamina mount --nfs`: a mount by FUSE and the kernel's NFS client at once, on one stack."""

import guest

guest.main("both")
