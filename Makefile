# SPDX-License-Identifier: GPL-2.0-or-later
#
# The commands of everyday; Meson does the work (scripts/build.sh).  `make help` lists them.
#
#   WERROR=1         warnings are errors
#   BUILD=dir        another build directory
#   MESON_ARGS=...   more options for meson setup
#   T=PATTERN        make test: only tests whose names match

BUILD ?= build
SOAK_SECONDS ?= 3600
# New runs every time; one that failed is named by its own seed.
SOAK_SEED ?= $(shell date +%s)
MESON_ARGS ?=
ifdef WERROR
override MESON_ARGS += -Dwerror=true
endif
ifdef T
TEST_ARGS += --only '$(T)'
endif
# What a sanitized build runs: everything but the clients, which bring programs of their own.
SANITIZED = --suites unit,fuzz,lib,cli,check,conform,races,takeover,differential,fault,crash,nfs --time-factor 4
# Those in which several threads are at work at once.
PARALLEL = --suites unit,lib,conform,races,takeover,nfs --time-factor 4

.PHONY: all help run test test-nfs test-missing check-asan check-tsan bench bench-nfs soak-takeover lint format coverage soak fuzz install clean

all:
	@scripts/bootstrap.sh build
	@scripts/build.sh $(BUILD) $(MESON_ARGS)

help:
	@echo "make             build $(BUILD)/lamina, $(BUILD)/lamina-mount and liblamina"
	@echo "make run         build, then show the main job on this machine's own /usr"
	@echo "make test        all tests (T=PATTERN: some)"
	@echo "make test-nfs    of these, the kernel's NFS server and client in a QEMU guest"
	@echo "make test-missing  the conformance suite with each feature refused (FEATURES=...)"
	@echo "make check-asan  the tests under AddressSanitizer and UBSan"
	@echo "make check-tsan  the tests under ThreadSanitizer"
	@echo "make bench       speed and memory, beside the kernel's overlayfs"
	@echo "make bench-nfs   the NFS server beside nfs-ganesha"
	@echo "make soak-takeover  the server killed 10,000 times and replaced 1,000 times under load"
	@echo "make lint        style, static checks, both compilers with -Werror"
	@echo "make format      let clang-format rewrite the C files"
	@echo "make coverage    which lines the tests reach: build-coverage/coverage.html"
	@echo "make soak        random runs beside the kernel's overlayfs (SOAK_SECONDS=3600)"
	@echo "make fuzz        each fuzz target for a minute under libFuzzer"
	@echo "make install     (DESTDIR=, MESON_ARGS=--prefix=/usr)"

run: all
	@LAMINA_BUILD=$(abspath $(BUILD)) scripts/demo.sh

test:
	@scripts/bootstrap.sh build test guest
	@scripts/build.sh $(BUILD) $(MESON_ARGS)
	@tests/run --build $(BUILD) $(TEST_ARGS)

test-nfs: all
	@scripts/bootstrap.sh guest
	@tests/run --build $(BUILD) --suites guest $(TEST_ARGS)

test-missing:
	@scripts/bootstrap.sh build test
	@scripts/build.sh build-seam -Dfault_seam=true -Dlock_ranks=true $(MESON_ARGS)
	@tests/missing --build build-seam $(FEATURES)

check-asan:
	@scripts/bootstrap.sh build test
	@scripts/build.sh build-asan -Db_sanitize=address,undefined -Db_lto=false \
		-Db_lundef=false -Dlock_ranks=true $(MESON_ARGS)
	@tests/run --build build-asan $(SANITIZED) $(TEST_ARGS)

check-tsan:
	@scripts/bootstrap.sh build test
	@scripts/build.sh build-tsan -Db_sanitize=thread -Db_lto=false \
		-Db_lundef=false -Dlock_ranks=true $(MESON_ARGS)
	@tests/run --build build-tsan $(PARALLEL) $(TEST_ARGS)

soak-takeover: all
	@scripts/bootstrap.sh build test
	@LAMINA_BUILD=$(abspath $(BUILD)) tests/takeover/kills --kills 10000 --upgrades 1000
	@LAMINA_BUILD=$(abspath $(BUILD)) tests/takeover/points --every 1

bench: all
	@scripts/bootstrap.sh bench
	@LAMINA_BUILD=$(abspath $(BUILD)) tests/bench/run $(BENCH_ARGS)

bench-nfs: all
	@scripts/bootstrap.sh bench-nfs
	@LAMINA_BUILD=$(abspath $(BUILD)) tests/bench/nfs $(BENCH_ARGS)

lint:
	@scripts/bootstrap.sh build lint
	@scripts/lint.sh

format:
	@scripts/bootstrap.sh lint
	@git ls-files -z '*.c' '*.h' | xargs -0 clang-format -i

coverage:
	@scripts/bootstrap.sh build test lint
	@scripts/build.sh build-coverage -Db_coverage=true -Db_lto=false -Doptimization=0 \
		-Dlock_ranks=true $(MESON_ARGS)
	@rm -f build-coverage/failed
	@tests/run --build build-coverage $(SANITIZED) $(TEST_ARGS) || \
		touch build-coverage/failed
	@gcovr --root . --filter src/ --exclude-throw-branches \
		--exclude-branches-by-pattern '.*CHECK\(.*' build-coverage \
		--html-details build-coverage/coverage.html --txt build-coverage/coverage.txt \
		--json-summary build-coverage/coverage.json
	@cat build-coverage/coverage.txt
	@scripts/coverage.py build-coverage/coverage.json
	@test ! -e build-coverage/failed # the figures are of what ran, and are shown all the same

soak: all
	@scripts/bootstrap.sh test
	@mkdir -p $(BUILD)/soak
	@$(BUILD)/lam-differential --program $(BUILD)/lamina-mount --jobs 2 --save $(BUILD)/soak \
		--seconds $(SOAK_SECONDS) --seed $(SOAK_SEED)

fuzz:
	@scripts/bootstrap.sh build lint
	@CC=clang scripts/build.sh build-fuzz -Dfuzz=true -Db_sanitize=address,undefined \
		-Db_lto=false -Db_lundef=false $(MESON_ARGS)
	@scripts/fuzz.sh build-fuzz $(FUZZ_SECONDS)

install: all
	@meson install -C $(BUILD) --no-rebuild

clean:
	rm -rf build build-asan build-tsan build-seam build-coverage build-fuzz build-lint-gcc build-lint-gcc-O0 \
		build-lint-clang
