# SPDX-License-Identifier: GPL-2.0-only
#
# A thin front: Meson builds (meson.build), tests/run tests, tools/ does the rest.

PREFIX ?= /usr/local
ARGS   ?=
SUDO   := $(if $(filter-out 0,$(shell id -u)),sudo)

.PHONY: build run test install fuzz bench bench-filter bench-proxy bench-steer bench-path bench-watch demo demo-svg test-kernels test-dpdk lint fmt clean help
.DEFAULT_GOAL := build

help:		## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 16

build:		## build/weir, and nothing else
	@tools/build build

run:		## install what is missing, build, watch the default route's interface (ARGS="...")
	@tools/setup build
	@tools/build build
	@exec $(SUDO) build/weir watch $(ARGS)

test:		## install what is missing, build, run every test
	@tools/setup build test kernels
	@tests/run

install: build	## into PREFIX (default /usr/local), below DESTDIR: program, man pages, completion, documents
	@tools/install build $(PREFIX)

fuzz:		## every fuzzer for 60 seconds; what it finds new is kept in tests/fuzz/corpus
	@tools/setup build test
	@tools/fuzz 60 keep

bench:		## weir watch and its peers under the same load, as JSON
	@tools/setup build test
	@tools/build build all bench-programs
	@$(SUDO) bench/run $(ARGS)

bench-filter:	## weir filter and its peers on the same packets, as JSON
	@tools/setup build test bench
	@tools/build build all bench-programs
	@$(SUDO) bench/filter $(ARGS)

bench-proxy:	## weir proxy and its peers between the same ends, as JSON
	@tools/setup build test bench
	@tools/build build all bench-programs
	@$(SUDO) bench/proxy $(ARGS)

bench-steer:	## weir steer and its peers: look-ups and connections, as JSON
	@tools/setup build test bench
	@tools/build build all bench-programs
	@$(SUDO) bench/steer $(ARGS)

bench-path:	## what weir path and weir drops cost, and their peers, as JSON
	@tools/setup build test bench
	@tools/build build all bench-programs
	@$(SUDO) bench/path $(ARGS)

bench-watch:	## what each option of weir watch costs beside a run without it, as JSON
	@tools/setup build test bench
	@tools/build build all bench-programs
	@$(SUDO) bench/watch $(ARGS)

demo:		## a scene for each verb, and tcpdump beside it under a flood, in private namespaces
	@tools/setup build test
	@tools/build build all bench-programs
	@$(SUDO) tools/demo

demo-svg:	## the README's picture, made from a run of the demo
	@tools/setup build test
	@tools/build build all bench-programs
	@$(SUDO) tools/demo --svg docs/demo.svg

test-kernels:	## Debian's 6.1 and 6.12 kernels under QEMU
	@tools/setup build test kernels
	@tests/run kernels

test-dpdk:	## a build with -Ddpdk=enabled (build/dpdk) and its test
	@tools/setup build test dpdk
	@tests/run dpdk

lint:		## clang-tidy over everything
	@tools/setup build test
	@tools/lint

fmt:		## clang-format
	@tools/setup test
	@find src tests bench -name '*.[ch]' -exec clang-format -i {} +

clean:
	rm -rf build
