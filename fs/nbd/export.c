/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The NBD store: what an export is like, and whether it is the one it was.
 */

#include <inttypes.h>
#include <stdio.h>

#include "fs/nbd/export.h"
#include "fs/nbd/handle.h"
#include "fs/num.h"

/* The size of blocks that the server named, or def. */
static uint32_t
block_size (struct nbd_handle *h, int which, uint32_t def)
{
  int64_t n = nbd_get_block_size (h, which);

  return n <= 0 ? def : (uint32_t) min_u64 ((uint64_t) n, UINT32_MAX);
}

int
export_learn (struct nbd_handle *h, struct export_facts *facts, char *why)
{
  int64_t size = nbd_get_size (h);

  if (size < 0) {
    handle_explain (why, "its size is not known");
    return handle_errno ();
  }
  *facts = (struct export_facts) {
    .min_block = block_size (h, LIBNBD_SIZE_MINIMUM, 1),
    .max_block = (uint32_t) min_u64 (
      block_size (h, LIBNBD_SIZE_MAXIMUM, MAX_PAYLOAD), MAX_PAYLOAD),
    .readonly = nbd_is_read_only (h) > 0,
    .flush = nbd_can_flush (h) > 0,
    .fua = nbd_can_fua (h) > 0,
    .zero = nbd_can_zero (h) > 0,
    .fast_zero = nbd_can_fast_zero (h) > 0,
    .multi_conn = nbd_can_multi_conn (h) > 0,
    .rotational = nbd_is_rotational (h) > 0,
    .extents = nbd_can_meta_context (h, LIBNBD_CONTEXT_BASE_ALLOCATION) > 0,
  };
  facts->tail = (uint32_t) ((uint64_t) size % facts->min_block);
  facts->size = (uint64_t) size - facts->tail;
  return 0;
}

/* What it could it still can; more does no harm. */
static bool
still (const char *what, bool was, bool is, char *why)
{
  if (is || !was)
    return true;
  snprintf (why, WHY_MAX, "it was %s, and now is not", what);
  return false;
}

/* Whatever is asked of a disk of that size and those blocks, it takes. */
static bool
blocks_fit (const struct export_facts *was, const struct export_facts *is,
            char *why)
{
  uint32_t granted = was->min_block < 512 ? 512 : was->min_block;

  if (is->max_block < MAX_MIN_IO) {
    snprintf (why, WHY_MAX,
              "it took requests of up to %" PRIu32
              " bytes, and now takes up to %" PRIu32 "; at least %u are needed",
              was->max_block, is->max_block, MAX_MIN_IO);
    return false;
  }
  if (granted % is->min_block == 0 && was->size % is->min_block == 0)
    return true;
  snprintf (why, WHY_MAX,
            "it took requests of %" PRIu32
            " bytes or multiples, and now takes %" PRIu32 " or multiples only",
            was->min_block, is->min_block);
  return false;
}

/* All of what it was is there; what is behind it is not touched. */
static bool
large_enough (const struct export_facts *was, const struct export_facts *is,
              char *why)
{
  if (is->size >= was->size)
    return true;
  snprintf (why, WHY_MAX,
            "it had %" PRIu64 " bytes, and now has %" PRIu64 " bytes",
            was->size + was->tail, is->size + is->tail);
  return false;
}

/* It still does what writing to it takes?  FUA can be had by a flush, and in place
 * of one; zeroes that have to be written are as good as a promise broken to clients
 * that trim, and may fill what lies under the server.
 */
static bool
still_written_to (const struct export_facts *was, const struct export_facts *is,
                  char *why)
{
  if (is->readonly && !was->readonly) {
    snprintf (why, WHY_MAX, "it was not read-only, and now is read-only");
    return false;
  }
  return still ("able to flush", was->flush, is->flush, why) &&
         still ("able to do FUA", was->fua, is->fua || is->flush, why) &&
         still ("able to zero", was->zero, is->zero, why);
}

bool
export_fits (const struct export_facts *was, bool readonly,
             const struct export_facts *is, char *why)
{
  return blocks_fit (was, is, why) && large_enough (was, is, why) &&
         (readonly || still_written_to (was, is, why));
}

void
export_join (struct export_facts *facts, const struct export_facts *other)
{
  if (other->size < facts->size) {
    facts->size = other->size;
    facts->tail = other->tail;
  }
  facts->min_block = (uint32_t) max_u64 (facts->min_block, other->min_block);
  facts->max_block = (uint32_t) min_u64 (facts->max_block, other->max_block);
  facts->readonly |= other->readonly;
  facts->flush &= other->flush;
  facts->fua &= other->fua;
  facts->zero &= other->zero;
  facts->fast_zero &= other->fast_zero;
  facts->multi_conn &= other->multi_conn;
  facts->extents &= other->extents;
}
