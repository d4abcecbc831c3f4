# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Integration tests: integration/NAME.sh, which sources ../functions.sh. To add
# one, add integration/NAME.sh to the list; if it takes more than a minute also
# to SLOW_TESTS, if it is about concurrency also to TSAN_TESTS.

INTEGRATION_TESTS = \
	integration/crash.sh \
	integration/random-ops-crowd.sh \
	integration/random-ops-direct.sh \
	integration/random-ops-far.sh \
	integration/random-ops-no-cache.sh \
	integration/random-ops-odd-size.sh \
	integration/random-ops-sequential-cutoff.sh \
	integration/random-ops-small-cache.sh \
	integration/random-ops-tiny-folios.sh \
	integration/random-ops-writethrough.sh \
	integration/random-ops.sh \
	integration/terminate.sh \
	$(NULL)

TESTS += $(INTEGRATION_TESTS)
EXTRA_DIST += $(INTEGRATION_TESTS) integration/random-ops-lib.sh

SLOW_TESTS += \
	$(NULL)
TSAN_TESTS += \
	integration/random-ops-crowd.sh \
	integration/random-ops-small-cache.sh \
	$(NULL)
