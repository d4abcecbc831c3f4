/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The random-operation test: what its parts share.
 */

#ifndef FOLIO_TESTS_ORACLE_H
#define FOLIO_TESTS_ORACLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "image.h"
#include "target.h"
#include "util.h"

struct oracle {
  /* Options. */
  uint64_t seed;
  uint64_t ops;      /* 0: until the deadline */
  uint64_t deadline; /* now_ns (); 0: none */
  uint64_t max_len;  /* bytes of one request, at most */
  unsigned depth;    /* requests in flight in lock step */
  unsigned fua;      /* percent of the changes */
  unsigned trim;     /* percent of the changes that are trims */
  unsigned zero;     /* percent that are zeroes */

  struct target target;
  struct image image;
  atomic_bool failed;        /* a mismatch was reported */
  atomic_uint_fast64_t done; /* requests finished */
};

/* The random part of a request: what, where inside [from, to), and with
 * which flags and data.  Only changes of the disk if modify, else only
 * questions.
 */
void oracle_pick (const struct oracle *oracle, struct rng *rng, bool modify,
                  uint64_t from, uint64_t to, struct op *op);

/* A whole number of percent of requests that change the disk. */
#define ORACLE_MODIFY_PERCENT 60

/* Is there more to do, of ops requests?  0: until the deadline. */
bool oracle_goes_on (struct oracle *oracle, uint64_t done, uint64_t ops);

/* Say that a request failed, and that the test did. */
void oracle_refused (struct oracle *oracle, const struct request *req);

/* Did the server decline, as it may, to zero fast?  Then the disk has
 * not changed.
 */
bool oracle_declined (const struct request *req);

/* Compare the answer of req, over [from, from + length) inside it, with
 * the expected bytes of just this piece.  Sets failed.
 */
void oracle_check_answer (struct oracle *oracle, const struct request *req,
                          uint64_t from, const uint8_t *expected,
                          uint64_t length);

/* Check that the extents tile from the start of the request and stay
 * inside the disk.  Sets failed.
 */
void oracle_check_extents_shape (struct oracle *oracle,
                                 const struct request *req);

/* One thread a connection, each with its own places to write. */
void oracle_run_threads (struct oracle *oracle, uint64_t seed, uint64_t ops);

/* One thread, many requests in flight on all connections. */
void oracle_run_lockstep (struct oracle *oracle, uint64_t seed, uint64_t ops);

/* Requests that meet each other, together in flight. */
void oracle_run_races (struct oracle *oracle, uint64_t seed, uint64_t ops);

/* Read the whole disk and ask for all its extents. */
void oracle_verify (struct oracle *oracle);

#endif /* FOLIO_TESTS_ORACLE_H */
