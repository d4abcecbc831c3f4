/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * shuffle: its map, and the places.
 */

#include "shuffle.h"

uint64_t
shuffle_addr (const struct shuffle *s, uint32_t place)
{
  return 2 * s->area + (uint64_t) place * SHUFFLE_BLOCK;
}

void
shuffle_release (struct shuffle *s, uint32_t place)
{
  s->place[place].used = true;
  s->place[place].era = readers_era (&s->fs);
}

void
shuffle_set (struct shuffle *s, uint32_t block, uint32_t place)
{
  uint32_t old = s->map[block];

  if (old == place)
    return;
  s->map[block] = place;
  atomic_fetch_add (&s->cookie, 1);
  if (place != SHUFFLE_NONE)
    s->place[place].mapped = true;
  if (old != SHUFFLE_NONE) {
    s->place[old].mapped = false;
    shuffle_release (s, old);
  }
}

static bool
is_free (struct shuffle *s, uint32_t place)
{
  const struct shuffle_place *p = &s->place[place];

  return !p->mapped && !p->durable && !p->pinned && !p->snapped && !p->flying &&
         (!p->used || readers_gone (&s->fs, p->era));
}

uint32_t
shuffle_take (struct shuffle *s, uint32_t n, uint32_t *first)
{
  uint32_t i, tried, got = 0;

  if (rng_below (&s->rng, 4) == 0)
    s->next = (uint32_t) rng_below (&s->rng, s->places);
  for (tried = 0; tried < s->places && !is_free (s, s->next); tried++)
    s->next = (s->next + 1) % s->places;
  *first = s->next;
  while (got < n && *first + got < s->places && is_free (s, *first + got))
    got++;
  for (i = *first; i < *first + got; i++) {
    s->place[i].flying = true;
    s->place[i].solid = false;
  }
  s->next = (*first + got) % s->places;
  return got;
}

void
shuffle_revert (struct shuffle *s, uint64_t losses)
{
  struct shuffle_place *p;
  uint32_t b;

  for (b = 0; b < s->places; b++)
    s->place[b].dead |= s->place[b].flying && s->place[b].takeoff != losses;
  for (b = 0; b < s->blocks; b++) {
    p = s->map[b] == SHUFFLE_NONE ? NULL : &s->place[s->map[b]];
    if (p && !p->solid && p->began != losses)
      shuffle_set (s, b, s->durable[b]);
  }
}
