/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The random-operation test: the whole disk against the oracle.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oracle.h"

static bool
ask (struct oracle *oracle, struct request *req)
{
  struct image *image = &oracle->image;

  history_begin (&image->history, &req->op);
  request_run (&oracle->target, req);
  history_end (&image->history, &req->op);
  if (req->error)
    oracle_refused (oracle, req);
  return !req->error;
}

static void
read_everything (struct oracle *oracle)
{
  struct request req = { .buf = xcalloc (oracle->max_len, 1) };
  uint64_t offset = 0, chunk = oracle->max_len;
  unsigned turn = 0;

  while (offset < oracle->target.size && !atomic_load (&oracle->failed)) {
    req.op.kind = OP_READ;
    req.op.offset = offset;
    req.op.length = oracle->target.size - offset;
    req.op.length = req.op.length < chunk ? req.op.length : chunk;
    req.op.connection = (uint16_t) (turn++ % oracle->target.n);
    memset (req.buf, 0xee, req.op.length);
    if (ask (oracle, &req))
      oracle_check_answer (oracle, &req, offset, oracle->image.bytes + offset,
                           req.op.length);
    offset += req.op.length;
  }
  free (req.buf);
}

/* Extents may answer for less than was asked: go on where they end. */
static void
ask_all_extents (struct oracle *oracle)
{
  struct request req = { .op.kind = OP_EXTENTS };
  uint64_t offset = 0, zero = 0, size = oracle->target.size;
  size_t i, n = 0;

  while (offset < size && !atomic_load (&oracle->failed)) {
    req.op.offset = offset;
    req.op.length = size - offset;
    if (req.op.length > UINT32_C (1) << 31)
      req.op.length = UINT32_C (1) << 31;
    if (!ask (oracle, &req))
      break;
    oracle_check_extents_shape (oracle, &req);
    oracle_check_answer (oracle, &req, offset, oracle->image.bytes + offset,
                         req.op.length);
    for (i = 0; i < req.nr_extents && offset < size; i++, n++) {
      uint64_t length = req.extents[i].length;

      length = offset + length < size ? length : size - offset;
      offset += length;
      if (req.extents[i].flags & LIBNBD_STATE_ZERO)
        zero += length;
    }
  }
  request_clear (&req);
  printf ("verified %" PRIu64 " bytes; %zu extents, %" PRIu64
          " bytes of them zero\n",
          size, n, zero);
}

void
oracle_verify (struct oracle *oracle)
{
  read_everything (oracle);
  if (oracle->target.can_extents)
    ask_all_extents (oracle);
}
