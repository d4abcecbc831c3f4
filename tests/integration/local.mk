# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Integration tests: integration/NAME.sh, which sources ../functions.sh. To add
# one, add integration/NAME.sh to the list; if it takes more than half a minute
# also to LONG_TESTS, or if that is because it mostly waits to WAITING_TESTS; if it
# is about concurrency to TSAN_TESTS; if none of our own code runs in it, or only
# what others run as well, to PLAIN_TESTS.

INTEGRATION_TESTS = \
	integration/bad-parameters.sh \
	integration/bad-requests.sh \
	integration/cache-modes.sh \
	integration/cache-smaller-than-data.sh \
	integration/clients.sh \
	integration/connections.sh \
	integration/control.sh \
	integration/control-fuzz.sh \
	integration/control-pause.sh \
	integration/control-set.sh \
	integration/crash.sh \
	integration/create.sh \
	integration/direct-modes.sh \
	integration/documentation.sh \
	integration/endings.sh \
	integration/exit-status.sh \
	integration/extents-during-writeback.sh \
	integration/extents-show-unflushed-data.sh \
	integration/file-shrinks.sh \
	integration/fio-verify.sh \
	integration/folioctl.sh \
	integration/folio-img-convert.sh \
	integration/folio-img-repair.sh \
	integration/folio-img.sh \
	integration/fuzz.sh \
	integration/holes-agree.sh \
	integration/image-lock.sh \
	integration/image-untouched.sh \
	integration/io-engines.sh \
	integration/killed-clients.sh \
	integration/last-client-leaves.sh \
	integration/late-acknowledgement.sh \
	integration/late-writes.sh \
	integration/loop-device.sh \
	integration/memory-bound.sh \
	integration/metrics.sh \
	integration/metrics-promtool.sh \
	integration/preallocate.sh \
	integration/qemu-img-convert.sh \
	integration/quickstart.sh \
	integration/random-ops-crowd.sh \
	integration/random-ops-direct.sh \
	integration/random-ops-far.sh \
	integration/random-ops-no-cache.sh \
	integration/random-ops-odd-size.sh \
	integration/random-ops-sequential-cutoff.sh \
	integration/random-ops-small-cache.sh \
	integration/random-ops-threads.sh \
	integration/random-ops-tiny-folios.sh \
	integration/random-ops-writethrough.sh \
	integration/random-ops.sh \
	integration/read-only.sh \
	integration/remote-changed.sh \
	integration/remote-crash.sh \
	integration/remote-errors.sh \
	integration/remote-features.sh \
	integration/remote-hangs.sh \
	integration/remote-holes.sh \
	integration/remote-hostile.sh \
	integration/remote-killed-after-zero.sh \
	integration/remote-later.sh \
	integration/remote-oracle.sh \
	integration/remote-outage.sh \
	integration/remote-readonly.sh \
	integration/remote-restart.sh \
	integration/remote-silent.sh \
	integration/remote-stale-write.sh \
	integration/remote-tls.sh \
	integration/shutdown-timeout.sh \
	integration/signal-with-idle-client.sh \
	integration/sigterm-keeps-unflushed-writes.sh \
	integration/statistics.sh \
	integration/store-full.sh \
	integration/terminate.sh \
	integration/thin-clients.sh \
	integration/thin-crash.sh \
	integration/thin-full.sh \
	integration/thin-grow.sh \
	integration/thin-kill.sh \
	integration/thin-overtaken.sh \
	integration/thin-parameters.sh \
	integration/thin-random-ops.sh \
	integration/thin-read-only.sh \
	integration/thin-remote-crash.sh \
	integration/thin-remote.sh \
	integration/thin-snapshot.sh \
	integration/thin.sh \
	integration/trim-and-zero-read-as-zeroes.sh \
	integration/virtual-machine-one-host.sh \
	integration/virtual-machine.sh \
	$(NULL)

TESTS += $(INTEGRATION_TESTS)
EXTRA_DIST += \
	$(INTEGRATION_TESTS) \
	integration/control-fuzz.py \
	integration/control.py \
	integration/disk-lib.sh \
	integration/disk.py \
	integration/folio-img-lib.sh \
	integration/helpers.sh \
	integration/hostile-lib.sh \
	integration/late-writes.py \
	integration/metrics.py \
	integration/random-ops-lib.sh \
	integration/remote-lib.sh \
	integration/thin-lib.sh \
	vm/lib.sh \
	vm/one-host \
	vm/run \
	$(NULL)

PLAIN_TESTS += \
	integration/documentation.sh \
	integration/memory-bound.sh \
	integration/quickstart.sh \
	integration/virtual-machine-one-host.sh \
	integration/virtual-machine.sh \
	$(NULL)
LONG_TESTS += \
	integration/bad-parameters.sh \
	integration/crash.sh \
	integration/fuzz.sh \
	integration/random-ops-crowd.sh \
	integration/random-ops-direct.sh \
	integration/random-ops-small-cache.sh \
	integration/random-ops.sh \
	integration/remote-crash.sh \
	integration/remote-oracle.sh \
	integration/remote-restart.sh \
	integration/terminate.sh \
	integration/thin-clients.sh \
	integration/thin-parameters.sh \
	integration/thin-random-ops.sh \
	integration/thin-remote-crash.sh \
	integration/thin-remote.sh \
	integration/virtual-machine-one-host.sh \
	integration/virtual-machine.sh \
	$(NULL)
WAITING_TESTS += \
	integration/remote-changed.sh \
	integration/remote-errors.sh \
	integration/remote-hangs.sh \
	integration/remote-hostile.sh \
	integration/remote-outage.sh \
	integration/remote-silent.sh \
	integration/remote-stale-write.sh \
	integration/shutdown-timeout.sh \
	integration/thin-read-only.sh \
	$(NULL)
TSAN_TESTS += \
	integration/cache-smaller-than-data.sh \
	integration/connections.sh \
	integration/control.sh \
	integration/control-fuzz.sh \
	integration/control-pause.sh \
	integration/control-set.sh \
	integration/fio-verify.sh \
	integration/last-client-leaves.sh \
	integration/metrics.sh \
	integration/random-ops-crowd.sh \
	integration/random-ops-small-cache.sh \
	integration/random-ops-threads.sh \
	integration/remote-hostile.sh \
	integration/remote-restart.sh \
	integration/remote-silent.sh \
	integration/shutdown-timeout.sh \
	integration/signal-with-idle-client.sh \
	$(NULL)

# 100 rounds of late writes in each mode: make -C tests late-writes-long. SEED=
# sets the seed.
late-writes-long: check-programs
	$(AM_TESTS_ENVIRONMENT) ROUNDS=100 \
	  bash $(srcdir)/integration/late-writes.sh
check-programs: $(check_PROGRAMS) $(check_LTLIBRARIES)
.PHONY: late-writes-long check-programs

# 100,000 requests of the protocol fuzzer on each kind of store: make -C tests
# fuzz-long. SEED= and KINDS= as for integration/fuzz.sh.
fuzz-long: check-programs
	$(AM_TESTS_ENVIRONMENT) REQUESTS=100000 \
	  bash $(srcdir)/integration/fuzz.sh
.PHONY: fuzz-long

# 10,000 random requests to the control socket: make -C tests control-fuzz-long.
# SEED= sets the seed.
control-fuzz-long: check-programs
	$(AM_TESTS_ENVIRONMENT) REQUESTS=10000 \
	  bash $(srcdir)/integration/control-fuzz.sh
.PHONY: control-fuzz-long

# What raw disks have to do, done by thin ones: as much of it, and on every kind of
# store: make -C tests thin-long. SEED= sets the seed, STORES= the stores of all.
THIN_LONG = thin-random-ops thin-parameters thin-kill thin-remote-crash \
	thin-remote thin-clients
thin-long: check-programs
	for test in $(THIN_LONG); do \
	  $(AM_TESTS_ENVIRONMENT) OPS=4000 LIVES=3 ROUNDS=100 \
	    bash $(srcdir)/integration/$$test.sh || exit 1; \
	done
.PHONY: thin-long
