/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The ghost table, see ghost.h.
 */

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "cache/base/arena.h"
#include "cache/folio/ghost.h"

#define BUCKET_ENTRIES 8

struct entry {
  uint32_t print; /* fingerprint, and kind in the lowest bit; 0: empty */
  uint32_t time;
};

struct bucket {
  struct entry entries[BUCKET_ENTRIES];
};

struct ghost {
  struct bucket *buckets;
  uint32_t nr_buckets;
  uint32_t time[2]; /* pages added of each kind; wraps */
  unsigned orders;  /* bit k: folios of order k were added */
};

int
ghost_create (uint32_t entries, struct ghost **ret)
{
  struct ghost *ghost = calloc (1, sizeof *ghost);

  if (ghost == NULL)
    return -ENOMEM;
  ghost->nr_buckets = (entries + BUCKET_ENTRIES - 1) / BUCKET_ENTRIES;
  if (ghost->nr_buckets == 0)
    ghost->nr_buckets = 1;
  ghost->buckets =
    mmap (NULL, ghost->nr_buckets * sizeof (struct bucket),
          PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (ghost->buckets == MAP_FAILED) {
    free (ghost);
    return -ENOMEM;
  }
  *ret = ghost;
  return 0;
}

void
ghost_destroy (struct ghost *ghost)
{
  if (ghost == NULL)
    return;
  munmap (ghost->buckets, ghost->nr_buckets * sizeof (struct bucket));
  free (ghost);
}

/* 64 bits to 64, each bit on each: the finalizer of MurmurHash3 (Appleby). */
static uint64_t
mix (uint64_t x)
{
  x ^= x >> 33;
  x *= UINT64_C (0xff51afd7ed558ccd);
  x ^= x >> 33;
  x *= UINT64_C (0xc4ceb9fe1a85ec53);
  return x ^ x >> 33;
}

static uint64_t
hash (uint16_t mapping, uint64_t index, unsigned order)
{
  return mix (mix (index) + ((uint64_t) mapping << 8 | order));
}

/* The high half chooses the bucket, the low half is the fingerprint. */
static struct bucket *
find_bucket (struct ghost *ghost, uint64_t h)
{
  return &ghost->buckets[(h >> 32) * ghost->nr_buckets >> 32];
}

static uint32_t
fingerprint (uint64_t h)
{
  return (h & 0xfffffffe) == 0 ? 2 : (uint32_t) h & 0xfffffffe;
}

static uint32_t
entry_age (const struct ghost *ghost, const struct entry *entry)
{
  return ghost->time[entry->print & 1] - entry->time;
}

static struct entry *
find_entry (struct bucket *bucket, uint32_t print)
{
  for (unsigned i = 0; i < BUCKET_ENTRIES; ++i)
    if ((bucket->entries[i].print & ~1u) == print)
      return &bucket->entries[i];
  return NULL;
}

/* The entry to overwrite: an empty one, else the oldest. */
static struct entry *
find_room (const struct ghost *ghost, struct bucket *bucket)
{
  struct entry *oldest = &bucket->entries[0];

  for (unsigned i = 0; i < BUCKET_ENTRIES; ++i) {
    struct entry *entry = &bucket->entries[i];

    if (entry->print == 0)
      return entry;
    if (entry_age (ghost, entry) > entry_age (ghost, oldest))
      oldest = entry;
  }
  return oldest;
}

void
ghost_add (struct ghost *ghost, uint16_t mapping, uint64_t index,
           unsigned order, unsigned kind)
{
  uint64_t h = hash (mapping, index, order);
  struct bucket *bucket = find_bucket (ghost, h);
  struct entry *entry = find_entry (bucket, fingerprint (h));

  if (entry == NULL)
    entry = find_room (ghost, bucket);
  entry->print = fingerprint (h) | kind;
  entry->time = ghost->time[kind];
  ghost->time[kind] += 1u << order;
  ghost->orders |= 1u << order;
}

bool
ghost_take (struct ghost *ghost, uint16_t mapping, uint64_t index,
            unsigned order, unsigned *kind, uint32_t *age)
{
  for (unsigned k = order; k <= MAX_ORDER; ++k) {
    uint64_t h = hash (mapping, index >> k << k, k);
    struct entry *entry;

    if (!(ghost->orders & 1u << k))
      continue;
    entry = find_entry (find_bucket (ghost, h), fingerprint (h));
    if (entry) {
      *kind = entry->print & 1;
      *age = entry_age (ghost, entry);
      entry->print = 0;
      return true;
    }
  }
  return false;
}
