# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Tests of the source itself.

STYLE_TESTS = \
	style/format.sh \
	style/function-length.sh \
	style/headers.sh \
	style/layers.sh \
	style/readme-names.sh \
	$(NULL)

TESTS += $(STYLE_TESTS)
PLAIN_TESTS += $(STYLE_TESTS)
EXTRA_DIST += $(STYLE_TESTS) style/common.sh
