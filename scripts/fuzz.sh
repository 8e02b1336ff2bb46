#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# fuzz.sh BUILD [SECONDS]: run every libFuzzer target of a -Dfuzz=true build over its corpus for so
# many seconds (60).  New inputs stay in BUILD/found/; what fails is named there too.
set -eu

cd "$(dirname "$0")/.."
build=$1
seconds=${2:-60}
status=0
for target in "$build"/tests/fuzz/libfuzzer_fuzz_*; do
	[ -x "$target" ] && [ -f "$target" ] || continue
	name=${target##*libfuzzer_fuzz_}
	mkdir -p "$build/found/$name"
	if "$target" -max_total_time="$seconds" -max_len=4096 -verbosity=0 -print_final_stats=0 \
		-artifact_prefix="$build/found/$name-" "$build/found/$name" \
		"tests/fuzz/corpus/$name" >"$build/found/$name.log" 2>&1; then
		echo "ok $name"
	else
		echo "FAIL $name: $build/found/$name.log"
		status=1
	fi
done
exit $status
