# SPDX-License-Identifier: GPL-2.0-or-later
"""The harness of the conformance suite.

sysc	system calls that Python has no function for
layers	what a layer holds, and building it on disk
world	images, mounts, servers, and the places where a case works
look	what is seen: attributes, listings, trees, and the bytes a layer holds
ops	the operations of a case, each recorded with its result
runner	cases, their two runs, the comparison, and the report
"""
