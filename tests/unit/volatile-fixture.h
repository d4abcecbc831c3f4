/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The fixture over a store whose flushes fail: then it loses all that it had
 * not made durable.
 */

#ifndef VOLATILE_FIXTURE_H
#define VOLATILE_FIXTURE_H

#include "cache-fixture.h"

/* The whole disk has version 0. */
extern struct fixture *start_volatile (const struct fixture_config *config);

/* A flush on that connection: succeeds, or is tried until it does (after zeroes
 * had to be done again, one of the mapping's own may be failing still).
 */
extern void flush_ok (struct fixture *f, unsigned conn);
extern void flush_until_ok (struct fixture *f, unsigned conn);

/* All flushes fail at the store, which forgets, until this one is over. */
extern void flush_fails (struct fixture *f, unsigned conn);

#endif /* VOLATILE_FIXTURE_H */
