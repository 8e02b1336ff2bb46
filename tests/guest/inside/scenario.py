# SPDX-License-Identifier: GPL-2.0-or-later
"""scenario.py SERVER [GROUP...]: serve a stack that way and do all in GROUPs (all) with it."""

import os
import signal
import sys

import files
import lib
import restarts
import servers
import trees
import work

# Each has `lay(lower)`, which fills the lower layer, and `go(server)`.
GROUPS = {"files": files, "restarts": restarts, "work": work, "trees": trees}


def scenario(name, groups):
    server = servers.make(name)
    servers.layers()
    for group in groups:
        group.lay(servers.D + "/lower")
        lib.alive()
    lib.drop_caches()
    lib.told(f"the layers are made; up for {lib.get('/proc/uptime').split()[0].decode()} s")
    with lib.check("0 mount"):
        server.start()
        server.client()
    for group in groups:
        group.go(server)
    with lib.check("0 unmount"):
        server.no_client()
        server.stop(signal.SIGTERM)


def main(name, wanted):
    watcher = lib.watch()
    try:
        scenario(name, [GROUPS[n] for n in (wanted or GROUPS)])
    finally:
        os.kill(watcher, signal.SIGKILL)
    return 1 if lib.counts["failed"] else 0


sys.exit(main(sys.argv[1], sys.argv[2:]))
