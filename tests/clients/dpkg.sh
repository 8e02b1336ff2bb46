#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# dpkg in an overlay: unpack, install, upgrade, remove and purge packages whose files, hard links
# and directories are in the lower layer.  dpkg renames and hard-links everything it replaces,
# turns directories into symlinks, and syncs; a container image is built by little else.
LIMIT=180
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
need dpkg dpkg-deb dpkg-query

# package VERSION: a package of 300 files, 40 of them hard links, diversions of type between
# versions.
package() {
	local p=pkg$1
	mkdir -p "$p"/{DEBIAN,etc,usr/bin,usr/lib/demo/plugins,usr/share/doc/demo,var/lib/demo}
	cat > "$p/DEBIAN/control" <<-END
		Package: demo
		Version: $1
		Architecture: all
		Maintainer: Tester <tester@example.org>
		Description: a package to install
	END
	echo /etc/demo.conf > "$p/DEBIAN/conffiles"
	echo "setting=$1" > "$p/etc/demo.conf"
	for i in $(seq 260); do echo "$i of version $1" > "$p/usr/lib/demo/plugins/p$i"; done
	echo "program $1" > "$p/usr/bin/demo"
	chmod 4755 "$p/usr/bin/demo"
	for i in $(seq 40); do ln "$p/usr/bin/demo" "$p/usr/bin/demo-$i"; done
	ln -s demo "$p/usr/bin/demo-link"
	if [ "$1" = 1 ]; then
		mkdir "$p/usr/lib/demo/old"
		echo gone > "$p/usr/lib/demo/old/file"
		echo was-file > "$p/usr/share/doc/demo/turns"
	else
		echo new > "$p/usr/lib/demo/fresh"
		ln -s /etc "$p/usr/share/doc/demo/turns"
	fi
	dpkg-deb --root-owner-group --build "$p" "demo_$1.deb" >/dev/null
}

pkg() {
	dpkg --root="$1" --force-not-root --force-script-chrootless --log=/dev/null "${@:2}"
}

new_root() {
	mkdir -p "$1"/var/lib/dpkg/{info,updates,triggers,parts} "$1"/{etc,usr/bin}
	touch "$1"/var/lib/dpkg/{status,available}
}

links_of_demo() {
	stat -c %h "$1/usr/bin/demo" "$1/usr/bin/demo-7" "$1/usr/bin/demo-40" | sort -u
}

package 1 && package 2 || die "two packages are built"

# Unpacking, as image builders do it.
mkdir -p x/lower
overlay x
check "dpkg -x" dpkg -x demo_1.deb x/mnt
equal "hard links are hard links" "$(links_of_demo x/mnt)" 41
equal "set-uid" "$(stat -c %a x/mnt/usr/bin/demo-3)" 4755
remount x
promise equal "hard links after a remount" "$(links_of_demo x/mnt)" 41
check "dpkg -x of the next version over it" dpkg -x demo_2.deb x/mnt
equal "the new contents" "$(cat x/mnt/usr/bin/demo-11)" "program 2"
unmount x/mnt

# An installed system as the lower layer; the same done to a plain copy.
mkdir -p i/lower
new_root i/lower
check "version 1 is installed below" pkg i/lower -i demo_1.deb
cp -a i/lower plain
untouched i/lower
overlay i
equal "hard links of the lower layer" "$(links_of_demo i/mnt)" 41
check "verify" bash -c 'out=$(dpkg --root=i/mnt -V demo) && [ -z "$out" ]'
check "upgrade" pkg i/mnt -i demo_2.deb
pkg plain -i demo_2.deb >/dev/null 2>&1 || fail "upgrade of the plain copy"
equal "hard links after the upgrade" "$(links_of_demo i/mnt)" 41
equal "a file became a symlink" "$(readlink i/mnt/usr/share/doc/demo/turns)" /etc
check_not "a directory of the old version is gone" test -e i/mnt/usr/lib/demo/old
equal "the configuration is new" "$(cat i/mnt/etc/demo.conf)" setting=2
same_tree "as on the plain copy" plain i/mnt
equal "nothing of dpkg's own is left" "$(find i/mnt -name '*.dpkg-*' | grep -v -e -old$)" ""
remount i
promise same_tree "after a remount" plain i/mnt
# On both, step by step.
both() {
	local what=$1
	shift
	check "$what" pkg "$T/i/mnt" --force-confnew "$@"
	pkg "$T/plain" --force-confnew "$@" >/dev/null 2>&1 || fail "$what, on the plain copy"
	promise same_tree "$what: as on the plain copy" plain i/mnt
}
[ -z "${LAMINA_PEER:-}" ] || { rm -rf plain && cp -a i/mnt plain; }
both "downgrade" --force-downgrade -i demo_1.deb
both "reinstall" -i demo_1.deb
check "verify" bash -c 'out=$(dpkg --root=$1/i/mnt -V demo) && [ -z "$out" ]' - "$T"
both "remove" -r demo
check_not "the files are gone" test -e i/mnt/usr/bin/demo-20
check "the configuration stays" test -e i/mnt/etc/demo.conf
both "purge" -P demo
both "install over whiteouts" -i demo_2.deb
equal "hard links over whiteouts" "$(links_of_demo i/mnt)" 41
unmount i/mnt
promise empty_work i
still_untouched i/lower
finish
