/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A fixture whose first connection's client can hang up.
 */

#ifndef GONE_WORLD_H
#define GONE_WORLD_H

#include "cache-fixture.h"

extern struct world {
  _Atomic bool gone;      /* it has */
  _Atomic unsigned asked; /* times */
  _Atomic bool hang_up;   /* does at the next wait that has an end */
  _Atomic unsigned waits; /* such waits */
  unsigned copies;
  struct folio *(*alloc) (struct mapping *mapping, unsigned order, bool wait);
  size_t (*copy_in) (struct mapping *mapping, void *dst, const void *src,
                     size_t n);
} world;

extern struct fixture *start_gone (const struct fixture_config *config);

/* A test with one, f. */
#define GONE_TEST(name, ...)                                                   \
  FIXTURE_TEST (name, start_gone (&(struct fixture_config) { __VA_ARGS__ }))

/* It hangs up, and that is noticed. */
extern void gone_known (struct fixture *f);

/* For fixture_config.wait: hang up if world.hang_up. */
extern bool hang_up_at_wait (struct fixture *f, _Atomic uint32_t *word,
                             uint32_t value, uint64_t deadline);

/* A job that writes the pattern of this version; its buf is to be freed. */
#define WRITE_JOB 77
extern struct job write_job (uint64_t offset, uint64_t n);

/* Make so much dirty on a connection that there is no room for a page more. */
extern void fill_up (struct fixture *f, unsigned conn);

/* Requests that have failed, as counted. */
extern uint64_t failures (struct fixture *f);

#endif /* GONE_WORLD_H */
