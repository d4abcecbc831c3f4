/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Reads under way.  All is sequentially consistent: a reader counts itself and then
 * looks at the era, readers_gone changes the era and then looks at the counts.
 */

#include <assert.h>

#include "fs/iomap.h"
#include "fs/readers.h"

unsigned
readers_begin (struct fs *fs)
{
  struct readers *readers = &fs->readers;
  unsigned counted;

  for (;;) {
    counted = atomic_load (&readers->era) & 1;
    readers_join (fs, counted);
    if ((atomic_load (&readers->era) & 1) == counted)
      return counted;
    /* Too late, maybe: that era's readers may have been found to be gone. */
    readers_end (fs, counted);
  }
}

void
readers_join (struct fs *fs, unsigned counted)
{
  atomic_fetch_add (&fs->readers.reading[counted], 1);
}

void
readers_end (struct fs *fs, unsigned counted)
{
  struct readers *readers = &fs->readers;
  uint32_t left = atomic_fetch_sub (&readers->reading[counted], 1);

  assert (left > 0);
  if (left == 1 && atomic_load (&readers->awaited) &&
      atomic_exchange (&readers->awaited, false))
    bell_ring (fs->bell);
}

uint64_t
readers_era (const struct fs *fs)
{
  return atomic_load (&fs->readers.era);
}

/* Begin the next era, unless there are readers of the last one left. */
static bool
next_era (struct readers *readers, uint64_t now)
{
  if (atomic_load (&readers->reading[(now + 1) & 1]) > 0)
    return false;
  atomic_store (&readers->era, now + 1);
  return true;
}

static bool
gone (struct readers *readers, uint64_t era)
{
  uint64_t now = atomic_load (&readers->era);

  if (now == era && !next_era (readers, now))
    return false;
  /* The one after the next begins only without its readers. */
  return now > era + 1 || atomic_load (&readers->reading[era & 1]) == 0;
}

bool
readers_gone (struct fs *fs, uint64_t era)
{
  if (gone (&fs->readers, era))
    return true;
  atomic_store (&fs->readers.awaited, true);
  return gone (&fs->readers, era); /* who has just left may not have seen it */
}
