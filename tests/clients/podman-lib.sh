# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
#
# podman with the program as its mount_program: a store of its own, images made from nothing but
# busybox, no network, no cgroups.  podman_story does the whole round; the tests differ in the
# options of the store and of the containers.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
need podman runc busybox conmon setcap getcap tar

# podman_store [LINES...]: a private storage.conf and everything podman keeps elsewhere.
podman_store() {
	mkdir -p store run tmp home cfg
	{
		echo '[storage]'
		echo 'driver = "overlay"'
		echo "graphroot = \"$T/store\""
		echo "runroot = \"$T/run\""
		echo '[storage.options]'
		echo '[storage.options.overlay]'
		echo "mount_program = \"$PROG\""
		printf '%s\n' "$@"
	} > storage.conf
	cat > containers.conf <<-END
		[engine]
		cgroup_manager = "cgroupfs"
		events_logger = "none"
		runtime = "runc"
		tmp_dir = "$T/tmp"
		[containers]
		log_driver = "k8s-file"
	END
	echo '{ "default": [ { "type": "insecureAcceptAnything" } ] }' > policy.json
	mkdir -p home/.config/containers
	cp policy.json home/.config/containers/
	export CONTAINERS_STORAGE_CONF=$T/storage.conf CONTAINERS_CONF=$T/containers.conf
	export HOME=$T/home XDG_RUNTIME_DIR=$T/run XDG_CONFIG_HOME=$T/home/.config TMPDIR=$T/tmp
	# Nothing of this machine's own containers is touched.
	mount -t tmpfs tmpfs /run
	mkdir -p /run/lock
}

# A root filesystem of one static program and what the story needs, as a tar.
base_image() {
	mkdir -p rootfs/{bin,etc,tmp,proc,sys,dev,root,var/lib/data/sub,opt/tree/deep}
	cp "$(command -v busybox)" rootfs/bin/busybox
	local name
	for name in $(busybox --list); do
		[ "$name" = busybox ] || ln -sf busybox "rootfs/bin/$name"
	done
	echo 'root:x:0:0:root:/root:/bin/sh' > rootfs/etc/passwd
	echo 'daemon:x:1:1:daemon:/:/bin/false' >> rootfs/etc/passwd
	echo 'root:x:0:' > rootfs/etc/group
	for i in $(seq 50); do echo "$i" > "rootfs/var/lib/data/f$i"; done
	echo deep > rootfs/opt/tree/deep/file
	echo linked > rootfs/opt/one
	ln rootfs/opt/one rootfs/opt/two
	chmod 1777 rootfs/tmp
	cp -a rootfs/bin/busybox rootfs/bin/suid
	chmod 4755 rootfs/bin/suid
	mkdir context
	cp rootfs/etc/group context/added
	tar -C rootfs --numeric-owner --owner=0 --group=0 -cf rootfs.tar .
	cp "$(command -v setcap)" context/ 2>/dev/null
}

# A podman that is slow must not be stopped by the limit of a check.
pod() {
	timeout -k 10 $((100 * FACTOR)) podman --log-level=error "$@"
}

# What a container needs where there are neither cgroups nor a network to give it.
CONTAINER=(--cgroups=no-conmon --cgroup-manager=cgroupfs --runtime runc --network=none
	--ulimit nofile=1024:1024 --ulimit nproc=1024:1024)

pod_run() {
	pod run --rm "${CONTAINER[@]}" "${RUN_OPTIONS[@]}" "$@"
}

# With an id map for all layers a build needs it too.
RUN_OPTIONS=()
BUILD_OPTIONS=()

write_containerfile() {
	cat > context/Containerfile <<-'END'
		FROM base
		COPY added /etc/added
		RUN rm -r /var/lib/data/sub && rm /var/lib/data/f1 /var/lib/data/f2
		RUN mv /opt/tree /opt/moved && mkdir /opt/tree && echo new > /opt/tree/new
		RUN ln /opt/one /opt/three && echo written >> /opt/two
		RUN mkdir /srv && echo x > /srv/x && chown -R 1:1 /srv /var/lib/data
		RUN cd /opt/moved && rm -rf deep && mkdir deep && echo fresh > deep/fresh
		RUN for i in $(seq 200); do echo $i > /tmp/t$i; done
		RUN rm /tmp/t1* && ls /tmp | wc -l > /count
		RUN mkfifo /srv/fifo && ln -s /opt/one /srv/link && chmod 2750 /srv
		RUN cp /bin/busybox /opt/capable
	END
}

# What the built image must look like from inside; one line each.
look='
cat /count
ls /var/lib/data | wc -l
[ ! -e /var/lib/data/f1 ] && echo gone
[ ! -e /var/lib/data/sub ] && echo gone
ls /opt/tree /opt/moved /opt/moved/deep | tr "\n" " "; echo
cat /opt/one /opt/three /opt/two
stat -c "%h" /opt/one
stat -c "%u:%g %a" /srv /srv/x /var/lib/data/f9 /bin/suid
readlink /srv/link
test -p /srv/fifo && echo fifo
'
looks='89
48
gone
gone
/opt/moved: deep  /opt/moved/deep: fresh  /opt/tree: new 
linked
written
linked
written
linked
written
3
1:1 2750
1:1 644
1:1 644
0:0 4755
/opt/one
fifo'

store_is_quiet() {
	! findmnt -rn -o TARGET | grep -q "^$T/store/.*/merged\$"
}

# podman 4.3 forgets the tmpfs for /dev/shm of a container with a user namespace, and then cannot
# remove the directory that it lies on.  That is no mount of the program.
unmount_shm() {
	findmnt -rn -o TARGET | grep "^$T/store/.*/userdata/shm\$" | xargs -r -n 1 umount
}

podman_story() {
	local out
	base_image
	write_containerfile
	out=$(pod info --format '{{.Store.GraphDriverName}} {{.Store.GraphOptions}}' 2>&1)
	case $out in
	*overlay*"$PROG"*) pass "podman takes the program" ;;
	*) die "podman takes the program" "$out" ;;
	esac
	check "import" pod import rootfs.tar base
	equal "run" \
		"$(pod_run base sh -c 'cat /opt/tree/deep/file; echo x > /new; cat /new' 2>&1)" \
		deep$'\n'x
	check "build" pod build --isolation chroot --layers "${BUILD_OPTIONS[@]}" -t built context
	equal "the built image" "$(pod_run built sh -c "$look" 2>&1)" "$looks"
	check "build again, from the cache" pod build --isolation chroot --layers \
		"${BUILD_OPTIONS[@]}" \
		-t built2 context
	check "build in one layer" pod build --isolation chroot --layers=false --no-cache \
		"${BUILD_OPTIONS[@]}" -t flat context
	equal "the flat image" "$(pod_run flat sh -c "$look" 2>&1)" "$looks"

	# A container that changes things; its diff; an image of it.
	out=$(pod run --name worker "${CONTAINER[@]}" "${RUN_OPTIONS[@]}" built sh -ec \
		'rm -f /srv/x; echo 1 > /srv/y; [ ! -d /opt/moved ] || mv /opt/moved /opt/again
		 chmod 600 /etc/added
		 for i in 1 2 3 4 5 6 7 8; do
			(for j in $(seq 50); do echo $j > /tmp/w$i.$j; done) &
		 done
		 wait
		 ls /tmp | grep -c w' 2>&1)
	equal "a container with eight writers" "$out" 400
	equal "diff" \
		"$(pod diff worker 2>&1 | grep -E '/(srv|opt/(moved|again)|etc/added)' | sort)" \
		"$(printf '%s\n' 'A /opt/again' 'A /opt/again/deep' 'A /opt/again/deep/fresh' \
			'A /srv/y' 'C /etc/added' 'C /srv' 'D /opt/moved' 'D /srv/x' | sort)"
	check "commit" pod commit worker committed
	equal "the committed image" "$(pod_run committed sh -c \
		'ls /srv; cat /opt/again/deep/fresh; [ ! -e /opt/moved ] && stat -c %a /etc/added
		 ls /tmp | grep -c w' 2>&1)" \
		"$(printf '%s\n' fifo link y fresh 600 400)"
	check "start again" pod start -a worker
	check "cp into and out of a container" bash -c \
		"podman cp context/added worker:/srv/copied && podman cp worker:/srv/copied $T/out"
	equal "what came out" "$(cat out)" "$(cat context/added)"
	check "export" pod export -o export.tar worker
	check "what was copied is in it" tar -tf export.tar srv/copied
	check "save" pod save -o saved.tar committed
	# Containers are cleaned up in the background after they end.
	check "mounts of ended containers go" wait_for 20 store_is_quiet
	unmount_shm
	check "rm" pod rm -f worker
	check "rmi of everything" pod rmi -f -a
	check "load" pod load -i saved.tar
	equal "the loaded image" "$(pod_run committed cat /opt/again/deep/fresh 2>&1)" fresh
	file_capabilities
	check "rmi of the rest" pod rmi -f -a
	check "nothing stays mounted" wait_for 20 store_is_quiet
	equal "no layer is left" \
		"$(find "$T/store/overlay" -mindepth 1 -maxdepth 1 -regex '.*/[0-9a-f]*' | wc -l)" 0
}

# A file capability set inside a layer comes out of the image again.  setcap runs outside, in the
# mounted tree of a working container, as packages' scripts do it.
file_capabilities() {
	local c m
	c=$(pod create "${CONTAINER[@]}" "${RUN_OPTIONS[@]}" committed true) ||
		die "a container is created"
	m=$(pod mount "$c")
	check "setcap in a mounted container" setcap cap_net_raw+ep "$m/opt/capable"
	check "umount" pod umount "$c"
	check "commit with a capability" pod commit "$c" capable
	m=$(pod image mount capable)
	equal "the capability is in the image" \
		"$(getcap "$m/opt/capable" | grep -c 'cap_net_raw=ep')" 1
	check "image umount" pod image umount capable
	check "rm of it" pod rm -f "$c"
}

