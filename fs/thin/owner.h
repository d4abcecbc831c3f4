/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * thin: who has the image open for writing; after ext4's multiple mount protection.  The
 * owner's block names the server's run, and counts up every few seconds.
 *
 *   the block                  who comes                  the owner
 *   says released, or nothing  takes it                   (there is none)
 *   is another's, and counts   is refused                 goes on
 *   is another's, and does     takes it                   finds another there when he
 *   not for some beats                                    looks, and stops for good
 *   is not valid               takes it, likewise
 *
 * An owner may be stopped, or cut off, at any moment and for any time, and not know it.  So
 * he has the store's lease (store.h) only for so long after each look at the block, counted
 * from before it was sent; and who takes it from him writes it, and waits for that long,
 * before he looks again whether it is still his, and reads anything else.
 */

#ifndef FOLIO_THIN_OWNER_H
#define FOLIO_THIN_OWNER_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/store.h"
#include "fs/thin/format.h"

/* ns, between two beats, where the store does not take longer. */
#define THIN_BEAT (2 * NSEC_PER_SEC)

/* The lease of an owner whose block says that interval: ns. */
static inline uint64_t
thin_lease (uint64_t interval)
{
  return interval / 2 * 3;
}

/* The block, being read or written by the loop thread. */
struct thin_owner_io {
  struct thin_owner *owner;
  struct store_req req;
  struct iovec iov;
  uint8_t *buf;
  bool on; /* it is under way */
  _Atomic bool done;
  int error;
};

struct thin_owner {
  struct store *store;
  uint8_t uuid[16];      /* the image's */
  uint8_t run[16];       /* this one's */
  uint64_t count;        /* of the block, as it was written last */
  _Atomic bool taken;    /* thin_owner_step sees to it from now on */
  _Atomic bool stopping; /* there are to be no more beats */
  _Atomic uint32_t busy; /* of the two below, under way: futex word */
  _Atomic bool asked;    /* something waits for a look */

  /* The loop thread's, once it is taken. */
  uint64_t due;      /* ns: of the next look */
  uint64_t since;    /* ns of env_boottime: when the last was sent */
  uint64_t sure;     /* the same: looks sent before that prove nothing */
  uint64_t interval; /* ns, as the block says; the least it may say */
  uint64_t next;     /* ns: what it is about to say */
  bool lost;         /* it is another's */
  struct thin_owner_io look, beat;

  void (*ring) (void *opaque); /* a step is to be taken soon */
  void *opaque;
};

/* Take the image for this run; waits, also to see whether another is alive, but not for
 * one that was on this machine if the store is locked against those.  From then on the
 * store's lease is ours, and ends if thin_owner_step is not called.  ring is set.  -EBUSY:
 * another has it; or what the store says; with the reason in why.
 */
extern int thin_owner_take (struct thin_owner *o, struct store *store,
                            const uint8_t *uuid,
                            const struct store_message *why);

/* Say that nobody has it.  Waits, also for what is under way, which the loop thread looks
 * after.  Nothing else is written any more.
 */
extern int thin_owner_release (struct thin_owner *o);

/* Is somebody else alive who has it?  Waits for some beats.  1, 0, or a negative errno. */
extern int thin_owner_other (struct store *store, const uint8_t *uuid);

/* The loop thread, after ring, at the deadline, and now and then, when it has been taken,
 * until nothing is written any more: see to looks and beats.  Returns -EBUSY if another
 * has it, else 0.
 */
extern int thin_owner_step (struct thin_owner *o, uint64_t now);
extern uint64_t thin_owner_deadline (const struct thin_owner *o);
extern bool thin_owner_idle (const struct thin_owner *o);

extern void thin_owner_destroy (struct thin_owner *o);

#endif /* FOLIO_THIN_OWNER_H */
