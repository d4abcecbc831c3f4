# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# The fuzzer of thin images. fuzz/thin/ has its inputs, of small images; the test does
# them, and each with random changes, whatever the compiler.

check_PROGRAMS += fuzz/thin-fuzz-replay
fuzz_thin_fuzz_replay_SOURCES = \
	fuzz/thin-fuzz-replay.c \
	fuzz/thin-fuzz.c fuzz/thin-fuzz.h \
	tools/memory-store.c tools/memory-store.h \
	tools/util.c tools/util.h \
	$(NULL)
TESTS += fuzz/thin-fuzz.sh
EXTRA_DIST += fuzz/thin-fuzz.sh fuzz/thin

# An hour of libFuzzer, which clang has: make -C tests thin-fuzz-long. FUZZ_SECONDS=
# sets another time. What it finds new is in fuzz/corpus.
FUZZ_SECONDS = 3600
thin-fuzz-long:
	$(MKDIR_P) fuzz/corpus
	clang -std=gnu17 -D_GNU_SOURCE -DFOLIO_DEBUG=1 -g -O1 -I$(top_srcdir) \
	  -I$(srcdir) -fsanitize=fuzzer,address,undefined \
	  -fno-sanitize-recover=undefined -o fuzz/thin-fuzz \
	  $(srcdir)/fuzz/thin-fuzz.c $(srcdir)/tools/memory-store.c \
	  $(top_srcdir)/fs/thin/*.c $(top_srcdir)/fs/*.c -lxxhash -pthread
	fuzz/thin-fuzz -max_total_time=$(FUZZ_SECONDS) -timeout=20 -max_len=16384 \
	  -print_final_stats=1 fuzz/corpus $(srcdir)/fuzz/thin
.PHONY: thin-fuzz-long
