/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * shuffle: reading the map, and making it durable.
 *
 *   IDLE -- flush --> DATA -- done --> MAP -- done --> LAST -- done --> IDLE
 *
 * From DATA at once to IDLE if the map is the durable one, and no other was written since;
 * and from anywhere on an error, or when the store has lost something meanwhile.
 */

#include <errno.h>
#include <string.h>

#include "shuffle.h"

#define MAGIC UINT64_C (0x656c666675687321)

struct header {
  uint64_t magic, generation, sum;
  uint64_t salt; /* of what follows */
};

static uint64_t
sum_of (const struct shuffle *s, const uint8_t *buf)
{
  uint64_t sum = 0, word;
  size_t i;

  for (i = 0; i < s->area; i += 8) {
    memcpy (&word, buf + i, 8);
    if (i != offsetof (struct header, sum))
      sum = mix64 (sum ^ word) + i;
  }
  return sum;
}

/* No two maps have a sector alike: else one that was torn when power was cut could be
 * completed by another that is.
 */
static void
salt (struct shuffle *s)
{
  struct header header;
  uint64_t word;
  size_t i;

  memcpy (&header, s->buf, sizeof header);
  for (i = sizeof header; i < s->area; i += 8) {
    memcpy (&word, s->buf + i, 8);
    word ^= mix64 (header.salt + i);
    memcpy (s->buf + i, &word, 8);
  }
}

/* --- reading --- */

/* Take the map of that area, if it is one, and newer than what was taken. */
static void
take_area (struct shuffle *s)
{
  struct header header;

  memcpy (&header, s->buf, sizeof header);
  if (header.magic != MAGIC || header.sum != sum_of (s, s->buf) ||
      header.generation <= s->generation)
    return;
  s->generation = header.generation;
  salt (s);
  memcpy (s->durable, s->buf + sizeof header, s->blocks * sizeof *s->durable);
}

int
shuffle_read (struct shuffle *s)
{
  struct iovec iov = { .iov_base = s->buf, .iov_len = s->area };
  struct store_req req = {
    .op = STORE_READ, .length = s->area, .iov = &iov, .niov = 1
  };
  unsigned i;
  uint32_t b;
  int r;

  for (i = 0; i < 2; i++) {
    req.offset = i * s->area;
    r = store_submit_wait (s->fs.store, &req);
    if (r < 0)
      return r;
    take_area (s);
  }
  for (b = 0; b < s->blocks; b++)
    if (s->durable[b] != SHUFFLE_NONE) {
      s->map[b] = s->durable[b];
      s->place[s->map[b]] = (struct shuffle_place) { .mapped = true,
                                                     .durable = true,
                                                     .solid = true };
    }
  return 0;
}

/* --- a flush --- */

static void
req_done (struct store_req *req, int error)
{
  struct shuffle *s =
    (struct shuffle *) ((char *) req - offsetof (struct shuffle, req));

  s->error = error;
  atomic_store (&s->done, true);
  fs_ring (&s->fs);
}

static void
send (struct shuffle *s, enum store_op op, enum shuffle_flush state)
{
  struct store_req *reqs[] = { &s->req };

  s->state = state;
  s->iov = (struct iovec) { .iov_base = s->buf, .iov_len = s->area };
  s->req = (struct store_req) { .op = op, .done = req_done };
  if (op == STORE_WRITE) {
    /* Not over the one that counts. */
    s->req.offset = (s->generation + 1) % 2 * s->area;
    s->req.length = s->area;
    s->req.iov = &s->iov;
    s->req.niov = 1;
  }
  s->fs.store->ops->submit (s->fs.store, reqs, 1);
}

/* Write down the map as it is: what is in it is done. */
static void
take_snapshot (struct shuffle *s)
{
  struct header header = { .magic = MAGIC,
                           .generation = s->generation + 1,
                           .salt = rng_next (&s->rng) };
  size_t n = s->blocks * sizeof *s->map;
  uint32_t b;

  memcpy (s->snapshot, s->map, n);
  for (b = 0; b < s->blocks; b++)
    if (s->map[b] != SHUFFLE_NONE)
      s->place[s->map[b]].snapped = true;
  memset (s->buf, 0, s->area);
  memcpy (s->buf + sizeof header, s->map, n);
  memcpy (s->buf, &header, sizeof header);
  salt (s);
  header.sum = sum_of (s, s->buf);
  memcpy (s->buf, &header, sizeof header);
}

void
shuffle_flush (struct fs *fs, struct store_req *req)
{
  struct shuffle *s = (struct shuffle *) fs;

  pthread_mutex_lock (&s->lock);
  s->outer = req;
  s->lost = false;
  take_snapshot (s);
  pthread_mutex_unlock (&s->lock);
  send (s, STORE_FLUSH, SHUFFLE_DATA);
}

/* The data is durable: so may be the map from here on.  Is it to be written? */
static bool
pin (struct shuffle *s)
{
  bool same = !s->tried;
  uint32_t b;

  for (b = 0; b < s->blocks; b++) {
    same &= s->snapshot[b] == s->durable[b];
    if (s->snapshot[b] == SHUFFLE_NONE)
      continue;
    s->place[s->snapshot[b]].pinned = true;
    s->place[s->snapshot[b]].solid = true;
  }
  s->tried |= !same;
  return !same;
}

/* The map is durable. */
static void
adopt (struct shuffle *s)
{
  uint32_t b, p;

  s->generation++;
  s->tried = false;
  for (b = 0; b < s->blocks; b++)
    if (s->durable[b] != SHUFFLE_NONE)
      s->place[s->durable[b]].durable = false;
  memcpy (s->durable, s->snapshot, s->blocks * sizeof *s->durable);
  for (b = 0; b < s->blocks; b++)
    if (s->durable[b] != SHUFFLE_NONE)
      s->place[s->durable[b]].durable = true;
  for (p = 0; p < s->places; p++)
    s->place[p].pinned = false;
}

static void
end_flush (struct shuffle *s, int error)
{
  struct store_req *outer = s->outer;
  uint32_t p;

  pthread_mutex_lock (&s->lock);
  for (p = 0; p < s->places; p++)
    s->place[p].snapped = false;
  pthread_mutex_unlock (&s->lock);
  s->state = SHUFFLE_IDLE;
  s->outer = NULL;
  outer->done (outer, error);
}

bool
shuffle_flush_step (struct shuffle *s)
{
  bool more;

  if (!atomic_exchange (&s->done, false))
    return false;
  if (s->lost || s->error) {
    end_flush (s, s->lost ? -ECONNRESET : s->error);
    return true;
  }
  switch (s->state) {
  case SHUFFLE_IDLE: break;
  case SHUFFLE_DATA:
    pthread_mutex_lock (&s->lock);
    more = pin (s);
    pthread_mutex_unlock (&s->lock);
    if (more)
      send (s, STORE_WRITE, SHUFFLE_MAP);
    else
      end_flush (s, 0);
    break;
  case SHUFFLE_MAP: send (s, STORE_FLUSH, SHUFFLE_LAST); break;
  case SHUFFLE_LAST:
    pthread_mutex_lock (&s->lock);
    adopt (s);
    pthread_mutex_unlock (&s->lock);
    end_flush (s, 0);
    break;
  }
  return true;
}
