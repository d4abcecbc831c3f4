/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * thin: who only reads.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/thin/io.h"
#include "fs/thin/owner.h"
#include "fs/thin/reader.h"
#include "fs/thin/super.h"

static int
read_block (struct thin_reader *r, void *buf)
{
  return thin_io_read (r->store, THIN_OWNER, buf, 1);
}

static bool
is_unchanged (const struct thin_reader *r)
{
  return memcmp (r->first, r->buf, THIN_BLOCK) == 0;
}

/* 1: somebody is alive, or has just come. */
static int
look_for_owner (struct thin_reader *r, const uint8_t *uuid)
{
  int e = read_block (r, r->first), other = 0;

  if (e == 0)
    e = other = thin_owner_other (r->store, uuid);
  if (e >= 0)
    e = read_block (r, r->buf);
  return e < 0 ? e : other || !is_unchanged (r);
}

int
thin_reader_begin (struct thin_reader *r, struct store *store,
                   const uint8_t *uuid, const struct store_message *why)
{
  const struct thin_owner_block *b;
  bool valid;
  int e;

  r->store = store;
  r->first = thin_io_alloc (1);
  r->buf = thin_io_alloc (1);
  if (r->first == NULL || r->buf == NULL)
    return store_refuse (why, -ENOMEM, "out of memory");
  e = look_for_owner (r, uuid);
  b = (const struct thin_owner_block *) r->buf;
  valid = thin_sealed (&b->h, THIN_MAGIC_OWNER, uuid, THIN_OWNER, THIN_BLOCK);
  if (e > 0)
    return store_refuse (why, -EBUSY,
                         "another server has it open for writing, on %.23s",
                         valid ? b->host : "?");
  if (e < 0)
    return store_refuse (why, e, "its owner cannot be told: %s", strerror (-e));
  r->due = store->env->now (store->env) + THIN_BEAT;
  return 0;
}

static void
look_done (struct store_req *req, int error)
{
  struct thin_reader *r =
    (struct thin_reader *) ((char *) req - offsetof (struct thin_reader, req));

  r->error = error;
  atomic_store (&r->done, true);
  r->ring (r->opaque);
}

static void
look (struct thin_reader *r)
{
  struct store_req *reqs[] = { &r->req };

  r->looking = true;
  r->iov = (struct iovec) { .iov_base = r->buf, .iov_len = THIN_BLOCK };
  r->req = (struct store_req) {
    .op = STORE_READ,
    .offset = THIN_OWNER * THIN_BLOCK,
    .length = THIN_BLOCK,
    .iov = &r->iov,
    .niov = 1,
    .done = look_done,
  };
  r->store->ops->submit (r->store, reqs, 1);
}

int
thin_reader_step (struct thin_reader *r, uint64_t now)
{
  if (!r->looking) {
    if (now >= r->due)
      look (r);
    return 0;
  }
  if (!atomic_exchange (&r->done, false))
    return 0;
  r->looking = false;
  r->due = now + THIN_BEAT;
  return r->error == 0 && !is_unchanged (r) ? -EBUSY : 0;
}

int
thin_reader_still (struct thin_reader *r)
{
  void *buf = thin_io_alloc (1);
  int e = buf ? read_block (r, buf) : -ENOMEM;

  if (e == 0 && memcmp (r->first, buf, THIN_BLOCK) != 0)
    e = -EBUSY;
  free (buf);
  return e;
}

void
thin_reader_destroy (struct thin_reader *r)
{
  free (r->first);
  free (r->buf);
}
