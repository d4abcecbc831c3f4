/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A store in memory for the unit tests.  It does what it is told: holds
 * requests until the test lets them go, fails the ones a rule names, takes its
 * time, keeps a record of all it was asked, and can lose power.
 *
 * Without any of that each request is carried out, and its done called, inside
 * submit on the submitting thread.  No loop is needed; attach does nothing.
 *
 *   struct fake_store *fake = fake_store_create (&env, 1 << 20);
 *   fake->store.geo.min_io = 4096;           (tweak before first use)
 *   ... hand &fake->store to what is tested ...
 *   fake_store_hold (fake, STORE_WRITE);
 *   ... something that writes ...
 *   fake_store_wait_held (fake, STORE_WRITE, 3);
 *   fake_store_release (fake, STORE_WRITE, 1);
 *   fake_store_unhold (fake, STORE_WRITE);
 *   fake->store.ops->close (&fake->store);
 *
 * A request has its effect (data copied, zeroes made, flush durable) at the
 * moment it completes, not when it is submitted.
 */

#ifndef FAKE_STORE_H
#define FAKE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/store.h"

#define FAKE_OPS 5              /* how many values enum store_op has */
#define FAKE_STATUS_GRAIN 4096u /* bytes to a unit of block_status */

struct fake_state;

struct fake_store {
  struct store store; /* geo may be changed before the first request */

  /* What a read returns, geo.size bytes.  To be touched directly only while
   * nothing is in flight; else fake_store_peek and fake_store_poke.
   */
  uint8_t *content;

  /* Called, if set, on the asking thread in every block_status, after the
   * answer was made up and before it is reported: where a test changes the
   * world behind the asker's back.
   */
  void (*status_hook) (struct fake_store *fake, void *opaque);
  void *status_opaque;

  _Atomic bool slow_zero; /* STORE_FAST_ZERO fails */
  _Atomic uint32_t lost;  /* counts how often something may have been lost */
  struct fake_state *state;
};

/* One request as it came in, or, for error and done, as it went. */
struct fake_record {
  enum store_op op;
  unsigned flags;
  uint64_t offset;
  uint64_t length;
  bool done;
  int error;
};

/* Which requests fail: those of op that overlap [offset, offset+length)
 * (length 0: all), but not the first `skip' of them, then `count' of them.
 */
struct fake_rule {
  enum store_op op;
  uint64_t offset;
  uint64_t length;
  int error; /* a negative errno */
  unsigned skip;
  unsigned count;
};

/* A store full of zeroes, all of it STORE_DATA, that can do everything
 * (min_io 512, best_io 1 MiB, max_io 2 MiB).  Memory is used only for what is
 * touched: a size of 1 TiB is no problem.  Ends the program without memory.
 * Closed and freed by store.ops->close, with nothing held.
 */
extern struct fake_store *fake_store_create (struct env *env, uint64_t size);

/* From now on requests of op are kept until released, in order of arrival. */
extern void fake_store_hold (struct fake_store *fake, enum store_op op);

/* Sleep until at least n requests of op are held. */
extern void fake_store_wait_held (struct fake_store *fake, enum store_op op,
                                  unsigned n);

/* How many requests of op are held now. */
extern unsigned fake_store_held (struct fake_store *fake, enum store_op op);

/* Complete the n oldest held requests of op (or as many as there are) on the
 * calling thread; later ones are still held.  Returns how many.
 */
extern unsigned fake_store_release (struct fake_store *fake, enum store_op op,
                                    unsigned n);

/* Complete the newest held request of op: for completion out of order. */
extern unsigned fake_store_release_newest (struct fake_store *fake,
                                           enum store_op op);

/* Stop holding op and complete all that are held, on the calling thread. */
extern void fake_store_unhold (struct fake_store *fake, enum store_op op);

/* Add a rule.  A request that fails changes nothing.  All rules that match
 * count a request; the first that strikes gives the error.
 */
extern void fake_store_fail (struct fake_store *fake,
                             const struct fake_rule *rule);

/* As above: the next count requests of op, wherever they are. */
extern void fake_store_fail_next (struct fake_store *fake, enum store_op op,
                                  unsigned count, int error);

/* Drop all rules. */
extern void fake_store_heal (struct fake_store *fake);

/* From now on requests of op take ns nanoseconds of real time, side by side,
 * and complete on a thread of the store's own; with serial, one after another.
 */
extern void fake_store_latency (struct fake_store *fake, enum store_op op,
                                uint64_t ns, bool serial);

/* Requests of op that were submitted, and the sum of their lengths. */
extern unsigned fake_store_count (struct fake_store *fake, enum store_op op);
extern uint64_t fake_store_bytes (struct fake_store *fake, enum store_op op);

/* Calls of block_status. */
extern unsigned fake_store_status_count (struct fake_store *fake);

/* The i-th request since the last clear, in order of submission; false if
 * there were not that many.
 */
extern bool fake_store_record (struct fake_store *fake, size_t i,
                               struct fake_record *record);

/* Forget the record and set the counts to 0. */
extern void fake_store_clear (struct fake_store *fake);

/* Read and change the content while requests may be in flight. */
extern void fake_store_peek (struct fake_store *fake, uint64_t offset,
                             void *buf, size_t length);
extern void fake_store_poke (struct fake_store *fake, uint64_t offset,
                             const void *buf, size_t length);

/* What block_status says of the range (in units of FAKE_STATUS_GRAIN).  Writes
 * make it STORE_DATA, TRIM a STORE_HOLE, ZERO STORE_UNWRITTEN.  The content is not
 * changed.
 */
extern void fake_store_set_status (struct fake_store *fake, uint64_t offset,
                                   uint64_t length, enum store_extent type);

/* block_status fails with this negative errno (0: works again). */
extern void fake_store_fail_status (struct fake_store *fake, int error);

/* From now on what is written is volatile until a flush (or FUA). */
extern void fake_store_volatile (struct fake_store *fake);

/* From now on a flush that fails is a power cut at that moment: see
 * fake_store_crash.
 */
extern void fake_store_lossy (struct fake_store *fake, uint64_t seed);

/* Power cut, with nothing in flight: each sector that is not durable keeps its
 * new content or goes back to its durable one, as seed decides; seed 0: all go
 * back.
 */
extern void fake_store_crash (struct fake_store *fake, uint64_t seed);

/* The store loses what is not durable without an error, as a remote server that
 * was restarted (see losses in store.h): seed as above.  Requests in flight take
 * effect afterwards, as they do when they are done again, but a FLUSH fails with
 * -ECONNRESET when it completes.  Calls store.changed on the calling thread.
 */
extern void fake_store_lose (struct fake_store *fake, uint64_t seed);

/* Call store.changed, as when the store is in reach again. */
extern void fake_store_back (struct fake_store *fake);

#endif /* FAKE_STORE_H */
