/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * thin: an image that is only read, which nobody may write to meanwhile, as what is read
 * would be somewhere else, or gone.  A store that is locked sees to that; elsewhere who
 * reads looks at the owner's block, as often as an owner writes it, and cannot be seen
 * himself: so an owner may be there for one such interval before he notices.
 */

#ifndef FOLIO_THIN_READER_H
#define FOLIO_THIN_READER_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/store.h"

struct thin_reader {
  struct store *store;
  uint8_t *first; /* the block as it was at the beginning, */
  uint8_t *buf;   /* and as it is */
  bool looking;   /* the loop thread's, as all below */
  uint64_t due;   /* ns: of the next look */
  struct store_req req;
  struct iovec iov;
  _Atomic bool done;
  int error;
  void (*ring) (void *opaque); /* what is done is to be looked at */
  void *opaque;
};

/* Begin to read the image of that UUID; waits, also to see whether an owner is alive.
 * -EBUSY: one is; or what the store says; with the reason in why.
 */
extern int thin_reader_begin (struct thin_reader *r, struct store *store,
                              const uint8_t *uuid,
                              const struct store_message *why);

/* The loop thread, now and then, when that has succeeded: see to the next look.  Returns
 * -EBUSY if somebody owns the image, or has since, else 0.
 */
extern int thin_reader_step (struct thin_reader *r, uint64_t now);

/* Has nobody owned the image until now?  Then what was read is what it says.  Blocks.  0, -EBUSY
 * or what the store says.
 */
extern int thin_reader_still (struct thin_reader *r);

extern void thin_reader_destroy (struct thin_reader *r);

#endif /* FOLIO_THIN_READER_H */
