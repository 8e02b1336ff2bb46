#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# git in an overlay: a repository of which the lower layer has one state, worked on and cleaned
# up; and a clone made inside.  git's index remembers inode numbers and times, so it notices
# objects that change their identity: after a copy-up, a remount, or a dropped cache nothing may
# look modified.
LIMIT=180
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
need git

export GIT_CONFIG_NOSYSTEM=1 HOME=$T
export GIT_AUTHOR_DATE='2020-01-01T00:00:00Z' GIT_COMMITTER_DATE='2020-01-01T00:00:00Z'
git config --global user.name tester
git config --global user.email tester@example.org
git config --global init.defaultBranch main
git config --global safe.directory '*'
git config --global gc.auto 0

# A repository of 600 files in 60 directories and 30 commits, the same every time.
mkdir -p s/lower/repo
(
	set -e
	cd s/lower/repo
	git init -q
	for d in $(seq 60); do
		mkdir -p src/d$d
		for f in $(seq 10); do seq $((d * f)) > src/d$d/f$f.txt; done
	done
	ln -s d1 src/current
	chmod +x src/d1/f1.txt
	git add -A
	git commit -qm first
	for i in $(seq 2 30); do
		echo "$i" >> src/d$i/f1.txt
		git commit -qam "change $i"
	done
) || die "a repository is made"
untouched s/lower
cp -a s/lower/repo plain

overlay s
cd s/mnt/repo || die "the repository shows"

# What git's index holds for every file: with these right, status need not read a single file.
index_of() {
	git -C "$1" ls-files --debug | grep -E '^  (mtime|size|ino|dev|uid)'
}

equal "status is clean" "$(git status --porcelain)" ""
check "fsck" git fsck --full --strict
sh_check "edit, commit" 'echo edit >> src/d2/f3.txt; git rm -q src/d3/f3.txt
	echo new > src/new; git add -A; git commit -qm edit'
equal "status is clean after a commit" "$(git status --porcelain)" ""
promise sh_check "rename a directory from below" 'git mv src/d4 src/d4b; git commit -qm renamed'
sh_check "branch, checkout back and forth, merge" 'git checkout -qb side HEAD~5;
	echo side > side; git add side
	git commit -qm side; git checkout -q main; git merge -q -m merge side
	git checkout -q HEAD~20; git checkout -q main'
sh_check "rebase" 'git checkout -qb again HEAD~3; echo again > again; git add again;
	git commit -qm again; git rebase -q main'
check "reset --hard" git reset -q --hard HEAD~10
check "stash" bash -ec 'echo dirty >> src/d5/f5.txt; git stash -q;
	[ -z "$(git status --porcelain)" ]; git stash pop -q; git checkout -q .'
check "gc" git gc -q --aggressive --prune=now
check "fsck after gc" git fsck --full --strict
check "clean" bash -ec 'touch x y; mkdir z; touch z/z; git clean -qfd;
	[ -z "$(git status --porcelain)" ]'
check "worktree" bash -ec 'git worktree add -q ../wt main; cd ../wt; git status; cd ../repo;
	git worktree remove ../wt'

# A clone inside, by hard links from what the lower layer holds and what upper holds.
cd ..
check "clone" git clone -q repo clone
equal "clone: status" "$(git -C clone status --porcelain)" ""
check "clone: fsck" git -C clone fsck --full
sh_check "clone: push back" 'cd clone; git checkout -qb pushed; echo p > p; git add p;
	git commit -qm p; git push -q origin pushed'
index_of clone > "$T/index.before"

# The same on a plain filesystem gives the same tree.
(
	cd "$T/plain" && git fetch -q "$T/s/mnt/repo" again && git checkout -q FETCH_HEAD
) || fail "the plain repository fetches from the one in the overlay"
git -C repo checkout -q again
same_tree "the same files as in a plain repository" "$T/plain/src" repo/src

cd "$T" || exit 1
remount s
# diff-files compares with what the index remembers, without refreshing it.
promise equal "after a remount no file looks changed" "$(git -C s/mnt/clone diff-files)" ""
promise equal "after a remount neither in the copied-up repository" \
	"$(git -C s/mnt/repo diff-files)" ""
equal "status is clean after a remount" "$(git -C s/mnt/repo status --porcelain)" ""
echo 3 > /proc/sys/vm/drop_caches
promise equal "nor when caches were dropped" "$(git -C s/mnt/repo diff-files)" ""
equal "the index is the same" "$(index_of s/mnt/clone)" "$(cat index.before)"
check "fsck after a remount" git -C s/mnt/clone fsck --full
check "rm -rf of all of it" rm -rf s/mnt/repo s/mnt/clone
equal "leaves nothing" "$(ls -A s/mnt)" ""
unmount s/mnt
promise empty_work s
still_untouched s/lower
finish
