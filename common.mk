# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Flags shared by every directory that compiles something.

AM_CPPFLAGS = \
	-I$(top_srcdir) \
	$(FOLIO_CPPFLAGS) \
	$(NULL)
AM_CFLAGS = \
	-fvisibility=hidden \
	-pthread \
	$(FOLIO_CFLAGS) \
	$(TLS_CFLAGS) \
	$(SANITIZER_CFLAGS) \
	$(NULL)
AM_LDFLAGS = \
	-pthread \
	$(SANITIZER_CFLAGS) \
	$(NULL)
