# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Random operations against a model, and power cuts: programs from sim/*.c and
# the scripts that run them.

SIM_PROGS = \
	$(NULL)
SIM_TESTS = \
	$(NULL)

if HAVE_LIBNBD
check_PROGRAMS += $(SIM_PROGS)
endif
TESTS += $(SIM_TESTS)
EXTRA_DIST += $(SIM_TESTS)

SLOW_TESTS += \
	$(NULL)
TSAN_TESTS += \
	$(NULL)
