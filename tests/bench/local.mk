# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Benchmarks: not tests, run by hand.

EXTRA_DIST += \
	bench/flush \
	bench/hits \
	bench/instructions \
	bench/lib.sh \
	bench/open \
	bench/pacing \
	bench/remote \
	bench/README.trace \
	bench/trace \
	$(NULL)

EXTRA_PROGRAMS = bench/hit bench/index-bench bench/trace-replay
bench_hit_SOURCES = \
	bench/hit.c \
	$(FAKE_STORE) \
	$(NULL)
bench_index_bench_SOURCES = \
	bench/index-bench.c \
	tools/util.c tools/util.h \
	$(NULL)
bench_trace_replay_SOURCES = \
	bench/trace-folio.c \
	bench/trace-replay.c \
	bench/trace-sim.c bench/trace-sim.h \
	$(NULL)
