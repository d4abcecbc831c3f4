/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What requests to the fake store do: their effects, the rules by which they
 * fail, and the record of them.  All but fake_finish needs the lock.
 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "cache/folio/folio.h"
#include "fake-store-state.h"

/* The part of [offset, offset+length) that is inside the store. */
uint64_t
fake_inside (const struct fake_store *fake, uint64_t offset, uint64_t length)
{
  uint64_t size = fake->store.geo.size;

  if (offset >= size)
    return 0;
  return length < size - offset ? length : size - offset;
}

void
fake_set_status (struct fake_store *fake, uint64_t offset, uint64_t length,
                 enum store_extent type)
{
  uint64_t end = offset + length;
  uint64_t from = offset / FAKE_STATUS_GRAIN;
  uint64_t to = units (end, FAKE_STATUS_GRAIN);

  if (type != STORE_DATA) { /* only what is covered wholly */
    from = units (offset, FAKE_STATUS_GRAIN);
    if (end < fake->store.geo.size)
      to = end / FAKE_STATUS_GRAIN;
  }
  if (from < to)
    memset (fake->state->status + from, STORE_DATA - type, to - from);
}

void
fake_mark_unstable (struct fake_state *s, uint64_t offset, uint64_t length)
{
  if (s->durable && length > 0)
    memset (s->unstable + offset / SECTOR, 1,
            units (offset + length, SECTOR) - offset / SECTOR);
}

static void
make_durable (struct fake_store *fake, uint64_t offset, uint64_t length)
{
  struct fake_state *s = fake->state;
  uint64_t i = offset / SECTOR, last = units (offset + length, SECTOR);
  uint8_t *p;

  if (!s->durable)
    return;
  while (i < last && (p = memchr (s->unstable + i, 1, last - i)) != NULL) {
    i = p - s->unstable;
    memcpy (s->durable + i * SECTOR, fake->content + i * SECTOR,
            fake_inside (fake, i * SECTOR, SECTOR));
    s->unstable[i++] = 0;
  }
}

/* xorshift64: Marsaglia, "Xorshift RNGs", 2003. */
static uint64_t
next_random (uint64_t *x)
{
  *x ^= *x << 13;
  *x ^= *x >> 7;
  *x ^= *x << 17;
  return *x;
}

void
fake_lose (struct fake_store *fake, uint64_t *seed)
{
  struct fake_state *s = fake->state;
  uint64_t i, n = units (fake->store.geo.size, SECTOR);

  atomic_fetch_add (&fake->lost, 1);
  for (i = 0; s->durable && i < n; i++) {
    uint64_t offset = i * SECTOR, length = fake_inside (fake, offset, SECTOR);

    if (!s->unstable[i])
      continue;
    s->unstable[i] = 0;
    if (*seed == 0 || next_random (seed) >> 63) {
      memcpy (fake->content + offset, s->durable + offset, length);
      fake_set_status (fake, offset, length, STORE_DATA);
    }
    else
      memcpy (s->durable + offset, fake->content + offset, length);
  }
}

/* Copy between the request's memory and the content; what is past the end
 * reads as zero and is not written.
 */
static void
transfer (struct fake_store *fake, struct store_req *req)
{
  uint64_t offset = req->offset;
  uint64_t n;
  int i;

  for (i = 0; i < req->niov; i++) {
    uint8_t *base = req->iov[i].iov_base;

    n = fake_inside (fake, offset, req->iov[i].iov_len);
    if (req->op == STORE_WRITE)
      memcpy (fake->content + offset, base, n);
    else {
      /* A reader may still be copying what was dropped from the folio since. */
      folio_copy_in (base, fake->content + offset, n);
      folio_zero (base + n, req->iov[i].iov_len - n);
    }
    offset += req->iov[i].iov_len;
  }
  assert (offset - req->offset == req->length);
}

static void
zero_content (struct fake_store *fake, uint64_t offset, uint64_t length)
{
  uint64_t end = offset + length;
  uint64_t from = units (offset, 4096) * 4096;
  uint64_t to = end / 4096 * 4096;

  if (from >= to) {
    memset (fake->content + offset, 0, length);
    return;
  }
  memset (fake->content + offset, 0, from - offset);
  madvise (fake->content + from, to - from, MADV_DONTNEED);
  memset (fake->content + to, 0, end - to);
}

static void
take_effect (struct fake_store *fake, struct store_req *req)
{
  uint64_t n = fake_inside (fake, req->offset, req->length);
  enum store_extent type = STORE_DATA;

  if (req->op == STORE_FLUSH) {
    make_durable (fake, 0, fake->store.geo.size);
    return;
  }
  if (req->op == STORE_READ || req->op == STORE_WRITE)
    transfer (fake, req);
  if (req->op == STORE_READ)
    return;
  if (req->op != STORE_WRITE) {
    zero_content (fake, req->offset, n);
    type = req->op == STORE_TRIM ? STORE_HOLE : STORE_UNWRITTEN;
  }
  fake_set_status (fake, req->offset, n, type);
  fake_mark_unstable (fake->state, req->offset, n);
  if (req->flags & STORE_FUA)
    make_durable (fake, req->offset, n);
}

static bool
matches (const struct fake_rule *rule, const struct store_req *req)
{
  if (rule->op != req->op || rule->count == 0)
    return false;
  if (rule->length == 0)
    return true;
  return req->offset < rule->offset + rule->length &&
         rule->offset < req->offset + req->length;
}

/* The error that the rules have for this request, or 0. */
static int
strike (struct fake_state *s, const struct store_req *req)
{
  int error = 0;
  unsigned i;

  for (i = 0; i < s->nrules; i++) {
    struct fake_rule *rule = &s->rules[i];

    if (!matches (rule, req))
      continue;
    if (rule->skip > 0)
      rule->skip--;
    else if (error == 0) {
      rule->count--;
      error = rule->error;
    }
  }
  return error;
}

static int
refusal (const struct fake_store *fake, const struct store_req *req)
{
  const struct store_geometry *geo = &fake->store.geo;

  if (geo->readonly && req->op != STORE_READ && req->op != STORE_FLUSH)
    return -EROFS;
  if ((req->flags & STORE_FAST_ZERO) && atomic_load (&fake->slow_zero))
    return -ENOTSUP;
  if (req->op == STORE_FLUSH &&
      req->losses != (uint8_t) atomic_load (&fake->store.losses))
    return -ECONNRESET;
  return 0;
}

void
fake_record_start (struct fake_store *fake, struct store_req *req)
{
  struct fake_state *s = fake->state;

  req->losses = (uint8_t) atomic_load (&fake->store.losses);
  if (s->nrecords == s->room) {
    s->room = s->room ? s->room * 2 : 256;
    s->records = fake_must (realloc (s->records, s->room * sizeof *s->records));
  }
  s->records[s->nrecords] = (struct fake_record) {
    .op = req->op,
    .flags = req->flags,
    .offset = req->offset,
    .length = req->length,
  };
  req->progress = s->first + s->nrecords++;
}

static void
record_end (struct fake_state *s, const struct store_req *req, int error)
{
  if (req->progress < s->first) /* cleared meanwhile */
    return;
  s->records[req->progress - s->first].done = true;
  s->records[req->progress - s->first].error = error;
}

void
fake_finish (struct fake_store *fake, struct store_req *req)
{
  struct fake_state *s = fake->state;
  int error;

  pthread_mutex_lock (&s->lock);
  error = refusal (fake, req);
  if (error == 0)
    error = strike (s, req);
  if (error == 0)
    take_effect (fake, req);
  else if (s->lossy && req->op == STORE_FLUSH && error != -ECONNRESET)
    fake_lose (fake, &s->loss_seed);
  record_end (s, req, error);
  pthread_mutex_unlock (&s->lock);
  req->done (req, error);
}
