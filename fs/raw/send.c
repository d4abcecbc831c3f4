/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * raw: sending zeroes and trims to the store, from the loop thread, in steps: what
 * somebody waits for, and what has become old.
 *
 * What the store fails to do is tried again after a while, that doubles, and
 * whenever somebody waits for it; all that is wanted has failed when so many have
 * failed in a row, or the store is out of reach.
 */

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "fs/num.h"
#include "fs/raw/raw-impl.h"

/* Bytes of one request where all of them are written. */
#define MAX_WRITTEN (UINT64_C (8) << 20)

#define ALL_FAILING 16

static void
send_done (struct store_req *req, int error)
{
  struct raw_send *send = (struct raw_send *) req; /* its first member */
  struct raw *raw = send->raw;
  struct raw_zeroes *z = &raw->zeroes;

  pthread_mutex_lock (&z->lock);
  send->error = error;
  STAILQ_INSERT_TAIL (&z->finished, send, link);
  pthread_mutex_unlock (&z->lock);
  fs_ring (&raw->fs);
}

/* ------------------------------ below this line: the lock is held ---------- */

static void
note_failure (struct raw *raw, const struct raw_send *send, uint64_t now)
{
  struct raw_zeroes *z = &raw->zeroes;

  if (!z->logged)
    env_log (raw->fs.store->env, LOG_ERROR,
             "zeroing bytes %" PRIu64 " to %" PRIu64
             " failed, it will be tried again: %s",
             send->req.offset, send->req.offset + send->req.length,
             strerror (-send->error));
  z->logged = true;
  backoff_begin (&z->backoff, now);
  if (++z->failed_in_row >= ALL_FAILING || send->error == -EHOSTDOWN ||
      send->error == -ESHUTDOWN)
    pending_fail (&z->pending, send->error);
}

static void
note_success (struct raw *raw, const struct raw_send *send)
{
  struct raw_zeroes *z = &raw->zeroes;

  extents_set (raw->extents, send->req.offset, send->req.length,
               raw_zero_type (raw, send->keep));
  atomic_store (&raw->fs.unflushed, true);
  z->failed_in_row = 0;
  if (!TAILQ_EMPTY (&z->pending.failed))
    return;
  z->backoff = (struct backoff) { 0 };
  if (z->logged) {
    z->logged = false;
    env_log (raw->fs.store->env, LOG_ERROR, "zeroing works again");
  }
}

/* A store may say that zeroing some bytes would take it as long as writing them.
 * Each large request asks that, as what it can may depend on the place, or change.
 */
static bool
asks (const struct raw *raw, uint64_t length)
{
  const struct store_geometry *geo = &raw->fs.store->geo;

  return geo->can_zero && geo->doubt_zero &&
         (length >= PENDING_LARGE || atomic_load (&raw->fs.can_fast_zero));
}

/* What it said.  Returns whether it is to be zeroed all the same. */
static bool
see_answer (struct raw *raw, const struct raw_send *send)
{
  bool slow = send->error == -ENOTSUP;

  if (!(send->req.flags & STORE_FAST_ZERO) || (send->error && !slow))
    return false;
  if (!slow || send->req.length >= PENDING_LARGE)
    atomic_store (&raw->fs.can_fast_zero, !slow);
  return slow;
}

static void
finish (struct raw *raw, struct raw_send *send, uint64_t now)
{
  struct raw_zeroes *z = &raw->zeroes;
  uint64_t start = send->req.offset, end = start + send->req.length;

  if (see_answer (raw, send)) {
    STAILQ_INSERT_TAIL (&z->again, send, link);
    return;
  }
  raw->fs.zeroes.requests++;
  raw->fs.zeroes.bytes += end - start;
  raw->fs.zeroes.errors += send->error != 0;
  /* A loss, or a flush that failed, since it was sent: it may be undone. */
  if (send->error == 0 && send->doubts != z->pending.doubts)
    send->error = -EAGAIN;
  pending_sent (&z->pending, start, end, send->keep, send->error);
  if (send->error == 0) {
    if (!atomic_load (&raw->fs.can_fast_zero))
      raw->fs.written += raw_pages (end - start);
    zero_size_took (&z->size, end - start, now - send->since);
    note_success (raw, send);
  }
  else if (send->error != -EAGAIN && !(send->error == -ENOSPC && send->keep))
    note_failure (raw, send, now);
  STAILQ_INSERT_HEAD (&z->idle, send, link);
  z->in_flight--;
}

static bool
reap (struct raw *raw, uint64_t now)
{
  struct raw_zeroes *z = &raw->zeroes;
  struct raw_send *send;
  bool any = !STAILQ_EMPTY (&z->finished);

  while ((send = STAILQ_FIRST (&z->finished)) != NULL) {
    STAILQ_REMOVE_HEAD (&z->finished, link);
    finish (raw, send, now);
  }
  return any;
}

static uint64_t
when_expired (const struct raw_zeroes *z, uint64_t since)
{
  return since < UINT64_MAX - z->expire ? since + z->expire : UINT64_MAX;
}

/* What is old enough, or was to be tried again, is wanted. */
static void
see_clock (struct raw_zeroes *z, uint64_t now)
{
  struct pending *p = &z->pending;

  if (!TAILQ_EMPTY (&p->failed) && now >= z->backoff.until) {
    z->failed_in_row = 0;
    pending_retry (p);
  }
  if (when_expired (z, pending_since (p)) <= now)
    pending_want_all (p);
}

/* Prepare to send the next.  NULL: there is none, or enough are in flight. */
static struct raw_send *
next_send (struct raw *raw, uint64_t now)
{
  struct raw_zeroes *z = &raw->zeroes;
  struct raw_send *send = STAILQ_FIRST (&z->again);
  bool fast = atomic_load (&raw->fs.can_fast_zero);
  uint64_t most = fast ? z->size.bytes : MAX_WRITTEN;
  uint64_t start, end;

  if (send) {
    STAILQ_REMOVE_HEAD (&z->again, link);
    send->req.flags = 0;
    return send;
  }
  send = STAILQ_FIRST (&z->idle);
  if (send == NULL ||
      !pending_next (&z->pending, most, &start, &end, &send->keep))
    return NULL;
  STAILQ_REMOVE_HEAD (&z->idle, link);
  z->in_flight++;
  send->doubts = z->pending.doubts;
  send->since = now;
  send->req = (struct store_req) {
    .op = send->keep ? STORE_ZERO : STORE_TRIM,
    .flags = asks (raw, end - start) ? STORE_FAST_ZERO : 0,
    .offset = start,
    .length = end - start,
    .done = send_done,
  };
  return send;
}

/* -------------------- above this line: the lock is held -------------------- */

bool
raw_step (struct fs *fs, uint64_t now)
{
  struct raw *raw = raw_of (fs);
  struct raw_zeroes *z = &raw->zeroes;
  struct store_req *reqs[RAW_SENDS];
  struct raw_send *send;
  unsigned n = 0;
  bool any;

  pthread_mutex_lock (&z->lock);
  any = reap (raw, now);
  see_clock (z, now);
  while ((send = next_send (raw, now)) != NULL)
    reqs[n++] = &send->req;
  z->armed = pending_since (&z->pending) != UINT64_MAX;
  raw_zeroes_changed (raw);
  pthread_mutex_unlock (&z->lock);
  if (any)
    fs_changed (fs);
  if (n > 0)
    fs->store->ops->submit (fs->store, reqs, n);
  return any;
}

uint64_t
raw_deadline (struct fs *fs)
{
  struct raw_zeroes *z = &raw_of (fs)->zeroes;
  uint64_t when;

  pthread_mutex_lock (&z->lock);
  when = when_expired (z, pending_since (&z->pending));
  if (!TAILQ_EMPTY (&z->pending.failed))
    when = min_u64 (when, z->backoff.until);
  pthread_mutex_unlock (&z->lock);
  return when;
}

bool
raw_idle (struct fs *fs)
{
  struct raw_zeroes *z = &raw_of (fs)->zeroes;
  bool idle;

  pthread_mutex_lock (&z->lock);
  idle = z->in_flight == 0;
  pthread_mutex_unlock (&z->lock);
  return idle;
}

int
raw_attach (struct fs *fs, uint64_t expire)
{
  raw_of (fs)->zeroes.expire = expire;
  raw_of (fs)->zeroes.losses = store_losses (fs->store);
  return 0;
}

void
raw_expire (struct fs *fs, uint64_t expire)
{
  raw_of (fs)->zeroes.expire = expire;
}

void
raw_lost (struct fs *fs, uint64_t losses)
{
  struct raw *raw = raw_of (fs);

  (void) losses;
  pthread_mutex_lock (&raw->zeroes.lock);
  raw->zeroes.losses = store_losses (fs->store);
  pending_lost (&raw->zeroes.pending);
  raw_zeroes_changed (raw);
  pthread_mutex_unlock (&raw->zeroes.lock);
}

void
raw_retry (struct fs *fs)
{
  struct raw_zeroes *z = &raw_of (fs)->zeroes;

  pthread_mutex_lock (&z->lock);
  z->backoff = (struct backoff) { 0 };
  z->failed_in_row = 0;
  pending_retry (&z->pending);
  pthread_mutex_unlock (&z->lock);
}

static void
flush_done (struct store_req *req, int error)
{
  struct raw_flush *flush = (struct raw_flush *) req; /* its first member */
  struct raw *raw = flush->raw;
  struct raw_zeroes *z = &raw->zeroes;

  pthread_mutex_lock (&z->lock);
  /* After a loss it proves nothing, and all is pending again, or will be. */
  if (error == 0 && store_losses (raw->fs.store) != z->losses)
    pending_lost (&z->pending);
  else
    pending_flush_end (&z->pending, error);
  /* What data had gone over may leave memory now. */
  atomic_fetch_add (&z->cookie, 1);
  raw_zeroes_changed (raw);
  pthread_mutex_unlock (&z->lock);
  fs_changed (&raw->fs);
  flush->caller->done (flush->caller, error);
}

void
raw_flush (struct fs *fs, struct store_req *req)
{
  struct raw *raw = raw_of (fs);
  struct raw_flush *flush = &raw->zeroes.flush;

  *flush = (struct raw_flush) {
    .req = { .op = STORE_FLUSH, .done = flush_done },
    .raw = raw,
    .caller = req,
  };
  req = &flush->req;
  pthread_mutex_lock (&raw->zeroes.lock);
  pending_flush_begin (&raw->zeroes.pending);
  pthread_mutex_unlock (&raw->zeroes.lock);
  fs->store->ops->submit (fs->store, &req, 1);
}
