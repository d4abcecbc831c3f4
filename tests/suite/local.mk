# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# What tests/run and run-one.sh are made of, and tests of that.

SUITE_TESTS = \
	suite/failures-have-kinds.sh \
	$(NULL)

TESTS += $(SUITE_TESTS)
PLAIN_TESTS += $(SUITE_TESTS)
EXTRA_DIST += \
	$(SUITE_TESTS) \
	suite/counting.sh \
	suite/verdict.sh \
	$(NULL)
