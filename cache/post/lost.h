/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Writes past the cache that the store has lost, of which there is no copy, and who
 * has been told: by a flush that fails, once a connection.
 *
 *   open when it was lost     told, by its next flush
 *   opened later              told, if nobody has been yet; or if one has left that
 *                             had not been and had written what may be among it,
 *                             and nobody who came after it has been: it may be the
 *                             same client, come back
 *
 * So whoever asks first is not the only one to know, and a client does not fail for
 * what was over before it came.  For any thread.
 */

#ifndef FOLIO_LOST_H
#define FOLIO_LOST_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct lost {
  _Atomic uint32_t count; /* how often something was lost */
  pthread_mutex_t lock;   /* protects the rest; a leaf */
  uint32_t owed; /* those who come are told of what came after this count */
  uint32_t left; /* how many have left that may have to be told */
  uint32_t debt; /* left, when the last did; 0 when all is told, or durable */
};

/* Of a connection. */
struct told {
  _Atomic uint32_t count; /* of the above, as far as told */
  _Atomic bool wrote;     /* something past the cache that may not be durable */
  uint32_t came;          /* lost.left when it did */
};

/* What a flush of a connection begins with. */
struct told_flush {
  uint32_t count, left;
  bool wrote;
};

extern void lost_init (struct lost *lost);
extern void lost_destroy (struct lost *lost);

/* Something is lost, or may be. */
static inline void
lost_note (struct lost *lost)
{
  atomic_fetch_add (&lost->count, 1);
}

/* Are those who come next to be told of something? */
extern bool lost_untold (struct lost *lost);

extern void told_open (struct lost *lost, struct told *told);
extern void told_close (struct lost *lost, struct told *told);

/* A flush begins. */
extern void told_begin (struct lost *lost, struct told *told,
                        struct told_flush *flush);

/* It is over, with this result.  Returns whether it has to fail, since something
 * was lost that was written before this; then told_fail is to be called.
 */
extern bool told_end (struct lost *lost, struct told *told,
                      const struct told_flush *flush, int r);

/* It is about to fail.  All flushes of the connection do that came before one of
 * them was over: each may be another client's.
 */
extern void told_fail (struct lost *lost, struct told *told);

#endif /* FOLIO_LOST_H */
