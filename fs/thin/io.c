/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Blocking I/O: up to THIN_IO_MAX requests side by side.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/thin/format.h"
#include "fs/thin/io.h"

/* A store that goes on losing things is not there. */
#define MOST_LOSSES 100

struct batch {
  struct env *env;
  struct completion over;
  _Atomic unsigned left; /* requests, and one for who submits them */
};

struct piece {
  struct store_req req;
  struct iovec iov;
  struct batch *batch;
  struct thin_io *io;
  int error;
};

void *
thin_io_alloc (uint64_t blocks)
{
  void *p;

  if (blocks == 0 || blocks > SIZE_MAX / THIN_BLOCK)
    return NULL;
  p = aligned_alloc (THIN_BLOCK, blocks * THIN_BLOCK);
  if (p)
    memset (p, 0, blocks * THIN_BLOCK);
  return p;
}

static void
batch_drop (struct batch *batch)
{
  if (atomic_fetch_sub (&batch->left, 1) == 1)
    completion_signal (batch->env, &batch->over);
}

static void
piece_done (struct store_req *req, int error)
{
  struct piece *piece =
    (struct piece *) ((char *) req - offsetof (struct piece, req));

  piece->error = error;
  batch_drop (piece->batch);
}

/* The next piece of ios from *done blocks of the first on; false: there is none. */
static bool
piece_next (struct store *store, struct piece *piece, struct thin_io **io,
            struct thin_io *end, uint64_t *done)
{
  uint64_t most = store->geo.max_io / THIN_BLOCK, blocks;

  while (*io < end && *done == (*io)->blocks) {
    ++*io;
    *done = 0;
  }
  if (*io == end)
    return false;
  blocks = (*io)->blocks - *done;
  if (most > 0 && blocks > most)
    blocks = most;
  piece->iov.iov_base = (char *) (*io)->buf + *done * THIN_BLOCK;
  piece->iov.iov_len = blocks * THIN_BLOCK;
  piece->req.offset = ((*io)->block + *done) * THIN_BLOCK;
  piece->req.length = piece->iov.iov_len;
  piece->io = *io;
  *done += blocks;
  return true;
}

static void
run_batch (struct store *store, struct piece *pieces, unsigned n)
{
  struct batch batch = { .env = store->env };
  struct store_req *reqs[THIN_IO_MAX];
  unsigned i;

  atomic_store (&batch.left, n + 1);
  for (i = 0; i < n; i++) {
    pieces[i].batch = &batch;
    pieces[i].req.iov = &pieces[i].iov;
    pieces[i].req.niov = 1;
    pieces[i].req.done = piece_done;
    reqs[i] = &pieces[i].req;
  }
  store->ops->submit (store, reqs, n);
  batch_drop (&batch);
  completion_wait (batch.env, &batch.over);
}

static int
check_range (struct store *store, const struct thin_io *io)
{
  uint64_t size = store->geo.size / THIN_BLOCK;

  return io->block > size || io->blocks > size - io->block ? -EIO : 0;
}

static int
transfer (struct store *store, enum store_op op, unsigned flags,
          struct thin_io *ios, unsigned n)
{
  struct piece *pieces = malloc (THIN_IO_MAX * sizeof *pieces);
  struct thin_io *io = ios, *end = ios + n;
  uint64_t done = 0;
  unsigned i, k = 1;
  int r = pieces ? 0 : -ENOMEM;

  for (i = 0; i < n; i++) {
    ios[i].error = check_range (store, &ios[i]);
    if (r == 0)
      r = ios[i].error;
  }
  while (r == 0 && k > 0) {
    for (k = 0; k < THIN_IO_MAX; k++) {
      memset (&pieces[k], 0, sizeof pieces[k]);
      pieces[k].req.op = op;
      pieces[k].req.flags = flags;
      if (!piece_next (store, &pieces[k], &io, end, &done))
        break;
    }
    if (k > 0)
      run_batch (store, pieces, k);
    for (i = 0; i < k; i++) {
      if (pieces[i].error && pieces[i].io->error == 0)
        pieces[i].io->error = pieces[i].error;
      if (r == 0)
        r = pieces[i].error;
    }
  }
  free (pieces);
  return r;
}

int
thin_io_read_all (struct store *store, struct thin_io *io, unsigned n)
{
  return transfer (store, STORE_READ, 0, io, n);
}

int
thin_io_write_all (struct store *store, struct thin_io *io, unsigned n)
{
  return transfer (store, STORE_WRITE, 0, io, n);
}

int
thin_io_read (struct store *store, uint64_t block, void *buf, uint64_t blocks)
{
  struct thin_io io = { .block = block, .buf = buf, .blocks = blocks };

  return transfer (store, STORE_READ, 0, &io, 1);
}

static int
write_flags (struct store *store, uint64_t block, const void *buf,
             uint64_t blocks, unsigned flags)
{
  struct thin_io io = {
    .block = block,
    .buf = (void *) (uintptr_t) buf, /* an iovec can't say const */
    .blocks = blocks,
  };

  return transfer (store, STORE_WRITE, flags, &io, 1);
}

int
thin_io_write (struct store *store, uint64_t block, const void *buf,
               uint64_t blocks)
{
  return write_flags (store, block, buf, blocks, 0);
}

int
thin_io_flush (struct store *store)
{
  struct store_req req = { .op = STORE_FLUSH };

  return store_submit_wait (store, &req);
}

int
thin_io_write_durable (struct store *store, uint64_t block, const void *buf,
                       uint64_t blocks)
{
  bool fua = store->geo.can_fua;
  int i, r;

  for (i = 0; i < MOST_LOSSES; i++) {
    uint64_t undone = store_undone (store);

    r = write_flags (store, block, buf, blocks, fua ? STORE_FUA : 0);
    if (r == -EOPNOTSUPP && fua) {
      fua = false;
      continue;
    }
    if (r == 0 && !fua)
      r = thin_io_flush (store);
    if (store_undone (store) == undone || (r < 0 && r != -ECONNRESET))
      return r;
  }
  return -EIO;
}
