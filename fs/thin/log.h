/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * thin: the log, a ring of records of what has changed since the trees were committed
 * last.  Records are written one after the other, each when the one before is durable,
 * and name that one's checksum; so what is read back ends with the last that was
 * written, or with one whose end nobody has been told of.
 */

#ifndef FOLIO_THIN_LOG_H
#define FOLIO_THIN_LOG_H

#include <stddef.h>

#include "fs/thin/meta.h"
#include "fs/thin/range-map.h"

/* How many entries a record of so many blocks has room for. */
extern size_t thin_log_room (uint64_t blocks);

/* How many blocks a record of n entries takes. */
extern uint64_t thin_log_blocks (size_t n);

/* Where a log may go on. */
struct thin_log {
  uint8_t uuid[16];
  uint64_t start, blocks;        /* of the ring */
  struct thin_log_position head; /* where the next record goes */
  uint64_t tail; /* block of the ring: from where on it is needed still */
};

/* The log as the superblock has it: empty. */
extern void thin_log_init (struct thin_log *log,
                           const struct thin_super *super);

/* Blocks that the next record may have at most, 0: it has to wait for the tail. */
extern uint64_t thin_log_free (const struct thin_log *log);

/* Blocks that are in use. */
extern uint64_t thin_log_used (const struct thin_log *log);

/* Write down the first n entries of the map as the next record, in buf, of
 * thin_log_blocks (n) blocks: what is MAPPED and has flag own as MAP, else as CONVERT.
 */
extern void thin_log_encode (const struct thin_log *log, struct range_map *map,
                             size_t n, uint8_t own, void *buf);

/* That record is durable. */
extern void thin_log_advance (struct thin_log *log, const void *buf);

typedef int thin_replay_fn (void *opaque, enum thin_log_op op, uint64_t logical,
                            uint64_t length, uint64_t physical);

/* Call fn for all entries of all records from super->log on, in order, until it returns
 * an error, and say where the next record goes.  -EIO: what there is makes no sense, or
 * a record is bad that others follow.  Blocks.
 */
extern int thin_log_replay (struct store *store, const struct thin_super *super,
                            thin_replay_fn *fn, void *opaque,
                            struct thin_log_position *end);

/* The same of all records that can be found from there on, in order, though others are bad or
 * gone; so are what is bad of a record's entries, and what cannot be read.  *gaps: how
 * often something was left out.
 */
extern int thin_log_replay_past (struct store *store,
                                 const struct thin_super *super,
                                 thin_replay_fn *fn, void *opaque,
                                 uint64_t *gaps);

#endif /* FOLIO_THIN_LOG_H */
