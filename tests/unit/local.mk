# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Unit tests: one cmocka program each, from unit/NAME.c, linked with cache/, fs/
# and libtests.a, and without nbdkit. To add one, add unit/NAME to this list.

UNIT_TESTS = \
	unit/abort-test \
	unit/arena-test \
	unit/background-test \
	unit/bad-ranges-test \
	unit/balance-settle-test \
	unit/balance-test \
	unit/cmdline-test \
	unit/config-test \
	unit/destroy-test \
	unit/direct-test \
	unit/env-test \
	unit/extents-learn-test \
	unit/extents-race-test \
	unit/extents-test \
	unit/failure-split-test \
	unit/failure-test \
	unit/failure-zero-test \
	unit/file-cut-test \
	unit/file-open-test \
	unit/file-pieces-test \
	unit/file-retry-test \
	unit/file-short-test \
	unit/file-test \
	unit/file-threads-test \
	unit/file-turns-test \
	unit/file-untouched-test \
	unit/file-zero-test \
	unit/fill-length-test \
	unit/fill-test \
	unit/folio-test \
	unit/fs-life-test \
	unit/fua-test \
	unit/full-store-test \
	unit/gather-test \
	unit/gone-test \
	unit/gone-zero-test \
	unit/group-commit-test \
	unit/help-test \
	unit/index-room-test \
	unit/index-stress-test \
	unit/index-test \
	unit/iomap-test \
	unit/log-test \
	unit/loss-direct-test \
	unit/loss-direct-zero-test \
	unit/loss-moments-test \
	unit/loss-moved-test \
	unit/loss-test \
	unit/loss-zero-test \
	unit/nbd-uri-test \
	unit/map-writeback-test \
	unit/metrics-test \
	unit/nowait-test \
	unit/parse-test \
	unit/pending-cases-test \
	unit/pending-test \
	unit/priority-test \
	unit/progress-test \
	unit/ranges-test \
	unit/raw-ask-test \
	unit/raw-lookahead-test \
	unit/raw-race-test \
	unit/raw-test \
	unit/raw-zero-test \
	unit/readahead-test \
	unit/readers-test \
	unit/reclaim-block-test \
	unit/reclaim-stress-test \
	unit/reclaim-test \
	unit/report-test \
	unit/shutdown-test \
	unit/signals-test \
	unit/stats-log-test \
	unit/stats-test \
	unit/store-queue-test \
	unit/sync-steps-test \
	unit/sync-test \
	unit/throttle-law-test \
	unit/throttle-test \
	unit/use-test \
	unit/write-mapping-test \
	unit/write-test \
	unit/zero-fast-test \
	unit/zero-race-test \
	unit/zero-room-test \
	unit/zero-size-test \
	unit/zero-test \
	$(NULL)
if HAVE_LIBNBD
UNIT_TESTS += \
	unit/nbd-change-test \
	unit/nbd-connect-test \
	unit/nbd-drain-test \
	unit/nbd-durable-test \
	unit/nbd-loss-test \
	unit/nbd-slow-test \
	unit/nbd-test \
	$(NULL)
endif

# Of code that knows of no threads, or in which one thread does it all; others test
# the same code with more.
NO_THREADS = \
	unit/bad-ranges-test \
	unit/balance-settle-test \
	unit/cmdline-test \
	unit/config-test \
	unit/file-pieces-test \
	unit/file-short-test \
	unit/index-test \
	unit/iomap-test \
	unit/log-test \
	unit/nbd-uri-test \
	unit/parse-test \
	unit/pending-cases-test \
	unit/pending-test \
	unit/progress-test \
	unit/ranges-test \
	unit/signals-test \
	unit/store-queue-test \
	unit/throttle-law-test \
	unit/zero-size-test \
	$(NULL)

if HAVE_CMOCKA
check_PROGRAMS += $(UNIT_TESTS)
TESTS += $(UNIT_TESTS)
TSAN_TESTS += $(filter-out $(NO_THREADS), $(UNIT_TESTS))
WAITING_TESTS += \
	unit/file-open-test \
	unit/file-retry-test \
	unit/nbd-loss-test \
	$(NULL)
else
check-local: no-cmocka
no-cmocka:
	@echo 'The unit tests need cmocka: install the Debian package libcmocka-dev' >&2
	@exit 1
endif

unit_shutdown_test_SOURCES = \
	unit/shutdown-test.c \
	unit/shutdown-world.c unit/shutdown-world.h \
	$(NULL)

# What several tests have in common: each takes what it needs of it.
libtests_a_SOURCES += \
	unit/fake-store-control.c \
	unit/fake-store-effects.c \
	unit/fake-store-state.h \
	unit/fake-store.c unit/fake-store.h \
	unit/law-sim.c unit/law-sim.h \
	unit/seed.h \
	unit/store-loop.c unit/store-loop.h \
	$(NULL)
if HAVE_CMOCKA
libtests_a_SOURCES += \
	unit/balance-world.c unit/balance-world.h \
	unit/cache-fixture.c unit/cache-fixture.h \
	unit/disk-model.c unit/disk-model.h \
	unit/extents-expect.h \
	unit/fake-mapping.c unit/fake-mapping.h \
	unit/file-rig.c unit/file-rig.h \
	unit/fixture-state.c \
	unit/gone-world.c unit/gone-world.h \
	unit/index-model.c unit/index-model.h \
	unit/invariants.c unit/invariants.h \
	unit/map-run.h \
	unit/raw-bench.c unit/raw-bench.h \
	unit/test.h \
	unit/volatile-fixture.c unit/volatile-fixture.h \
	$(NULL)
if HAVE_LIBNBD
libtests_a_SOURCES += \
	unit/nbd-load.c unit/nbd-load.h \
	unit/nbd-rig.c unit/nbd-rig.h \
	$(NULL)
endif
endif
