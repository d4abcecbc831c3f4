/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The fixture over a store that loses all that it had not made durable: when a
 * flush fails, and when it is told to.
 */

#ifndef VOLATILE_FIXTURE_H
#define VOLATILE_FIXTURE_H

#include "cache-fixture.h"

/* The whole disk has version 0. */
extern struct fixture *start_volatile (const struct fixture_config *config);

/* A test with one, f. */
#define VOLATILE_TEST(name, ...)                                               \
  FIXTURE_TEST (name, start_volatile (&(struct fixture_config) { __VA_ARGS__ }))

/* One in which no client is bothered, nor the log. */
#define UNBOTHERED_TEST(name, ...)                                             \
  TEST_WITH (name, struct fixture *f,                                          \
             start_volatile (&(struct fixture_config) { __VA_ARGS__ }),        \
             stop_unbothered)

/* Flush on that connection until it succeeds: after zeroes had to be done again, one
 * of the mapping's own may be failing still.
 */
extern void flush_until_ok (struct fixture *f, unsigned conn);

/* All flushes fail at the store, which forgets, until this one is over. */
extern void flush_fails (struct fixture *f, unsigned conn);

/* The store loses it now, without an error. */
extern void lose (struct fixture *f);

/* Zero the first 64 KiB and start a flush on the first connection.  Just before
 * it is sent the store loses the zero, and that is seen only then: the zero has
 * been done again, and the store holds the flush.
 */
extern void flush_behind_loss (struct fixture *f, struct job *flush);

/* What the store has now, it has for ever. */
extern void power_cut (struct fixture *f);

/* Wait until everything is written back and flushed. */
extern void until_saved (struct fixture *f);

/* Stop; no client was bothered, nor the log. */
extern void stop_unbothered (struct fixture *f);

/* Stop; the log tells of what was lost, so many times. */
extern void stop_lost (struct fixture *f, unsigned times);

#endif /* VOLATILE_FIXTURE_H */
