#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# lint.sh: both compilers with every warning an error; clang-format, clang-tidy, cppcheck; scripts
# through shellcheck, man pages through mandoc; the checks of tests/lint.  One line per check; ends
# with `N passed, N failed`.
set -u

cd "$(dirname "$0")/.." || exit 1
passed=0
failed=0
out=$(mktemp)
trap 'rm -f "$out"' EXIT

step() {	# NAME COMMAND...
	name=$1
	shift
	if "$@" >"$out" 2>&1 </dev/null; then
		echo "ok $name"
		passed=$((passed + 1))
	else
		echo "FAIL $name"
		sed 's/^/    /' "$out" | tail -n 100
		failed=$((failed + 1))
	fi
}

files() {	# PATTERN...: what of it is in the tree, tracked or new, that still exists
	git ls-files --cached --others --exclude-standard -- "$@" | while IFS= read -r f; do
		[ ! -f "$f" ] || echo "$f"
	done
}

scripts_of() {	# INTERPRETER-PATTERN: the files that begin with #! and name it
	files | while IFS= read -r f; do
		head -n 1 "$f" | grep -a -q "^#!.*\b$1\b" && echo "$f"
	done
}

clang_format() {
	files '*.c' '*.h' | tr '\n' '\0' | xargs -0 clang-format --dry-run --Werror
}

clang_tidy() {
	sources=$(files 'src/*.c')
	echo "$sources" | tr '\n' '\0' | xargs -0 -n 4 -P 2 clang-tidy -p build-lint-clang --quiet
}

cpp_check() {
	cppcheck -q -j 2 --std=c11 --enable=warning,portability --error-exitcode=1 \
		--inline-suppr --suppress=missingIncludeSystem --suppress=unknownMacro \
		-I include -I src src
}

shell_check() {
	scripts_of '\(ba\)\?sh' | tr '\n' '\0' | xargs -0 shellcheck -S warning -x -P SCRIPTDIR
}

python_check() {
	scripts_of python3 | tr '\n' '\0' | xargs -0 -r python3 -c '
import ast, sys
for name in sys.argv[1:]:
    with open(name, encoding="utf-8") as file:
        ast.parse(file.read(), name)'
}

man_pages() {
	set -- man/*.[1-9]
	[ ! -e "$1" ] || mandoc -Tlint -W warning "$@"
}

step "gcc -Werror" env CC=gcc scripts/build.sh build-lint-gcc -Dwerror=true -Db_lto=false
step "gcc -Werror, lock ranks, no optimisation" env CC=gcc scripts/build.sh build-lint-gcc-O0 \
	-Dwerror=true -Db_lto=false -Dlock_ranks=true -Doptimization=0
step "clang -Werror" env CC=clang scripts/build.sh build-lint-clang -Dwerror=true -Db_lto=false
step clang-format clang_format
step clang-tidy clang_tidy
step cppcheck cpp_check
step shellcheck shell_check
step python python_check
step mandoc man_pages
for check in tests/lint/*; do
	step "$check" env LAMINA_BUILD=build-lint-gcc "$check"
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
