/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What is between the two parts of the oracle.
 */

#ifndef MODEL_ORACLE_IMPL_H
#define MODEL_ORACLE_IMPL_H

#include "model-oracle.h"

/* The writes of one sector, in the order in which they began. */
struct sector {
  struct oracle_write **writes;
  uint32_t nr, room;
};

struct oracle {
  struct world *world;
  uint64_t size;
  uint64_t nr_sectors;
  uint64_t moment;
  uint64_t
    flush_begun; /* of those that succeeded unconditionally, the latest */
  struct oracle_flush *flushes; /* of those that did after something was told */
  unsigned nr_flushes, room_flushes;
  const _Atomic uint32_t *losses; /* the store's */
  uint32_t losses_seen;
  uint64_t lost; /* moment of the last of them */
  bool threads;
  uint32_t next_id;
  struct oracle_write *writes;
  struct sector *sectors;
  uint8_t *base; /* what was there when the disk was opened */
};

/* All of the bytes [start, end)? */
static inline bool
oracle_covers (const struct oracle_write *write, uint64_t start, uint64_t end)
{
  return write->offset <= start && end <= write->offset + write->length;
}

/* A loss has been before whatever begins from here on. */
extern void oracle_see_losses (struct oracle *o);

/* Is the piece [start, end) of the write durable?  May it be gone by now?  A piece is
 * in one sector, which is s, and no write begins or ends in it.
 */
extern bool oracle_piece_durable (const struct oracle *o,
                                  const struct sector *s,
                                  const struct oracle_write *write,
                                  uint64_t start, uint64_t end);
extern bool oracle_piece_gone (const struct oracle *o, const struct sector *s,
                               const struct oracle_write *write, uint64_t start,
                               uint64_t end);

#endif /* MODEL_ORACLE_IMPL_H */
