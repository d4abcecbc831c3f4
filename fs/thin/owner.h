/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * thin: who has the image open for writing; after ext4's multiple mount protection.  The
 * owner's block names the server's run, and counts up every few seconds.
 *
 *   the block                  who comes                  the owner
 *   says released              takes it                   (there is none)
 *   is another's, and counts   is refused                 goes on
 *   is another's, and does     takes it                   finds another there at its
 *   not for some beats                                    next beat, and stops for good
 *   is not valid               takes it, likewise
 *
 * Who takes it looks again a little later whether it is still his.
 */

#ifndef FOLIO_THIN_OWNER_H
#define FOLIO_THIN_OWNER_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/store.h"
#include "fs/thin/format.h"

/* ns, between two beats. */
#define THIN_BEAT (2 * NSEC_PER_SEC)

/* What of the beats is under way. */
enum { THIN_RESTING, THIN_LOOKING, THIN_BEATING };

struct thin_owner {
  struct store *store;
  uint8_t uuid[16]; /* the image's */
  uint8_t run[16];  /* this one's */
  uint64_t count;   /* of the block, as it was written last */
  uint8_t *buf;     /* a block; NULL: it was never taken */

  /* The loop thread's. */
  uint64_t due;           /* ns: of the next beat */
  _Atomic uint32_t phase; /* futex word */
  _Atomic bool stopping;  /* there are to be no more */
  struct store_req req;
  struct iovec iov;
  _Atomic bool done;
  int error;
  void (*ring) (void *opaque); /* what is done is to be looked at */
  void *opaque;
};

/* Take the image for this run; waits, also to see whether another is alive, but not for
 * one that was on this machine if the store is locked against those.  -EBUSY: one is; or
 * what the store says; with the reason in why.
 */
extern int thin_owner_take (struct thin_owner *o, struct store *store,
                            const uint8_t *uuid,
                            const struct store_message *why);

/* Say that nobody has it.  Waits, also for a beat that is on, which the loop thread
 * looks after.
 */
extern int thin_owner_release (struct thin_owner *o);

/* Is somebody else alive who has it?  Waits for some beats.  1, 0, or a negative errno. */
extern int thin_owner_other (struct store *store, const uint8_t *uuid);

/* The loop thread, now and then, when it has been taken: see to the next beat.  Returns
 * -EBUSY if another has taken it, else 0.
 */
extern int thin_owner_step (struct thin_owner *o, uint64_t now);
extern uint64_t thin_owner_deadline (const struct thin_owner *o);
extern bool thin_owner_idle (const struct thin_owner *o);

extern void thin_owner_destroy (struct thin_owner *o);

#endif /* FOLIO_THIN_OWNER_H */
