/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Preloaded into nbdkit together with a sanitizer.  When nbdkit ends after an
 * error message, the destructor of libp11-kit (which nbdkit uses through
 * GnuTLS) then hangs for ever in freelocale.  What it would free goes with the
 * process anyway.
 */

#include <locale.h>

#pragma GCC visibility push(default)

void
freelocale (locale_t locale)
{
  (void) locale;
}

#pragma GCC visibility pop
