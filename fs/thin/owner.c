/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * thin: the owner of an image.
 *
 *   phase     what is on                       then
 *   RESTING   nothing                          it is time: LOOKING
 *   LOOKING   the block is read                ours: BEATING; another's: the end; failed:
 *                                              RESTING, until the next beat
 *   BEATING   it is written, counted up        RESTING
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "fs/thin/io.h"
#include "fs/thin/owner.h"
#include "fs/thin/super.h"

/* So many beats that are not there mean that the owner is not. */
#define MISSED 3

/* The longest interval that is believed, and what it takes for another's write to be
 * seen: ns.
 */
#define LONGEST (30 * NSEC_PER_SEC)
#define SEEN (THIN_BEAT / 4)

#define BOOT_ID "/proc/sys/kernel/random/boot_id"

/* This machine, since it was started. */
static void
this_host (char *host, size_t size)
{
  char name[24] = "", boot[37] = "";
  int fd = open (BOOT_ID, O_RDONLY | O_CLOEXEC);

  gethostname (name, sizeof name - 1);
  if (fd >= 0) {
    if (read (fd, boot, sizeof boot - 1) < 0)
      boot[0] = '\0';
    close (fd);
  }
  memset (host, 0, size);
  snprintf (host, size, "%s %s", name, boot);
}

static bool
is_valid (const void *block, const uint8_t *uuid)
{
  return thin_sealed (block, THIN_MAGIC_OWNER, uuid, THIN_OWNER, THIN_BLOCK);
}

static bool
is_released (const struct thin_owner_block *b)
{
  static const uint8_t none[16];

  return memcmp (b->run, none, sizeof none) == 0;
}

/* The block as it is next, of this run or of none. */
static void
fill_in (struct thin_owner *o, bool released)
{
  struct thin_owner_block *b = (struct thin_owner_block *) o->buf;

  memset (b, 0, THIN_BLOCK);
  if (!released)
    memcpy (b->run, o->run, sizeof b->run);
  this_host (b->host, sizeof b->host);
  b->time = thin_put64 ((uint64_t) time (NULL));
  b->interval = thin_put64 (THIN_BEAT / NSEC_PER_MSEC);
  thin_seal (&b->h, THIN_MAGIC_OWNER, o->uuid, THIN_OWNER, o->count + 1,
             THIN_BLOCK);
}

static bool
is_ours (const struct thin_owner *o)
{
  const struct thin_owner_block *b = (const struct thin_owner_block *) o->buf;

  return memcmp (b->run, o->run, sizeof b->run) == 0;
}

/* --- taking it --- */

static int
read_block (struct store *store, void *buf)
{
  return thin_io_read (store, THIN_OWNER, buf, 1);
}

static uint64_t
interval_of (const struct thin_owner_block *b)
{
  uint64_t ms = thin_get64 (b->interval);

  return ms > 0 && ms < LONGEST / NSEC_PER_MSEC ? ms * NSEC_PER_MSEC
                                                : THIN_BEAT;
}

/* Does the block change while its owner would have written it some times? */
static int
is_beating (struct store *store, const uint8_t *uuid,
            const struct thin_owner_block *first)
{
  struct thin_owner_block was = *first;
  struct env *env = store->env;
  void *buf = thin_io_alloc (1);
  uint64_t wait = is_valid (first, uuid) ? interval_of (first) : THIN_BEAT;
  unsigned i;
  int r = buf ? 0 : -ENOMEM;

  for (i = 0; i < MISSED && r == 0; i++) {
    env_sleep (env, env->now (env) + wait);
    r = read_block (store, buf);
    if (r == 0 && memcmp (&was, buf, sizeof was) != 0)
      r = 1;
  }
  free (buf);
  return r;
}

/* Is somebody alive whom the block names? */
static int
is_owned (struct store *store, const uint8_t *uuid,
          const struct thin_owner_block *b)
{
  char host[sizeof b->host];

  if (is_valid (b, uuid)) {
    this_host (host, sizeof host);
    if (is_released (b))
      return 0;
    if (store->geo.exclusive && memcmp (host, b->host, sizeof host) == 0)
      return 0;
  }
  return is_beating (store, uuid, b);
}

int
thin_owner_other (struct store *store, const uint8_t *uuid)
{
  void *buf = thin_io_alloc (1);
  int r = buf ? read_block (store, buf) : -ENOMEM;

  if (r == 0)
    r = is_owned (store, uuid, buf);
  free (buf);
  return r;
}

/* Write the block, and see whether another has done so meanwhile. */
static int
claim (struct thin_owner *o)
{
  struct env *env = o->store->env;
  int r;

  fill_in (o, false);
  r = thin_io_write_durable (o->store, THIN_OWNER, o->buf, 1);
  o->count++;
  if (r < 0 || o->store->geo.exclusive)
    return r;
  env_sleep (env, env->now (env) + SEEN);
  r = read_block (o->store, o->buf);
  return r < 0 ? r : is_ours (o) ? 0 : 1;
}

int
thin_owner_take (struct thin_owner *o, struct store *store, const uint8_t *uuid,
                 const struct store_message *why)
{
  const struct thin_owner_block *b;
  int r;

  o->store = store;
  memcpy (o->uuid, uuid, sizeof o->uuid);
  if (o->buf == NULL)
    o->buf = thin_io_alloc (1);
  if (o->buf == NULL ||
      getrandom (o->run, sizeof o->run, 0) != (ssize_t) sizeof o->run)
    return store_refuse (why, -ENOMEM, "out of memory");
  o->run[0] |= 1; /* none is all zeroes */
  b = (const struct thin_owner_block *) o->buf;
  r = read_block (store, o->buf);
  if (r == 0)
    r = is_owned (store, uuid, b);
  if (r == 0) {
    o->count = is_valid (b, uuid) ? thin_get64 (b->h.generation) : 0;
    r = claim (o);
  }
  if (r > 0)
    return store_refuse (why, -EBUSY, "another server has it open, on %.23s",
                         is_valid (b, uuid) ? b->host : "?");
  if (r < 0)
    return store_refuse (why, r, "its owner cannot be told: %s", strerror (-r));
  o->due = store->env->now (store->env) + THIN_BEAT;
  return 0;
}

int
thin_owner_release (struct thin_owner *o)
{
  struct env *env = o->store->env;
  uint32_t phase;
  int r;

  atomic_store (&o->stopping, true);
  while ((phase = atomic_load (&o->phase)) != THIN_RESTING)
    env->wait (env, &o->phase, phase, ENV_FOREVER);
  r = read_block (o->store, o->buf);
  if (r < 0 || !is_ours (o))
    return r;
  fill_in (o, true);
  return thin_io_write_durable (o->store, THIN_OWNER, o->buf, 1);
}

/* --- beating --- */

static void
beat_done (struct store_req *req, int error)
{
  struct thin_owner *o =
    (struct thin_owner *) ((char *) req - offsetof (struct thin_owner, req));

  o->error = error;
  atomic_store (&o->done, true);
  o->ring (o->opaque);
}

static void
send (struct thin_owner *o, enum store_op op, uint32_t phase)
{
  struct store_req *reqs[] = { &o->req };

  atomic_store (&o->phase, phase);
  o->iov = (struct iovec) { .iov_base = o->buf, .iov_len = THIN_BLOCK };
  o->req = (struct store_req) {
    .op = op,
    .offset = THIN_OWNER * THIN_BLOCK,
    .length = THIN_BLOCK,
    .iov = &o->iov,
    .niov = 1,
    .done = beat_done,
  };
  o->store->ops->submit (o->store, reqs, 1);
}

static void
rest (struct thin_owner *o, uint64_t now)
{
  struct env *env = o->store->env;

  o->due = now + THIN_BEAT;
  atomic_store (&o->phase, THIN_RESTING);
  env->wake (env, &o->phase);
}

/* The block was read: whose is it? */
static int
looked (struct thin_owner *o, uint64_t now)
{
  if (o->error == 0 && is_valid (o->buf, o->uuid) && !is_ours (o)) {
    rest (o, now);
    return -EBUSY;
  }
  if (o->error || atomic_load (&o->stopping)) {
    rest (o, now);
    return 0;
  }
  fill_in (o, false);
  send (o, STORE_WRITE, THIN_BEATING);
  return 0;
}

int
thin_owner_step (struct thin_owner *o, uint64_t now)
{
  uint32_t phase = atomic_load (&o->phase);

  if (phase == THIN_RESTING) {
    if (now < o->due)
      return 0;
    /* In this order, as in release the other way round. */
    atomic_store (&o->phase, THIN_LOOKING);
    if (atomic_load (&o->stopping))
      rest (o, now);
    else
      send (o, STORE_READ, THIN_LOOKING);
    return 0;
  }
  if (!atomic_exchange (&o->done, false))
    return 0;
  if (phase == THIN_LOOKING)
    return looked (o, now);
  o->count += o->error == 0;
  rest (o, now);
  return 0;
}

uint64_t
thin_owner_deadline (const struct thin_owner *o)
{
  return atomic_load (&((struct thin_owner *) o)->phase) == THIN_RESTING &&
             !atomic_load (&((struct thin_owner *) o)->stopping)
           ? o->due
           : ENV_FOREVER;
}

bool
thin_owner_idle (const struct thin_owner *o)
{
  return atomic_load (&((struct thin_owner *) o)->phase) == THIN_RESTING;
}

void
thin_owner_destroy (struct thin_owner *o)
{
  free (o->buf);
}
