# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Random operations against a model, and power cuts: programs from sim/*.c and
# the scripts that run them.

SIM_PROGS = \
	sim/stress \
	$(NULL)
SIM_TESTS = \
	sim/stress \
	$(NULL)

check_PROGRAMS += $(SIM_PROGS)
sim_stress_SOURCES = \
	sim/stress.c \
	$(FAKE_STORE) \
	$(NULL)
TESTS += $(SIM_TESTS)

SLOW_TESTS += \
	$(NULL)
TSAN_TESTS += \
	sim/stress \
	$(NULL)
