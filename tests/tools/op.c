/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * One NBD request.  See op.h.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "op.h"
#include "util.h"

bool
op_modifies (const struct op *op)
{
  return op->kind == OP_WRITE || op->kind == OP_ZERO || op->kind == OP_TRIM;
}

bool
op_overlaps (const struct op *a, const struct op *b)
{
  return a->offset < b->offset + b->length && b->offset < a->offset + a->length;
}

static const char *
kind_name (unsigned kind)
{
  static const char *const names[] = {
    "read", "write", "zero", "trim", "flush", "cache", "extents",
  };

  return kind < sizeof names / sizeof names[0] ? names[kind] : "?";
}

void
op_print (FILE *fp, const struct op *op)
{
  fprintf (fp, "#%" PRIu64 "-", op->id);
  if (op->ended)
    fprintf (fp, "#%" PRIu64, op->ended);
  else
    fprintf (fp, "(unfinished)");
  fprintf (fp, " conn %u %s", op->connection, kind_name (op->kind));
  if (op->kind != OP_FLUSH)
    fprintf (fp, " %" PRIu64 "+%" PRIu64 " (to %" PRIu64 ")", op->offset,
             op->length, op->offset + op->length);
  if (op->kind == OP_WRITE && op->fill == FILL_BYTE)
    fprintf (fp, " of one byte");
  if (op->kind == OP_WRITE && op->fill == FILL_ZERO)
    fprintf (fp, " of zeroes");
  if (op->flags & LIBNBD_CMD_FLAG_FUA)
    fprintf (fp, " FUA");
  if (op->flags & LIBNBD_CMD_FLAG_NO_HOLE)
    fprintf (fp, " NO_HOLE");
  if (op->flags & LIBNBD_CMD_FLAG_FAST_ZERO)
    fprintf (fp, " FAST_ZERO");
  if (op->flags & LIBNBD_CMD_FLAG_REQ_ONE)
    fprintf (fp, " REQ_ONE");
}

static void
fill_random (uint64_t seed, uint64_t offset, uint8_t *buf, size_t length)
{
  while (length > 0) {
    unsigned skip = offset % 8;
    size_t n = 8 - skip < length ? 8 - skip : length;
    uint64_t word = mix64 (seed + offset / 8 * UINT64_C (0x9e3779b97f4a7c15));

    word = (word | UINT64_C (0x0101010101010101)) >> (8 * skip);
    memcpy (buf, &word, n);
    buf += n;
    offset += n;
    length -= n;
  }
}

void
op_content (const struct op *op, uint64_t offset, uint8_t *buf, size_t length)
{
  if (op->kind != OP_WRITE || op->fill == FILL_ZERO)
    memset (buf, 0, length);
  else if (op->fill == FILL_BYTE)
    memset (buf, 1 + (int) (op->seed % 255), length);
  else
    fill_random (op->seed, offset, buf, length);
}

static int
on_done (void *opaque, int *error)
{
  struct request *req = opaque;

  req->error = *error;
  req->done = true;
  return 1;
}

static int
on_extents (void *opaque, const char *context, uint64_t offset,
            uint32_t *entries, size_t nr_entries, int *error)
{
  struct request *req = opaque;
  size_t i;

  (void) offset;
  (void) error;
  if (strcmp (context, LIBNBD_CONTEXT_BASE_ALLOCATION) != 0)
    return 0;
  free (req->extents);
  req->nr_extents = nr_entries / 2;
  req->extents = xcalloc (req->nr_extents, sizeof *req->extents);
  for (i = 0; i < req->nr_extents; i++) {
    req->extents[i].length = entries[2 * i];
    req->extents[i].flags = entries[2 * i + 1];
  }
  return 0;
}

static int64_t
issue (const struct target *target, struct request *req)
{
  const struct op *op = &req->op;
  struct nbd_handle *nbd = target->nbd[op->connection];
  uint64_t offset = target->base + op->offset;
  nbd_completion_callback done = { .callback = on_done, .user_data = req };
  nbd_extent_callback extents = { .callback = on_extents, .user_data = req };

  switch (op->kind) {
  case OP_READ:
    return nbd_aio_pread (nbd, req->buf, op->length, offset, done, 0);
  case OP_WRITE:
    return nbd_aio_pwrite (nbd, req->buf, op->length, offset, done, op->flags);
  case OP_ZERO: return nbd_aio_zero (nbd, op->length, offset, done, op->flags);
  case OP_TRIM: return nbd_aio_trim (nbd, op->length, offset, done, op->flags);
  case OP_FLUSH: return nbd_aio_flush (nbd, done, 0);
  case OP_CACHE: return nbd_aio_cache (nbd, op->length, offset, done, 0);
  default:
    return nbd_aio_block_status (nbd, op->length, offset, extents, done,
                                 op->flags);
  }
}

void
request_issue (const struct target *target, struct request *req)
{
  struct nbd_handle *nbd = target->nbd[req->op.connection];

  req->done = false;
  req->error = 0;
  req->nr_extents = 0;
  if (issue (target, req) < 0 && !req->done) {
    req->error = nbd_get_errno () ? nbd_get_errno () : EIO;
    if (nbd_aio_is_dead (nbd) == 1 || nbd_aio_is_closed (nbd) == 1)
      req->error = ENOTCONN;
    req->done = true;
  }
}

int
request_run (const struct target *target, struct request *req)
{
  request_issue (target, req);
  while (!req->done) {
    if (nbd_poll (target->nbd[req->op.connection], -1) < 0 && !req->done) {
      req->error = ENOTCONN;
      req->done = true;
    }
  }
  return req->error;
}

void
request_clear (struct request *req)
{
  free (req->extents);
  req->extents = NULL;
  req->nr_extents = 0;
}
