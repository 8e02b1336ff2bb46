#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# podman with containers in user namespaces: layers keep the ids of the images, and the program is
# told uidmapping= and gidmapping= to show them as the ids that the namespace maps back.
LIMIT=400
# shellcheck source=podman-lib.sh
. "$(dirname "$0")/podman-lib.sh"

podman_store
# What the program is called with, to know that the maps were really used.
real=$PROG
cat > recorder <<END
#!/bin/sh
echo "\$*" >> $T/calls
exec $real "\$@"
END
chmod +x recorder
PROG=$T/recorder
sed -i "s|^mount_program = .*|mount_program = \"$PROG\"|" storage.conf
# Where the kernel can id-map a mount, podman 4.3 id-maps the lower layers itself and forgets the
# upper one, which then fits no container.  It keeps in its run directory whether the kernel can.
mkdir -p run/overlay
touch run/overlay/idmapped-lower-dir-false
RUN_OPTIONS=(--uidmap 0:100000:65536 --gidmap 0:200000:65536)
podman_story
check "the program was given the map" grep -q \
	'uidmapping=:\?0:100000:65536,gidmapping=:\?0:200000:65536' calls
finish
