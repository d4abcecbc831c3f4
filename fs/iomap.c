/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The iterator over a range of the disk, after Linux's fs/iomap/iter.c; and what
 * is the same for all formats.
 */

#include <assert.h>
#include <errno.h>

#include "fs/iomap.h"

void
iomap_iter_init (struct iomap_iter *iter, struct fs *fs, uint64_t pos,
                 uint64_t len, unsigned flags)
{
  *iter = (struct iomap_iter) {
    .fs = fs,
    .pos = pos,
    .len = len,
    .flags = flags,
  };
}

int
iomap_iter_stop (struct iomap_iter *iter)
{
  const struct iomap_ops *ops = iter->fs->ops;
  int r = 0;

  if (!iter->active)
    return 0;
  iter->active = false;
  if (ops->end)
    r = ops->end (iter->fs, iter->pos, iomap_iter_length (iter),
                  iter->processed, iter->flags, &iter->iomap);
  iomap_read_end (iter->fs, iter->counted);
  return r;
}

/* What the store has lost since was perhaps never durable where it is, and what is read
 * there is something else: wait until the format knows of it.
 */
static int
see_losses (struct iomap_iter *iter)
{
  struct fs *fs = iter->fs;
  struct env *env = fs->store->env;
  uint64_t told;
  uint32_t seen;

  for (;;) {
    seen = atomic_load (&fs->changes);
    iter->losses = store_losses (fs->store);
    told = atomic_load (&fs->told);
    if (told == 0 || told == (uint64_t) iter->losses + 1)
      return 0;
    if (iter->flags & IOMAP_NOWAIT)
      return -EAGAIN;
    fs_ring (fs);
    env->wait (env, &fs->changes, seen, ENV_FOREVER);
  }
}

static int
begin (struct iomap_iter *iter)
{
  struct fs *fs = iter->fs;
  int r = fs->moves ? see_losses (iter) : 0;

  if (r < 0)
    return r;
  if (fs->moves)
    iter->counted = readers_begin (fs);
  r = fs->ops->begin (fs, iter->pos, iter->len, iter->flags, &iter->iomap);
  if (r < 0)
    iomap_read_end (fs, iter->counted);
  return r;
}

/* What keeps room from being made may be a reader: so not as one. */
static int
begin_with_room (struct iomap_iter *iter)
{
  struct fs *fs = iter->fs;
  uint64_t since;
  int r = -ENOSPC;

  if (fs->ops->make_room == NULL || iter->flags & IOMAP_NOWAIT)
    return r;
  since = fs->store->env->now (fs->store->env);
  while (r == -ENOSPC && fs->ops->make_room (fs, since) == 0)
    r = begin (iter);
  return r;
}

int
iomap_iter_next (struct iomap_iter *iter)
{
  int r;

  if (iter->active) {
    assert (iter->processed <= iomap_iter_length (iter));
    r = iomap_iter_stop (iter);
    if (r < 0)
      return r;
    iter->pos += iter->processed;
    iter->len -= iter->processed;
    iter->processed = 0;
  }
  if (iter->len == 0)
    return 0;
  r = begin (iter);
  if (r == -ENOSPC)
    r = begin_with_room (iter);
  if (r < 0)
    return r;
  assert (iter->iomap.offset <= iter->pos &&
          iter->pos - iter->iomap.offset < iter->iomap.length);
  iter->active = true;
  return 1;
}

int
fs_attach (struct fs *fs, struct ev_loop *loop, uint64_t expire)
{
  struct store *store = fs->store;
  int r = store->ops->attach (store, loop);

  if (r < 0)
    return r;
  atomic_store (&fs->told, (uint64_t) store_losses (store) + 1);
  if (fs->ops->attach == NULL)
    return 0;
  r = fs->ops->attach (fs, expire);
  if (r < 0)
    store->ops->detach (store);
  return r;
}

void
fs_detach (struct fs *fs)
{
  if (fs->ops->detach)
    fs->ops->detach (fs);
  fs->store->ops->detach (fs->store);
}

int
fs_ready (struct fs *fs)
{
  return fs->ops->ready ? fs->ops->ready (fs) : 0;
}

uint64_t
fs_settle (struct fs *fs, uint64_t start, uint64_t end)
{
  return fs->ops->settle ? fs->ops->settle (fs, start, end) : 0;
}

int
fs_settled (struct fs *fs, uint64_t start, uint64_t end, uint64_t ticket)
{
  return fs->ops->settled ? fs->ops->settled (fs, start, end, ticket) : 0;
}

bool
fs_unsettled (struct fs *fs, uint64_t start, uint64_t end)
{
  return fs->ops->unsettled && fs->ops->unsettled (fs, start, end);
}

int
fs_settle_wait (struct fs *fs, uint64_t start, uint64_t end)
{
  struct env *env = fs->store->env;
  uint64_t ticket = fs_settle (fs, start, end);
  uint32_t seen;
  int r;

  for (;;) {
    seen = atomic_load (&fs->changes);
    r = fs_settled (fs, start, end, ticket);
    if (r != -EAGAIN)
      return r;
    fs_ring (fs);
    env->wait (env, &fs->changes, seen, ENV_FOREVER);
  }
}

bool
fs_placed (struct fs *fs, uint64_t start, uint64_t end)
{
  return fs->ops->placed == NULL || fs->ops->placed (fs, start, end);
}

bool
fs_step (struct fs *fs, uint64_t now)
{
  return fs->ops->step && fs->ops->step (fs, now);
}

uint64_t
fs_deadline (struct fs *fs)
{
  return fs->ops->deadline ? fs->ops->deadline (fs) : ENV_FOREVER;
}

bool
fs_idle (struct fs *fs)
{
  return fs->ops->idle == NULL || fs->ops->idle (fs);
}

void
fs_lost (struct fs *fs, uint64_t losses)
{
  if (fs->ops->lost)
    fs->ops->lost (fs, losses);
  if (losses == LOST_ALL)
    return;
  atomic_store (&fs->told, losses + 1);
  fs_changed (fs);
}

void
fs_retry (struct fs *fs)
{
  if (fs->ops->retry)
    fs->ops->retry (fs);
}
