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
	unit/file-lease-test \
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
	unit/range-map-test \
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
	unit/thin-cost-test \
	unit/thin-crash-test \
	unit/thin-damage-test \
	unit/thin-meta-test \
	unit/thin-layers-test \
	unit/thin-log-test \
	unit/thin-overtaken-test \
	unit/thin-space-test \
	unit/thin-trips-test \
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
	unit/nbd-lease-test \
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
	unit/range-map-test \
	unit/ranges-test \
	unit/signals-test \
	unit/store-queue-test \
	unit/thin-layers-test \
	unit/thin-log-test \
	unit/thin-space-test \
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
	unit/nbd-server.c unit/nbd-server.h \
	$(NULL)
endif
endif
unit_nbd_change_test_SOURCES = unit/nbd-change-test.c $(NBD_RIG)
unit_nbd_connect_test_SOURCES = unit/nbd-connect-test.c $(NBD_RIG)
unit_nbd_drain_test_SOURCES = unit/nbd-drain-test.c $(NBD_RIG)
unit_nbd_durable_test_SOURCES = unit/nbd-durable-test.c $(NBD_RIG)
unit_nbd_lease_test_SOURCES = unit/nbd-lease-test.c $(NBD_RIG)
unit_nbd_loss_test_SOURCES = unit/nbd-loss-test.c $(NBD_RIG)
unit_nbd_slow_test_SOURCES = unit/nbd-slow-test.c $(NBD_RIG)
unit_nbd_test_SOURCES = unit/nbd-test.c $(NBD_RIG)

CACHE_FIXTURE = \
	unit/cache-fixture.c unit/cache-fixture.h \
	unit/invariants.c unit/invariants.h \
	unit/seed.h \
	$(FAKE_STORE) \
	tools/util.c tools/util.h \
	$(NULL)
DISK_MODEL = unit/disk-model.c unit/disk-model.h
GONE_WORLD = unit/gone-world.c unit/gone-world.h $(CACHE_FIXTURE)
unit_gone_test_SOURCES = unit/gone-test.c $(GONE_WORLD)
unit_gone_zero_test_SOURCES = unit/gone-zero-test.c $(GONE_WORLD)
unit_index_room_test_SOURCES = unit/index-room-test.c $(CACHE_FIXTURE)
unit_sync_steps_test_SOURCES = unit/sync-steps-test.c $(VOLATILE_FIXTURE)
unit_sync_test_SOURCES = unit/sync-test.c $(CACHE_FIXTURE)
unit_use_test_SOURCES = unit/use-test.c $(CACHE_FIXTURE)
unit_write_test_SOURCES = unit/write-test.c $(DISK_MODEL) $(CACHE_FIXTURE)
unit_zero_race_test_SOURCES = unit/zero-race-test.c $(CACHE_FIXTURE)
unit_zero_room_test_SOURCES = unit/zero-room-test.c $(CACHE_FIXTURE)
unit_zero_size_test_SOURCES = unit/zero-size-test.c
unit_zero_test_SOURCES = unit/zero-test.c $(CACHE_FIXTURE)
unit_readahead_test_SOURCES = \
	unit/readahead-test.c \
	unit/seed.h \
	tools/util.c tools/util.h \
	$(NULL)
FAKE_MAPPING = \
	unit/fake-mapping.c unit/fake-mapping.h \
	unit/invariants.c unit/invariants.h \
	tools/util.c tools/util.h \
	$(NULL)
unit_reclaim_stress_test_SOURCES = \
	unit/reclaim-stress-test.c \
	unit/seed.h \
	$(FAKE_MAPPING) \
	$(NULL)
unit_reclaim_test_SOURCES = unit/reclaim-test.c $(FAKE_MAPPING)
unit_map_writeback_test_SOURCES = unit/map-writeback-test.c $(CACHE_FIXTURE)
unit_folio_test_SOURCES = unit/folio-test.c $(CACHE_FIXTURE)
unit_range_map_test_SOURCES = \
	unit/range-map-test.c unit/seed.h tools/util.c tools/util.h
unit_ranges_test_SOURCES = unit/ranges-test.c unit/seed.h tools/util.c tools/util.h
unit_write_mapping_test_SOURCES = \
	unit/map-run.h \
	unit/write-mapping-test.c \
	$(CACHE_FIXTURE) \
	$(NULL)
unit_fill_length_test_SOURCES = unit/fill-length-test.c $(CACHE_FIXTURE)
unit_reclaim_block_test_SOURCES = unit/reclaim-block-test.c $(CACHE_FIXTURE)
unit_fill_test_SOURCES = unit/fill-test.c $(CACHE_FIXTURE)
unit_nowait_test_SOURCES = unit/nowait-test.c $(CACHE_FIXTURE)
unit_priority_test_SOURCES = unit/priority-test.c $(CACHE_FIXTURE)
unit_failure_split_test_SOURCES = unit/failure-split-test.c $(CACHE_FIXTURE)
VOLATILE_FIXTURE = \
	unit/volatile-fixture.c unit/volatile-fixture.h \
	$(CACHE_FIXTURE) \
	$(NULL)
unit_failure_test_SOURCES = unit/failure-test.c $(VOLATILE_FIXTURE)
unit_failure_zero_test_SOURCES = unit/failure-zero-test.c $(DISK_MODEL) $(VOLATILE_FIXTURE)
unit_destroy_test_SOURCES = unit/destroy-test.c $(CACHE_FIXTURE)
unit_fs_life_test_SOURCES = unit/fs-life-test.c $(CACHE_FIXTURE)
unit_gather_test_SOURCES = unit/gather-test.c $(CACHE_FIXTURE)
unit_readers_test_SOURCES = unit/readers-test.c $(CACHE_FIXTURE)
unit_fua_test_SOURCES = unit/fua-test.c $(CACHE_FIXTURE)
unit_full_store_test_SOURCES = unit/full-store-test.c $(CACHE_FIXTURE)
unit_loss_direct_test_SOURCES = unit/loss-direct-test.c $(VOLATILE_FIXTURE)
unit_loss_direct_zero_test_SOURCES = \
	unit/loss-direct-zero-test.c \
	$(VOLATILE_FIXTURE) \
	$(NULL)
unit_loss_moments_test_SOURCES = unit/loss-moments-test.c $(DISK_MODEL) $(CACHE_FIXTURE)
unit_loss_test_SOURCES = unit/loss-test.c $(VOLATILE_FIXTURE)
unit_loss_zero_test_SOURCES = unit/loss-zero-test.c $(VOLATILE_FIXTURE)
unit_direct_test_SOURCES = unit/direct-test.c $(DISK_MODEL) $(CACHE_FIXTURE)
unit_report_test_SOURCES = unit/report-test.c $(CACHE_FIXTURE)
unit_thin_layers_test_SOURCES = \
	unit/thin-layers-test.c unit/seed.h tools/util.c tools/util.h
unit_thin_log_test_SOURCES = \
	unit/thin-log-test.c unit/seed.h $(FAKE_STORE) tools/util.c tools/util.h
unit_thin_space_test_SOURCES = \
	unit/thin-space-test.c unit/seed.h tools/util.c tools/util.h
unit_thin_trips_test_SOURCES = unit/thin-trips-test.c $(CACHE_FIXTURE)
unit_thin_damage_test_SOURCES = \
	unit/thin-damage-test.c \
	tools/memory-store.c tools/memory-store.h \
	tools/util.c tools/util.h \
	$(NULL)
unit_throttle_law_test_SOURCES = \
	unit/seed.h \
	unit/law-sim.c unit/law-sim.h \
	unit/throttle-law-test.c \
	tools/util.c tools/util.h \
	$(NULL)
unit_background_test_SOURCES = unit/background-test.c $(CACHE_FIXTURE)
unit_group_commit_test_SOURCES = unit/group-commit-test.c $(CACHE_FIXTURE)
unit_help_test_SOURCES = unit/help-test.c $(CACHE_FIXTURE)
BALANCE_WORLD = unit/balance-world.c unit/balance-world.h $(CACHE_FIXTURE)
unit_balance_settle_test_SOURCES = unit/balance-settle-test.c $(BALANCE_WORLD)
unit_balance_test_SOURCES = unit/balance-test.c $(BALANCE_WORLD)
unit_throttle_test_SOURCES = unit/throttle-test.c $(CACHE_FIXTURE)
unit_stats_log_test_LDADD = $(FOLIO_PLUGIN_LIB) $(LDADD)
unit_stats_test_SOURCES = unit/stats-test.c $(CACHE_FIXTURE)
THIN_WORLD = \
	unit/seed.h \
	unit/thin-world.c unit/thin-world.h \
	tools/util.c tools/util.h \
	$(FAKE_STORE) \
	$(NULL)
unit_thin_cost_test_SOURCES = unit/thin-cost-test.c $(THIN_WORLD)
unit_thin_crash_test_SOURCES = unit/thin-crash-test.c $(THIN_WORLD)
unit_thin_meta_test_SOURCES = unit/thin-meta-test.c $(THIN_WORLD)
