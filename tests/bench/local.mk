# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Benchmarks: not tests, run by hand.

EXTRA_DIST += \
	bench/fill-cache \
	bench/flush \
	bench/fragmented \
	bench/hits \
	bench/instructions \
	bench/lib.sh \
	bench/mkfs \
	bench/open \
	bench/pacing \
	bench/remote \
	bench/README.trace \
	bench/thin \
	bench/thin-snapshots \
	bench/trace \
	bench/zero \
	$(NULL)

# A filter: "make bench/seek.la".
EXTRA_LTLIBRARIES = bench/seek.la
bench_seek_la_SOURCES = bench/seek.c
bench_seek_la_LIBADD =
bench_seek_la_CPPFLAGS = $(AM_CPPFLAGS) $(NBDKIT_CFLAGS)
bench_seek_la_CFLAGS = -fvisibility=hidden -pthread $(FOLIO_CFLAGS)
bench_seek_la_LDFLAGS = -pthread -module -avoid-version -shared -rpath /nowhere

EXTRA_PROGRAMS = \
	bench/engines \
	bench/hit \
	bench/index-bench \
	bench/thin-bench \
	bench/trace-replay \
	$(NULL)
bench_engines_SOURCES = \
	bench/engines.c \
	$(FILE_RIG) \
	tools/util.c tools/util.h \
	$(NULL)
bench_hit_SOURCES = \
	bench/hit.c \
	$(FAKE_STORE) \
	$(NULL)
bench_thin_bench_SOURCES = \
	bench/thin-bench.c \
	tools/util.c tools/util.h \
	$(FAKE_STORE) \
	$(FILE_RIG) \
	$(NULL)
bench_index_bench_SOURCES = \
	bench/index-bench.c \
	tools/util.c tools/util.h \
	$(NULL)
bench_trace_replay_SOURCES = \
	bench/counting-store.c bench/counting-store.h \
	bench/trace-cache.c bench/trace-cache.h \
	bench/trace-load.c bench/trace-load.h \
	bench/trace-made.c \
	bench/trace-replay.c \
	bench/trace-sim.c bench/trace-sim.h \
	$(NULL)
bench_trace_replay_LDADD = $(LDADD) -lm
