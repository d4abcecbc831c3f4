# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Integration tests: integration/NAME.sh, which sources ../functions.sh. To add
# one, add integration/NAME.sh to the list; if it takes more than a minute also
# to SLOW_TESTS, if it is about concurrency also to TSAN_TESTS.

INTEGRATION_TESTS = \
	$(NULL)

TESTS += $(INTEGRATION_TESTS)
EXTRA_DIST += $(INTEGRATION_TESTS)

SLOW_TESTS += \
	$(NULL)
TSAN_TESTS += \
	$(NULL)
