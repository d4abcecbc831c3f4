/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Ctrl-C, and the signals like it: long work looks now and then whether it is to
 * stop, and leaves what it was at as it should.  The second such signal ends the
 * program at once.
 */

#ifndef FOLIO_IMG_STOP_H
#define FOLIO_IMG_STOP_H

#include <stdbool.h>

/* From here on they are looked after.  Once. */
extern void stop_catch (void);

/* Has one come? */
extern bool stop_wanted (void);

#endif /* FOLIO_IMG_STOP_H */
