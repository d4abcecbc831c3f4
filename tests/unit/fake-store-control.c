/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The fake store's handles: how a test holds, fails and watches requests.
 */

#include <stdlib.h>
#include <string.h>

#include "fake-store-state.h"

void
fake_store_hold (struct fake_store *fake, enum store_op op)
{
  pthread_mutex_lock (&fake->state->lock);
  fake->state->holding[op] = true;
  pthread_mutex_unlock (&fake->state->lock);
}

void
fake_store_wait_held (struct fake_store *fake, enum store_op op, unsigned n)
{
  struct fake_state *s = fake->state;

  pthread_mutex_lock (&s->lock);
  while (s->held[op].count < n)
    pthread_cond_wait (&s->changed, &s->lock);
  pthread_mutex_unlock (&s->lock);
}

unsigned
fake_store_held (struct fake_store *fake, enum store_op op)
{
  unsigned n;

  pthread_mutex_lock (&fake->state->lock);
  n = fake->state->held[op].count;
  pthread_mutex_unlock (&fake->state->lock);
  return n;
}

unsigned
fake_store_release (struct fake_store *fake, enum store_op op, unsigned n)
{
  struct fake_state *s = fake->state;
  struct fifo out = { NULL, NULL, 0 };
  struct store_req *req;
  unsigned released;

  pthread_mutex_lock (&s->lock);
  while (out.count < n && (req = fake_fifo_pop (&s->held[op])) != NULL)
    fake_fifo_push (&out, req);
  pthread_mutex_unlock (&s->lock);
  released = out.count;
  while ((req = fake_fifo_pop (&out)) != NULL)
    fake_finish (fake, req);
  return released;
}

unsigned
fake_store_release_newest (struct fake_store *fake, enum store_op op)
{
  struct fake_state *s = fake->state;
  struct fifo kept = { NULL, NULL, 0 };
  struct store_req *req;

  pthread_mutex_lock (&s->lock);
  while ((req = fake_fifo_pop (&s->held[op])) != NULL && s->held[op].count > 0)
    fake_fifo_push (&kept, req);
  s->held[op] = kept;
  pthread_mutex_unlock (&s->lock);
  if (req == NULL)
    return 0;
  fake_finish (fake, req);
  return 1;
}

void
fake_store_unhold (struct fake_store *fake, enum store_op op)
{
  pthread_mutex_lock (&fake->state->lock);
  fake->state->holding[op] = false;
  pthread_mutex_unlock (&fake->state->lock);
  fake_store_release (fake, op, (unsigned) -1);
}

void
fake_store_fail (struct fake_store *fake, const struct fake_rule *rule)
{
  struct fake_state *s = fake->state;

  pthread_mutex_lock (&s->lock);
  fake_must (s->nrules < MAX_RULES ? s : NULL);
  s->rules[s->nrules++] = *rule;
  pthread_mutex_unlock (&s->lock);
}

void
fake_store_fail_next (struct fake_store *fake, enum store_op op, unsigned count,
                      int error)
{
  fake_store_fail (
    fake, &(struct fake_rule) { .op = op, .error = error, .count = count });
}

void
fake_store_heal (struct fake_store *fake)
{
  pthread_mutex_lock (&fake->state->lock);
  fake->state->nrules = 0;
  pthread_mutex_unlock (&fake->state->lock);
}

unsigned
fake_store_count (struct fake_store *fake, enum store_op op)
{
  struct fake_state *s = fake->state;
  unsigned n = 0;
  size_t i;

  pthread_mutex_lock (&s->lock);
  for (i = 0; i < s->nrecords; i++)
    n += s->records[i].op == op;
  pthread_mutex_unlock (&s->lock);
  return n;
}

uint64_t
fake_store_bytes (struct fake_store *fake, enum store_op op)
{
  struct fake_state *s = fake->state;
  uint64_t n = 0;
  size_t i;

  pthread_mutex_lock (&s->lock);
  for (i = 0; i < s->nrecords; i++)
    if (s->records[i].op == op)
      n += s->records[i].length;
  pthread_mutex_unlock (&s->lock);
  return n;
}

unsigned
fake_store_status_count (struct fake_store *fake)
{
  unsigned n;

  pthread_mutex_lock (&fake->state->lock);
  n = fake->state->status_count;
  pthread_mutex_unlock (&fake->state->lock);
  return n;
}

bool
fake_store_record (struct fake_store *fake, size_t i,
                   struct fake_record *record)
{
  struct fake_state *s = fake->state;
  bool found;

  pthread_mutex_lock (&s->lock);
  found = i < s->nrecords;
  if (found)
    *record = s->records[i];
  pthread_mutex_unlock (&s->lock);
  return found;
}

void
fake_store_clear (struct fake_store *fake)
{
  struct fake_state *s = fake->state;

  pthread_mutex_lock (&s->lock);
  s->first += s->nrecords;
  s->nrecords = 0;
  s->status_count = 0;
  pthread_mutex_unlock (&s->lock);
}

void
fake_store_peek (struct fake_store *fake, uint64_t offset, void *buf,
                 size_t length)
{
  pthread_mutex_lock (&fake->state->lock);
  memcpy (buf, fake->content + offset, length);
  pthread_mutex_unlock (&fake->state->lock);
}

void
fake_store_poke (struct fake_store *fake, uint64_t offset, const void *buf,
                 size_t length)
{
  pthread_mutex_lock (&fake->state->lock);
  memcpy (fake->content + offset, buf, length);
  fake_mark_unstable (fake->state, offset, length);
  pthread_mutex_unlock (&fake->state->lock);
}

void
fake_store_set_status (struct fake_store *fake, uint64_t offset,
                       uint64_t length, enum store_extent type)
{
  pthread_mutex_lock (&fake->state->lock);
  fake_set_status (fake, offset, fake_inside (fake, offset, length), type);
  pthread_mutex_unlock (&fake->state->lock);
}

void
fake_store_fail_status (struct fake_store *fake, int error)
{
  pthread_mutex_lock (&fake->state->lock);
  fake->state->status_error = error;
  pthread_mutex_unlock (&fake->state->lock);
}

void
fake_store_volatile (struct fake_store *fake)
{
  struct fake_state *s = fake->state;
  uint64_t size = fake->store.geo.size;

  pthread_mutex_lock (&s->lock);
  if (s->durable == NULL) {
    s->durable = fake_map_zeroes (size);
    s->unstable = fake_map_zeroes (units (size, SECTOR));
    memcpy (s->durable, fake->content, size);
  }
  pthread_mutex_unlock (&s->lock);
}

void
fake_store_lossy (struct fake_store *fake, uint64_t seed)
{
  pthread_mutex_lock (&fake->state->lock);
  fake->state->lossy = true;
  fake->state->loss_seed = seed;
  pthread_mutex_unlock (&fake->state->lock);
}

void
fake_store_crash (struct fake_store *fake, uint64_t seed)
{
  pthread_mutex_lock (&fake->state->lock);
  fake_lose (fake, &seed);
  pthread_mutex_unlock (&fake->state->lock);
}

void
fake_store_lose (struct fake_store *fake, uint64_t seed)
{
  pthread_mutex_lock (&fake->state->lock);
  fake_lose (fake, &seed);
  atomic_fetch_add (&fake->store.losses, 1);
  pthread_mutex_unlock (&fake->state->lock);
  fake_store_back (fake);
}

void
fake_store_back (struct fake_store *fake)
{
  if (fake->store.changed)
    fake->store.changed (fake->store.opaque);
}
