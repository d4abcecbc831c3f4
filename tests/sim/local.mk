# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Random operations against a model, and power cuts: programs from sim/*.c and
# the scripts that run them.

SIM_PROGS = \
	sim/owner \
	sim/powercut \
	sim/race \
	sim/stress \
	sim/thin-cut \
	$(NULL)
SIM_TESTS = \
	sim/owner \
	sim/powercut \
	sim/powercut-shuffle.sh \
	sim/powercut-thin.sh \
	sim/race \
	sim/race-thin.sh \
	sim/stress \
	sim/thin-cut \
	$(NULL)

check_PROGRAMS += $(SIM_PROGS)
sim_stress_SOURCES = \
	sim/stress.c \
	$(SHUFFLE) \
	$(NULL)
MODEL = \
	sim/model-effect.c \
	sim/model-faults.c sim/model-faults.h \
	sim/model-fiber.c sim/model-fiber.h \
	sim/model-flusher.c \
	sim/model-judge.c \
	sim/model-medium.c sim/model-medium.h \
	sim/model-oracle-impl.h \
	sim/model-oracle.c sim/model-oracle.h \
	sim/model-store.c sim/model-store.h sim/model-store-impl.h \
	sim/model-world.c sim/model-world.h \
	$(NULL)
SHUFFLE = \
	sim/shuffle-flush.c \
	sim/shuffle-map.c \
	sim/shuffle.c sim/shuffle.h \
	$(NULL)
sim_powercut_SOURCES = \
	sim/powercut-client.c \
	sim/powercut-config.c \
	sim/powercut-mishaps.c \
	sim/powercut-run.c \
	sim/powercut-thin.c \
	sim/powercut.c sim/powercut.h \
	$(SHUFFLE) \
	$(MODEL) \
	$(NULL)
sim_owner_SOURCES = \
	sim/model-fiber.c sim/model-fiber.h \
	sim/model-world.c sim/model-world.h \
	sim/owner-store.c \
	sim/owner.c sim/owner.h \
	$(NULL)
sim_thin_cut_SOURCES = \
	sim/powercut-config.c sim/powercut.h \
	sim/thin-cut-state.c \
	sim/thin-cut.c sim/thin-cut.h \
	$(MODEL) \
	$(NULL)
sim_race_SOURCES = \
	sim/model-fiber.c sim/model-fiber.h \
	sim/model-judge.c \
	sim/model-oracle-impl.h \
	sim/model-oracle.c sim/model-oracle.h \
	sim/model-world.c sim/model-world.h \
	sim/race-thin.c sim/race-thin.h \
	sim/race-round.c \
	sim/race.c sim/race.h \
	$(SHUFFLE) \
	tools/memory-store.c tools/memory-store.h \
	$(NULL)
TESTS += $(SIM_TESTS)

EXTRA_DIST += sim/powercut-shuffle.sh sim/powercut-thin.sh sim/race-thin.sh

# 100,000 power cuts, of seeds that the tests have not tried: make -C tests
# powercut-long, powercut-shuffle-long, powercut-thin-long, or thin-cut-long. SEED= sets
# the first.
SEED = 1001
powercut-long: sim/powercut
	sim/powercut $(SEED) 100000
powercut-shuffle-long: sim/powercut
	sim/powercut --shuffle $(SEED) 100000
powercut-thin-long: sim/powercut
	sim/powercut --thin $(SEED) 100000
thin-cut-long: sim/thin-cut
	sim/thin-cut $(SEED) 100000
.PHONY: powercut-long powercut-shuffle-long powercut-thin-long thin-cut-long

LONG_TESTS += \
	sim/powercut \
	sim/powercut-shuffle.sh \
	sim/powercut-thin.sh \
	$(NULL)
TSAN_TESTS += \
	sim/race \
	sim/race-thin.sh \
	sim/stress \
	$(NULL)
