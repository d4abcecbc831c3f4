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
	$(NULL)

EXTRA_PROGRAMS = bench/index-bench
bench_index_bench_SOURCES = \
	bench/index-bench.c \
	tools/util.c tools/util.h \
	$(NULL)
