/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Part of the extent map: a copy of the range found last.
 */

#ifndef FOLIO_EXTENTS_RECENT_H
#define FOLIO_EXTENTS_RECENT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* A range of one type, or of which nothing is known. */
struct found {
  uint64_t start, end;
  int type; /* an enum iomap_type, or UNKNOWN */
};
#define UNKNOWN (-1)

/* A copy of the range found last, which is likely to be looked for next: read
 * without the lock, changed with it.  A sequence lock, with the orders of Boehm,
 * "Can Seqlocks Get Along With Programming Language Memory Models?", 2012, but
 * none of his fences, which ThreadSanitizer does not know.
 */
struct recent {
  _Atomic uint64_t seq;        /* odd while it is being changed */
  _Atomic uint64_t start, end; /* end 0: none */
  _Atomic int type;
} __attribute__ ((aligned (64)));

/* The range found last, if offset is in it. */
static inline bool
recent_read (struct recent *r, uint64_t offset, struct found *found)
{
  /* Acquire: what follows is of this change or a later one. */
  uint64_t seq = atomic_load_explicit (&r->seq, memory_order_acquire);

  /* Acquire: having seen anything of a later change, we see its seq below. */
  found->start = atomic_load_explicit (&r->start, memory_order_acquire);
  found->end = atomic_load_explicit (&r->end, memory_order_acquire);
  found->type = atomic_load_explicit (&r->type, memory_order_acquire);

  /* Relaxed: the loads before it are acquires. */
  return seq % 2 == 0 &&
         atomic_load_explicit (&r->seq, memory_order_relaxed) == seq &&
         found->start <= offset && offset < found->end;
}

/* The map's lock is held, here and below. */
static inline void
recent_set (struct recent *r, const struct found *found)
{
  /* Relaxed: changed with the lock only. */
  uint64_t seq = atomic_load_explicit (&r->seq, memory_order_relaxed);

  /* Relaxed: ordered by the releases that follow. */
  atomic_store_explicit (&r->seq, seq + 1, memory_order_relaxed);
  /* Release: who sees one of these sees that seq is odd, or has moved on. */
  atomic_store_explicit (&r->start, found->start, memory_order_release);
  atomic_store_explicit (&r->end, found->end, memory_order_release);
  atomic_store_explicit (&r->type, found->type, memory_order_release);
  /* Release: who sees it even again sees all of them. */
  atomic_store_explicit (&r->seq, seq + 2, memory_order_release);
}

/* The tree is about to change. */
static inline void
recent_forget (struct recent *r)
{
  /* Relaxed: changed with the lock only. */
  if (atomic_load_explicit (&r->end, memory_order_relaxed) != 0)
    recent_set (r, &(struct found) { 0 });
}

#endif /* FOLIO_EXTENTS_RECENT_H */
