# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Benchmarks: not tests, run by hand.

EXTRA_DIST += \
	bench/flush \
	bench/hits \
	bench/lib.sh \
	bench/open \
	bench/README.trace \
	bench/trace \
	$(NULL)

EXTRA_PROGRAMS = bench/index-bench bench/trace-replay
bench_index_bench_SOURCES = \
	bench/index-bench.c \
	tools/util.c tools/util.h \
	$(NULL)
bench_trace_replay_SOURCES = \
	bench/trace-folio.c \
	bench/trace-replay.c \
	bench/trace-sim.c bench/trace-sim.h \
	$(NULL)
