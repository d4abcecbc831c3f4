/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * thin: making what is done durable: the data, and then a record of where it is.
 *
 *   state   what is on                         then
 *   IDLE    nothing                            asked: RECORD if the last flush has left a
 *                                              record that may be there or not, else DATA
 *   DATA    the store flushes; what was FRESH  done: RECORD, or IDLE if RECORDING is empty;
 *           when it was sent is RECORDING      failed, or something is lost or was by
 *                                              another's flush: RECORDING is FRESH again,
 *                                              and IDLE
 *   ROOM    the log is full: a checkpoint is   there is room: RECORD; it has failed: IDLE
 *           awaited
 *   RECORD  a record of RECORDING's first      done: LAST, or by FUA what follows
 *           entries is written                 failed: IDLE, and it is sent again before
 *                                              any other
 *   LAST    and flushed                        done: they are LOGGED; more: RECORD; none:
 *                                              DATA if the flush began with an old record,
 *                                              else IDLE; something lost: RECORD again;
 *                                              failed: IDLE, likewise
 *
 * What a record speaks of has been flushed before it was sent, with nothing lost since
 * it was written, so it is true whatever happens to the store later.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/thin/io.h"
#include "fs/thin/thin-impl.h"

int
thin_flush_init (struct thin *t)
{
  t->flush.buf = thin_io_alloc (THIN_LOG_RECORD);
  return t->flush.buf ? 0 : -ENOMEM;
}

static void
flush_done (struct store_req *req, int error)
{
  struct thin *t =
    (struct thin *) ((char *) req - offsetof (struct thin, flush.req));

  store_note_flush (t->fs.store, req->op, error);
  t->flush.error = error;
  atomic_store (&t->flush.done, true);
  fs_ring (&t->fs);
}

static void
send (struct thin *t, enum store_op op, enum thin_flush_state state)
{
  struct thin_flush *f = &t->flush;
  struct store_req *reqs[] = { &f->req };
  uint64_t length = thin_log_blocks (f->entries) * THIN_BLOCK;

  f->state = state;
  f->req = (struct store_req) { .op = op, .done = flush_done };
  if (op == STORE_WRITE) {
    f->undone = store_undone (t->fs.store);
    f->iov = (struct iovec) { .iov_base = f->buf, .iov_len = length };
    f->req.flags = t->fs.store->geo.can_fua && !f->no_fua ? STORE_FUA : 0;
    f->req.offset = (t->log.start + t->log.head.block) * THIN_BLOCK;
    f->req.length = length;
    f->req.iov = &f->iov;
    f->req.niov = 1;
  }
  t->fs.store->ops->submit (t->fs.store, reqs, 1);
}

/* It is over.  Of another's flush that has failed the cache hears by this one's. */
static void
end_flush (struct thin *t, int error)
{
  struct thin_flush *f = &t->flush;
  struct store_req *outer = f->outer;

  if (error && error != -ECONNRESET)
    f->told = atomic_load (&t->fs.store->failed_flushes);
  if (error == 0)
    thin_note_flush (t, f->begun);
  f->state = THIN_IDLE;
  f->outer = NULL;
  outer->done (outer, error);
}

/* --- data --- */

/* What is FRESH is to be made durable. */
static void
send_data (struct thin *t)
{
  struct range_map *map = t->layers.map;
  struct range_map none = map[LAYER_RECORDING];

  pthread_mutex_lock (&t->lock);
  map[LAYER_RECORDING] = map[LAYER_FRESH];
  map[LAYER_FRESH] = none;
  pthread_mutex_unlock (&t->lock);
  t->flush.lost = t->flush.old = false;
  send (t, STORE_FLUSH, THIN_DATA);
}

/* RECORDING is not durable: it is FRESH again, beneath what has come since. */
static void
take_back (struct thin *t)
{
  struct range_map *map = t->layers.map, older;
  struct range_entry e;

  while (range_map_take (&map[LAYER_FRESH], &e))
    layer_set (&map[LAYER_RECORDING], &e, thin_give_up_place, t);
  older = map[LAYER_FRESH];
  map[LAYER_FRESH] = map[LAYER_RECORDING];
  map[LAYER_RECORDING] = older;
}

void
thin_lost (struct fs *fs, uint64_t losses)
{
  struct thin *t = thin_of (fs);
  struct range_entry *e;

  t->flush.lost = true;
  pthread_mutex_lock (&t->lock);
  if (losses != LOST_ALL)
    atomic_store (&t->losses, (uint32_t) losses);
  if (t->flush.state == THIN_DATA)
    take_back (t);
  thin_revert (t, &t->layers.map[LAYER_FRESH], losses);
  for (e = range_map_find (&t->flying, 0); e; e = range_map_next (e))
    if ((e->flags & FLYING_DIRECT) && e->since != losses)
      e->flags |= FLYING_DEAD;
  pthread_mutex_unlock (&t->lock);
  if (losses != LOST_ALL)
    thin_changed (t); /* see thin_begin_direct */
}

/* --- records --- */

/* Write down what comes next, if there is room, and send it; or what was sent already. */
static void
send_record (struct thin *t)
{
  struct thin_flush *f = &t->flush;
  struct range_map *recording = &t->layers.map[LAYER_RECORDING];
  size_t room = f->entries;

  if (f->entries == 0) {
    pthread_mutex_lock (&t->lock);
    room = thin_log_room (thin_log_free (&t->log));
    f->entries = recording->count < room ? recording->count : room;
    if (room > 0)
      thin_log_encode (&t->log, recording, f->entries, LAYER_OWN, f->buf);
    else {
      t->work.error = 0;
      t->work.retry = 0;
      thin_want_checkpoint (t);
    }
    pthread_mutex_unlock (&t->lock);
  }
  if (room > 0)
    send (t, STORE_WRITE, THIN_RECORD);
  else {
    f->state = THIN_ROOM;
    thin_wake (t);
  }
}

/* The record is durable. */
static void
adopt_record (struct thin *t)
{
  struct thin_flush *f = &t->flush;
  struct range_map *map = t->layers.map;
  struct range_entry e;

  pthread_mutex_lock (&t->lock);
  thin_log_advance (&t->log, f->buf);
  for (; f->entries > 0 && range_map_take (&map[LAYER_RECORDING], &e);
       f->entries--) {
    e.since = 0;
    layer_set (&map[LAYER_LOGGED], &e, thin_give_up_place, t);
  }
  if (t->work.starving || thin_log_used (&t->log) > t->log.blocks / 2)
    thin_want_checkpoint (t);
  pthread_mutex_unlock (&t->lock);
  thin_wake (t);
}

static bool
is_recorded (struct thin *t)
{
  return t->layers.map[LAYER_RECORDING].count == 0;
}

static void
end_record (struct thin *t)
{
  adopt_record (t);
  if (!is_recorded (t))
    send_record (t);
  else if (t->flush.old)
    send_data (t);
  else
    end_flush (t, 0);
}

/* --- the flush --- */

void
thin_flush (struct fs *fs, struct store_req *req)
{
  struct thin *t = thin_of (fs);
  int r = thin_usable (t);

  t->flush.outer = req;
  t->flush.begun = t->fs.store->env->now (t->fs.store->env);
  t->flush.old = !is_recorded (t);
  if (r < 0 && r != -EAGAIN)
    end_flush (t, r);
  else if (t->flush.old)
    send_record (t);
  else
    send_data (t);
}

static bool
is_starved (struct thin *t)
{
  bool starved;

  pthread_mutex_lock (&t->lock);
  starved = t->nodes.starved;
  pthread_mutex_unlock (&t->lock);
  return starved;
}

static void
data_done (struct thin *t, int error)
{
  struct thin_flush *f = &t->flush;

  if (f->lost)
    error = error ? error : -ECONNRESET;
  else if (f->told != atomic_load (&t->fs.store->failed_flushes))
    error = error ? error : -EIO;
  if (error == 0 && is_starved (t))
    error = -ENOMEM;
  if (error) {
    pthread_mutex_lock (&t->lock);
    take_back (t);
    pthread_mutex_unlock (&t->lock);
    end_flush (t, error);
  }
  else if (is_recorded (t))
    end_flush (t, 0);
  else
    send_record (t);
}

/* Has a checkpoint made room, or can't it? */
static bool
room_step (struct thin *t)
{
  uint64_t room;
  int error;

  pthread_mutex_lock (&t->lock);
  room = thin_log_free (&t->log);
  error = thin_usable (t);
  if (error == 0)
    error = t->work.error;
  pthread_mutex_unlock (&t->lock);
  if (room > 0)
    send_record (t);
  else if (error)
    end_flush (t, error);
  return room > 0 || error;
}

bool
thin_flush_step (struct thin *t)
{
  struct thin_flush *f = &t->flush;
  int error;

  if (f->state == THIN_ROOM)
    return room_step (t);
  if (!atomic_exchange (&f->done, false))
    return false;
  error = f->error;
  if (f->state == THIN_DATA)
    data_done (t, error);
  else if (f->state == THIN_RECORD && error == -EOPNOTSUPP && !f->no_fua) {
    f->no_fua = true;
    send (t, STORE_WRITE, THIN_RECORD);
  }
  else if (error && error != -ECONNRESET)
    end_flush (t, error);
  else if (f->state == THIN_RECORD && !(f->req.flags & STORE_FUA))
    send (t, STORE_FLUSH, THIN_LAST);
  else if (f->state == THIN_LAST &&
           (error || f->undone != store_undone (t->fs.store)))
    send (t, STORE_WRITE, THIN_RECORD);
  else
    end_record (t);
  return true;
}
