#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A day's work in an overlay, done side by side on a plain directory: compile a C program with
# make -j2, archive and unpack, copy, search, rename, remove.  Both must end up the same.
LIMIT=240
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
need gcc make tar cp find

# A project of 60 C files in directories, with hard links, symlinks, read-only and odd-named files.
project() {
	mkdir -p "$1"/{src,include,share/deep/er/and/deeper}
	local i
	for i in $(seq 60); do
		printf '#include "all.h"\nint f%d(int x)\n{\n\treturn x * %d + g(x);\n}\n' "$i" \
			"$i" > "$1/src/f$i.c"
	done
	{
		echo '#include <stdio.h>'
		echo '#include <string.h>'
		echo 'static inline int g(int x) { return (int)strlen("abc") + x; }'
		for i in $(seq 60); do echo "int f$i(int x);"; done
	} > "$1/include/all.h"
	{
		echo '#include "all.h"'
		echo 'int main(void) { int s = 0;'
		for i in $(seq 60); do echo "s += f$i(s & 7);"; done
		echo 'printf("%d\n", s); return 0; }'
	} > "$1/src/main.c"
	cat > "$1/Makefile" <<-'END'
		SOURCES := $(wildcard src/*.c)
		OBJECTS := $(SOURCES:src/%.c=out/%.o)
		program: $(OBJECTS)
			$(CC) -o $@ $^
		out/%.o: src/%.c include/all.h | out
			$(CC) -O1 -Iinclude -MMD -c -o $@ $<
		out:
			mkdir out
		clean:
			rm -rf out program
	END
	for i in $(seq 200); do head -c $((i * 997 % 20000)) /dev/zero | tr '\0' "$((i % 10))" \
		> "$1/share/file$i"; done
	ln "$1/share/file1" "$1/share/hard1"
	ln "$1/share/file1" "$1/share/deep/hard2"
	ln -s ../src "$1/share/link"
	ln -s nowhere "$1/share/dangling"
	(cd "$1/share/deep/er/and/deeper" && touch " with space" $'new\nline' "ünïcode" ./-dash \
		"q'uote")
	chmod 444 "$1/share/file2"
	mkdir "$1/share/ro" && touch "$1/share/ro/f" && chmod 555 "$1/share/ro"
	truncate -s 10M "$1/share/sparse"
	find "$1" -exec touch -h -d @1500000000 {} +
}

project s/lower || die "a project is made"
untouched s/lower
cp -a s/lower plain
overlay s
same_tree "as copied" plain s/mnt

# both WHAT SCRIPT: run in the overlay and in the plain directory; what it prints must be the same.
both() {
	local a b ra rb
	a=$(cd s/mnt && timeout -k 5 $((100 * FACTOR)) bash -ec "$2" 2>&1)
	ra=$?
	b=$(cd plain && timeout -k 5 $((100 * FACTOR)) bash -ec "$2" 2>&1)
	rb=$?
	if [ $ra = $rb ] && [ "$a" = "$b" ]; then pass "$1"; else
		fail "$1" "overlay (status $ra): $a" "plain (status $rb): $b"; fi
}

both "make -j2" 'make -s -j2; ./program'
both "make again does nothing" 'make -q; echo $?'
both "touch a header, make" 'sleep 0.02; touch include/all.h; make -s -j2; ./program; make -q'
both "edit a source, make" 'sed -i "s/x \* 7 /x * 8 /" src/f7.c; make -s -j2; ./program'
both "the program runs while it is replaced" 'cp program old; ./old;
	cp --remove-destination program old; ./old; rm old'
both "find" 'find . | sort'
both "find -xdev sees one filesystem" 'find . -xdev | wc -l'
both "find by type and name" 'find . -type l -o -name "*.o" -o -perm 444 | sort'
both "du -x finds every link once" 'du -x --apparent-size --inodes . | tail -n1 | cut -f1'
both "grep -r" 'grep -rc "return" src | sort'
both "tar c, in a sorted order" 'tar --sort=name --mtime=@0 -cf - share src include | md5sum'
both "untar" 'mkdir u; tar -cf - share src | tar -xpf - -C u; (cd u; find . -type f | sort |
	xargs -d "\n" md5sum 2>/dev/null | md5sum)'
both "untar over what is there" 'tar -cf a.tar src include; tar -xpf a.tar; rm a.tar'
both "cp -a keeps links, times and modes" 'cp -a share c; find c -printf "%n %m %T@ %y %l\n" |
	sort | uniq -c'
both "cp -a within, by reflink if it can be" 'cp --reflink=auto share/sparse c/again;
	cmp share/sparse c/again; stat -c %s c/again'
both "cp -al" 'cp -al share p; find p -printf "%n %p\n" | sort | md5sum; echo x >> p/file9;
	tail -n1 share/file9'
both "mv of directories with content from below" 'mv share moved; mkdir share;
	mv moved/deep share/; ls share/deep/er/and/deeper | md5sum; ls moved | wc -l'
both "mv back over" 'mv share/deep moved/; rmdir share; mv moved share; find share | sort | md5sum'
both "mv -T over an empty directory" 'mkdir empty; mv -T u empty; ls empty'
both "a read-only directory keeps its files from nobody but users" 'chmod 755 share/ro;
	rm share/ro/f; rmdir share/ro; ls share | wc -l'
both "sed -i on every header and source" 'sed -i "s/int/int /" src/*.c include/*.h;
	md5sum src/*.c | md5sum'
both "sort in place, shred, truncate" 'seq 100 | tac > n; sort -n -o n n; head -n1 n;
	truncate -s 3 n; wc -c < n'
both "parallel writers to one directory" 'mkdir w; for i in 1 2 3 4; do (for j in $(seq 100);
	do echo $j > w/$i.$j; done) & done; wait; ls w | wc -l'
both "parallel removers of one tree" 'for i in 1 2 3; do rm -rf w & done; wait; [ ! -e w ]'
both "rm -rf" 'rm -rf c p out; ls'
both "make clean, make" 'make -s clean; make -s -j2; ./program'
same_tree "both trees are the same" plain s/mnt
promise sh_check "hard links of the lower layer stay whole when written" 'cd s/mnt/share
	echo through >> hard1; [ "$(tail -c8 file1)" = through ]
	[ "$(tail -c8 deep/hard2)" = through ]
	[ "$(stat -c %h file1)" = 3 ]; [ file1 -ef deep/hard2 ]'
remount s
[ -n "${LAMINA_PEER:-}" ] || echo through >> plain/share/hard1
same_tree "and after a remount" plain s/mnt
unmount s/mnt
still_untouched s/lower
finish
