/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * thin: the log.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/thin/io.h"
#include "fs/thin/log.h"
#include "fs/thin/super.h"

#define HEADER sizeof (struct thin_log_header)

size_t
thin_log_room (uint64_t blocks)
{
  return blocks == 0
           ? 0
           : (blocks * THIN_BLOCK - HEADER) / sizeof (struct thin_log_entry);
}

uint64_t
thin_log_blocks (size_t n)
{
  return (HEADER + n * sizeof (struct thin_log_entry) + THIN_BLOCK - 1) /
         THIN_BLOCK;
}

void
thin_log_init (struct thin_log *log, const struct thin_super *super)
{
  memcpy (log->uuid, super->uuid, sizeof log->uuid);
  log->start = super->log_start;
  log->blocks = super->log_blocks;
  log->head = super->log;
  log->tail = super->log.block;
}

uint64_t
thin_log_used (const struct thin_log *log)
{
  return (log->head.block + log->blocks - log->tail) % log->blocks;
}

/* A block stays free, so that a full ring is not like an empty one; and no record goes
 * across the ring's end.
 */
uint64_t
thin_log_free (const struct thin_log *log)
{
  uint64_t n = log->blocks - 1 - thin_log_used (log);
  uint64_t most = log->blocks - log->head.block;

  if (n > most)
    n = most;
  return n > THIN_LOG_RECORD ? THIN_LOG_RECORD : n;
}

/* --- writing --- */

static enum thin_log_op
op_of (const struct range_entry *e, uint8_t own)
{
  switch (e->kind) {
  case RANGE_MAPPED: return e->flags & own ? THIN_LOG_MAP : THIN_LOG_CONVERT;
  case RANGE_UNWRITTEN: return THIN_LOG_UNWRITTEN;
  case RANGE_ZERO_KEEP: return THIN_LOG_ZERO_KEEP;
  default: return THIN_LOG_HOLE;
  }
}

void
thin_log_encode (const struct thin_log *log, struct range_map *map, size_t n,
                 uint8_t own, void *buf)
{
  struct thin_log_header *h = buf;
  struct thin_log_entry *to = (struct thin_log_entry *) (h + 1);
  struct range_entry *e = range_map_find (map, 0);
  uint64_t blocks = thin_log_blocks (n);
  size_t i;

  memset (buf, 0, blocks * THIN_BLOCK);
  h->chain = thin_put64 (log->head.chain);
  h->blocks = thin_put32 ((uint32_t) blocks);
  h->entries = thin_put32 ((uint32_t) n);
  for (i = 0; i < n; i++, e = range_map_next (e))
    to[i] = (struct thin_log_entry) {
      .logical = thin_put64 (e->start),
      .physical = thin_put64 (range_physical (e, e->start)),
      .length_op = thin_put64 ((e->end - e->start) << 8 | op_of (e, own)),
    };
  thin_seal (&h->h, THIN_MAGIC_LOG, log->uuid, log->start + log->head.block,
             log->head.sequence, blocks * THIN_BLOCK);
}

static void
step_over (struct thin_log_position *head, uint64_t ring,
           const struct thin_log_header *h)
{
  head->block = (head->block + thin_get32 (h->blocks)) % ring;
  head->sequence++;
  head->chain = thin_get64 (h->h.checksum);
}

void
thin_log_advance (struct thin_log *log, const void *buf)
{
  step_over (&log->head, log->blocks, buf);
}

/* --- reading --- */

struct replay {
  struct store *store;
  const struct thin_super *super;
  thin_replay_fn *fn;
  void *opaque;
  struct thin_log_position at;
  uint8_t *ring; /* all of it */
  bool past;     /* go on behind what is bad, and count that */
  uint64_t gaps;
};

static const struct thin_log_header *
record_at (const struct replay *r, uint64_t block)
{
  return (const struct thin_log_header *) (r->ring + block * THIN_BLOCK);
}

/* Is there a whole record of the image's at this block of the ring? */
static bool
is_record (const struct replay *r, uint64_t block)
{
  const struct thin_log_header *h = record_at (r, block);
  const struct thin_super *super = r->super;
  uint64_t blocks = thin_get32 (h->blocks);

  return thin_get32 (h->h.magic) == THIN_MAGIC_LOG && blocks > 0 &&
         blocks <= THIN_LOG_RECORD && blocks <= super->log_blocks - block &&
         thin_get32 (h->entries) <= thin_log_room (blocks) &&
         thin_sealed (&h->h, THIN_MAGIC_LOG, super->uuid,
                      super->log_start + block, blocks * THIN_BLOCK);
}

/* Does the range lie where data may be? */
static bool
is_data (const struct thin_super *super, uint64_t start, uint64_t length)
{
  if (start <= THIN_OWNER || start >= super->store_blocks ||
      length > super->store_blocks - start)
    return false;
  return start + length <= THIN_SUPER_B ||
         start >= super->log_start + super->log_blocks;
}

static int
apply (const struct replay *r, const struct thin_log_entry *e)
{
  uint64_t logical = thin_get64 (e->logical);
  uint64_t physical = thin_get64 (e->physical);
  uint64_t length = thin_get64 (e->length_op) >> 8;
  uint64_t disk = (r->super->disk_bytes + THIN_BLOCK - 1) / THIN_BLOCK;
  enum thin_log_op op = thin_get64 (e->length_op) & 0xff;

  if (length == 0 || logical >= disk || length > disk - logical)
    return -EIO;
  switch (op) {
  case THIN_LOG_MAP:
  case THIN_LOG_UNWRITTEN:
  case THIN_LOG_CONVERT:
    if (!is_data (r->super, physical, length))
      return -EIO;
    break;
  case THIN_LOG_ZERO_KEEP:
  case THIN_LOG_HOLE: break;
  default: return -EIO;
  }
  return r->fn (r->opaque, op, logical, length, physical);
}

static int
apply_record (struct replay *r, const struct thin_log_header *h)
{
  const struct thin_log_entry *e = (const struct thin_log_entry *) (h + 1);
  uint32_t i, n = thin_get32 (h->entries);
  int error = 0;

  for (i = 0; i < n && error == 0; i++) {
    error = apply (r, &e[i]);
    if (error == -EIO && r->past) {
      r->gaps++;
      error = 0;
    }
  }
  return error;
}

/* Is there a record that was written after the one that comes at `at'?  Then that one was
 * durable, and is not there any more.  *next: where the first of them is.
 */
static bool
is_broken (const struct replay *r, struct thin_log_position *next)
{
  const struct thin_log_header *h;
  uint64_t block, sequence;

  next->sequence = UINT64_MAX;

  for (block = 0; block < r->super->log_blocks; block++) {
    h = record_at (r, block);
    sequence = thin_get64 (h->h.generation);
    if (sequence > r->at.sequence && sequence < next->sequence &&
        sequence - r->at.sequence < r->super->log_blocks &&
        is_record (r, block))
      *next =
        (struct thin_log_position) { block, sequence, thin_get64 (h->chain) };
  }
  return next->sequence != UINT64_MAX;
}

static int
read_ring (const struct replay *r)
{
  uint64_t done, n;
  int error = 0;

  for (done = 0; done < r->super->log_blocks && error == 0; done += n) {
    n = r->super->log_blocks - done;
    n = n > THIN_SUPER_B ? THIN_SUPER_B : n;
    error = thin_io_read (r->store, r->super->log_start + done,
                          r->ring + done * THIN_BLOCK, n);
    if (error == -EIO && r->past) /* what is missed there will be noticed */
      error = 0;
  }
  return error;
}

static int
walk (struct replay *r)
{
  const struct thin_log_header *h;
  struct thin_log_position next;
  int error = 0;

  while (error == 0) {
    h = record_at (r, r->at.block);
    if (thin_get64 (h->h.generation) != r->at.sequence ||
        thin_get64 (h->chain) != r->at.chain || !is_record (r, r->at.block)) {
      if (!is_broken (r, &next))
        return 0;
      if (!r->past)
        return -EIO;
      r->gaps++;
      r->at = next;
      continue;
    }
    error = apply_record (r, h);
    step_over (&r->at, r->super->log_blocks, h);
  }
  return error;
}

static int
replay (struct replay *r)
{
  const struct thin_super *super = r->super;
  int error;

  if (super->log.block >= super->log_blocks)
    return -EIO;
  r->at = super->log;
  r->ring = thin_io_alloc (super->log_blocks);
  if (r->ring == NULL)
    return -ENOMEM;
  error = read_ring (r);
  if (error == 0)
    error = walk (r);
  free (r->ring);
  return error;
}

int
thin_log_replay (struct store *store, const struct thin_super *super,
                 thin_replay_fn *fn, void *opaque,
                 struct thin_log_position *end)
{
  struct replay r = {
    .store = store, .super = super, .fn = fn, .opaque = opaque
  };
  int error = replay (&r);

  *end = r.at;
  return error;
}

int
thin_log_replay_past (struct store *store, const struct thin_super *super,
                      thin_replay_fn *fn, void *opaque, uint64_t *gaps)
{
  struct replay r = {
    .store = store, .super = super, .fn = fn, .opaque = opaque, .past = true
  };
  int error = replay (&r);

  *gaps = r.gaps;
  return error;
}
