# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Fuzzers: programs from fuzz/*.c that run a fixed number of seeds as tests.

FUZZ_TESTS = \
	$(NULL)

check_PROGRAMS += $(FUZZ_TESTS)
TESTS += $(FUZZ_TESTS)
