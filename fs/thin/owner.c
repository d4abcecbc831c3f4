/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * thin: the owner of an image.
 *
 *   a look, the block being read          then
 *   it is time, or something is held      sent
 *   ours                                  the lease goes on from when it was sent; a beat,
 *                                         unless one is under way; what was held may go
 *   another's, or nobody's                the end: what is held fails, now and later
 *   failed                                what is held fails; the next look comes in time,
 *                                         or with what is held next
 *
 * A beat, the block being written, is not sent if the lease has ended when its turn comes,
 * but fails.  If it ends after the lease it may have come late, over the block of another
 * who had taken the image, and proves no more than a claim does: looks count again when
 * another's lease would be over.
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

/* The longest interval there is, of so many times what a look takes: ns. */
#define LONGEST (30 * NSEC_PER_SEC)
#define LOOKS 3

/* So long who takes what is nobody's waits for others who do the same, ns, if he himself has
 * not taken half of it to look and to write.
 */
#define SEEN (THIN_BEAT / 4)

/* When a lease that is lost has ended: ns. */
#define OVER 1

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

/* It was released, or the image is new. */
static bool
is_nobodys (const struct thin_owner_block *b, const uint8_t *uuid)
{
  static const struct thin_owner_block none;

  return is_valid (b, uuid) ? memcmp (b->run, none.run, sizeof none.run) == 0
                            : memcmp (b, &none, sizeof none) == 0;
}

/* The block as it is next, of this run or of none. */
static void
fill_in (struct thin_owner *o, bool released)
{
  struct thin_owner_block *b = (struct thin_owner_block *) o->beat.buf;

  memset (b, 0, THIN_BLOCK);
  if (!released)
    memcpy (b->run, o->run, sizeof b->run);
  this_host (b->host, sizeof b->host);
  b->time = thin_put64 ((uint64_t) time (NULL));
  b->interval = thin_put64 (o->next / NSEC_PER_MSEC);
  thin_seal (&b->h, THIN_MAGIC_OWNER, o->uuid, THIN_OWNER, o->count + 1,
             THIN_BLOCK);
}

/* The block as it was read last. */
static const struct thin_owner_block *
seen (const struct thin_owner *o)
{
  return (const struct thin_owner_block *) o->look.buf;
}

static bool
is_ours (const struct thin_owner *o)
{
  return is_valid (seen (o), o->uuid) &&
         memcmp (seen (o)->run, o->run, sizeof o->run) == 0;
}

/* The block was ours when the last look was sent. */
static void
renew (struct thin_owner *o)
{
  atomic_store (&o->store->lease.until, o->since + thin_lease (o->interval));
}

/* --- taking it --- */

static int
read_block (struct store *store, void *buf, uint64_t *since)
{
  *since = env_boottime (store->env);
  return thin_io_read (store, THIN_OWNER, buf, 1);
}

static uint64_t
between (uint64_t low, uint64_t ns, uint64_t high)
{
  return ns < low ? low : ns < high ? ns : high;
}

static uint64_t
interval_of (const struct thin_owner_block *b, const uint8_t *uuid)
{
  uint64_t ms = is_valid (b, uuid) ? thin_get64 (b->interval) : 0;

  return ms > 0 && ms <= LONGEST / NSEC_PER_MSEC ? ms * NSEC_PER_MSEC
                                                 : THIN_BEAT;
}

/* Does the block change while its owner would have written it some times? */
static int
is_beating (struct store *store, const uint8_t *uuid,
            const struct thin_owner_block *first, uint64_t *since)
{
  struct thin_owner_block was = *first;
  struct env *env = store->env;
  void *buf = thin_io_alloc (1);
  unsigned i;
  int r = buf ? 0 : -ENOMEM;

  for (i = 0; i < MISSED && r == 0; i++) {
    env_sleep (env, env->now (env) + interval_of (first, uuid));
    r = read_block (store, buf, since);
    if (r == 0 && memcmp (&was, buf, sizeof was) != 0)
      r = 1;
  }
  free (buf);
  return r;
}

/* It had an owner here, who is not there any more if the store is locked against him. */
static bool
was_here (const struct store *store, const uint8_t *uuid,
          const struct thin_owner_block *b)
{
  char host[sizeof b->host];

  this_host (host, sizeof host);
  return store->geo.exclusive && is_valid (b, uuid) &&
         memcmp (host, b->host, sizeof host) == 0;
}

/* Nobody's lease is waited for. */
static bool
is_free (const struct store *store, const uint8_t *uuid,
         const struct thin_owner_block *b)
{
  return is_nobodys (b, uuid) || was_here (store, uuid, b);
}

/* Is somebody alive whom the block names? */
static int
is_owned (struct store *store, const uint8_t *uuid,
          const struct thin_owner_block *b, uint64_t *since)
{
  return is_free (store, uuid, b) ? 0 : is_beating (store, uuid, b, since);
}

int
thin_owner_other (struct store *store, const uint8_t *uuid)
{
  void *buf = thin_io_alloc (1);
  uint64_t since;
  int r = buf ? read_block (store, buf, &since) : -ENOMEM;

  if (r == 0)
    r = is_owned (store, uuid, buf, &since);
  free (buf);
  return r;
}

/* For how long (ns) the block has to be ours before it is sure that nobody else goes on:
 * who had it then, as long as his lease; who took it between our look and our write, so
 * quickly, has looked again by then; and if we were slow, he has the lease of one who
 * came later than our look.
 */
static uint64_t
pause_of (const struct thin_owner *o, uint64_t took)
{
  const struct store *store = o->store;
  bool nobodys = is_free (store, o->uuid, seen (o));
  uint64_t slow = between (THIN_BEAT, LOOKS * took, LONGEST);
  uint64_t had = interval_of (seen (o), o->uuid);

  if (nobodys && store->geo.exclusive && !store->geo.shared)
    return 0;
  if (nobodys && took <= SEEN / 2)
    return SEEN;
  return thin_lease (!nobodys && had > slow ? had : slow);
}

/* Write the block, and see whether another has done so meanwhile. */
static int
claim (struct thin_owner *o)
{
  struct env *env = o->store->env;
  uint64_t pause;
  int r;

  fill_in (o, false);
  r = thin_io_write_durable (o->store, THIN_OWNER, o->beat.buf, 1);
  o->count++;
  pause = pause_of (o, env_boottime (env) - o->since);
  if (r < 0 || pause == 0)
    return r;
  env_sleep (env, env->now (env) + pause);
  r = read_block (o->store, o->look.buf, &o->since);
  return r < 0 ? r : is_ours (o) ? 0 : 1;
}

static void ask (void *opaque);

static int
prepare (struct thin_owner *o, struct store *store, const uint8_t *uuid)
{
  o->store = store;
  memcpy (o->uuid, uuid, sizeof o->uuid);
  o->interval = o->next = THIN_BEAT;
  o->look.owner = o->beat.owner = o;
  o->look.buf = thin_io_alloc (1);
  o->beat.buf = thin_io_alloc (1);
  if (o->look.buf == NULL || o->beat.buf == NULL ||
      getrandom (o->run, sizeof o->run, 0) != (ssize_t) sizeof o->run)
    return -ENOMEM;
  o->run[0] |= 1; /* none is all zeroes */
  return 0;
}

int
thin_owner_take (struct thin_owner *o, struct store *store, const uint8_t *uuid,
                 const struct store_message *why)
{
  int r = prepare (o, store, uuid);

  if (r < 0)
    return store_refuse (why, r, "out of memory");
  r = read_block (store, o->look.buf, &o->since);
  if (r == 0)
    r = is_owned (store, uuid, seen (o), &o->since);
  if (r == 0) {
    o->count =
      is_valid (seen (o), uuid) ? thin_get64 (seen (o)->h.generation) : 0;
    r = claim (o);
  }
  if (r > 0)
    return store_refuse (why, -EBUSY, "another server has it open, on %.23s",
                         is_valid (seen (o), uuid) ? seen (o)->host : "?");
  if (r < 0)
    return store_refuse (why, r, "its owner cannot be told: %s", strerror (-r));
  o->due = store->env->now (store->env) + THIN_BEAT / 2;
  store->lease.ask = ask;
  store->lease.opaque = o;
  renew (o);
  atomic_store (&o->taken, true);
  o->ring (o->opaque);
  return 0;
}

int
thin_owner_release (struct thin_owner *o)
{
  struct env *env = o->store->env;
  uint32_t busy;
  int r;

  atomic_store (&o->stopping, true);
  while ((busy = atomic_load (&o->busy)) > 0)
    env->wait (env, &o->busy, busy, ENV_FOREVER);
  r = read_block (o->store, o->look.buf, &o->since);
  if (r < 0 || !is_ours (o))
    return r;
  renew (o);
  fill_in (o, true);
  return thin_io_write_durable (o->store, THIN_OWNER, o->beat.buf, 1);
}

/* --- looks and beats: the loop thread, but for ask and io_done --- */

static void
ask (void *opaque)
{
  struct thin_owner *o = opaque;

  atomic_store (&o->asked, true);
  o->ring (o->opaque);
}

static void
io_done (struct store_req *req, int error)
{
  struct thin_owner_io *io =
    (struct thin_owner_io *) ((char *) req -
                              offsetof (struct thin_owner_io, req));

  io->error = error;
  atomic_store (&io->done, true);
  io->owner->ring (io->owner->opaque);
}

static void
leave (struct thin_owner *o)
{
  struct env *env = o->store->env;

  atomic_fetch_sub (&o->busy, 1);
  env->wake (env, &o->busy);
}

/* Not if all is to stop: in this order, as in release the other way round, which has the
 * owner to itself when nobody is in.
 */
static bool
enter (struct thin_owner *o)
{
  atomic_fetch_add (&o->busy, 1);
  if (!atomic_load (&o->stopping))
    return true;
  leave (o);
  return false;
}

static void
send (struct thin_owner *o, struct thin_owner_io *io, enum store_op op)
{
  struct store_req *reqs[] = { &io->req };

  io->on = true;
  io->iov = (struct iovec) { .iov_base = io->buf, .iov_len = THIN_BLOCK };
  io->req = (struct store_req) {
    .op = op,
    .flags = STORE_RENEWS,
    .offset = THIN_OWNER * THIN_BLOCK,
    .length = THIN_BLOCK,
    .iov = &io->iov,
    .niov = 1,
    .done = io_done,
  };
  o->store->ops->submit (o->store, reqs, 1);
}

static bool
is_over (struct thin_owner_io *io)
{
  if (!atomic_exchange (&io->done, false))
    return false;
  io->on = false;
  return true;
}

/* What waits for a look has it, or an error. */
static void
answer (struct thin_owner *o, int error)
{
  struct store *store = o->store;

  if (atomic_exchange (&o->asked, false) && store->ops->resume)
    store->ops->resume (store, error);
}

static void
begin_look (struct thin_owner *o, uint64_t now)
{
  if (!enter (o))
    return;
  o->since = env_boottime (o->store->env);
  o->due = now + THIN_BEAT;
  send (o, &o->look, STORE_READ);
}

/* If the block is to say less than it does, that counts already when it is sent; if more,
 * when it has been written.
 */
static void
begin_beat (struct thin_owner *o)
{
  if (o->beat.on || !enter (o))
    return;
  fill_in (o, false);
  send (o, &o->beat, STORE_WRITE);
}

/* How long an interval may be without that the lease ends between two looks. */
static void
choose_interval (struct thin_owner *o)
{
  uint64_t took = env_boottime (o->store->env) - o->since;

  if (o->beat.on)
    return;
  o->next = between (o->interval - o->interval / 4, LOOKS * took, LONGEST);
  o->next = between (THIN_BEAT, o->next, LONGEST);
  if (o->next < o->interval)
    o->interval = o->next;
}

static void
look_over (struct thin_owner *o)
{
  if (o->look.error) {
    answer (o, o->look.error);
    return;
  }
  o->lost = !is_ours (o);
  if (o->lost) {
    atomic_store (&o->store->lease.until, OVER);
    return;
  }
  if (o->beat.on && !store_may_change (o->store)) {
    answer (o, 0); /* it may be late; if it is held, it fails */
    return;
  }
  if (o->since < o->sure)
    return;
  choose_interval (o);
  renew (o);
  begin_beat (o);
  answer (o, 0);
}

static void
beat_over (struct thin_owner *o)
{
  if (!store_may_change (o->store))
    o->sure = env_boottime (o->store->env) + thin_lease (o->interval);
  if (o->beat.error)
    return;
  o->count++;
  o->interval = o->next;
}

/* Is something held, and can a look do something about it? */
static bool
is_awaited (struct thin_owner *o)
{
  return atomic_load (&o->asked) && env_boottime (o->store->env) >= o->sure;
}

int
thin_owner_step (struct thin_owner *o, uint64_t now)
{
  if (is_over (&o->beat)) {
    beat_over (o);
    leave (o);
  }
  if (is_over (&o->look)) {
    look_over (o);
    leave (o);
  }
  if (o->lost || atomic_load (&o->stopping))
    answer (o, o->lost ? -EBUSY : -ESHUTDOWN);
  else if (!o->look.on && (now >= o->due || is_awaited (o)))
    begin_look (o, now);
  return o->lost ? -EBUSY : 0;
}

uint64_t
thin_owner_deadline (const struct thin_owner *o)
{
  return o->look.on || o->lost ||
             atomic_load (&((struct thin_owner *) o)->stopping)
           ? ENV_FOREVER
           : o->due;
}

bool
thin_owner_idle (const struct thin_owner *o)
{
  return atomic_load (&((struct thin_owner *) o)->busy) == 0;
}

void
thin_owner_destroy (struct thin_owner *o)
{
  free (o->look.buf);
  free (o->beat.buf);
}
