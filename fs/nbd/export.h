/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The NBD store: what an export is like, and whether it is the one it was.
 */

#ifndef FOLIO_NBD_EXPORT_H
#define FOLIO_NBD_EXPORT_H

#include <stdbool.h>
#include <stdint.h>
#include <libnbd.h>

#include "fs/store.h"

/* A block size may be as large as this, bytes. */
#define MAX_MIN_IO 4096u

/* Of one command at most, bytes: libnbd refuses larger ones. */
#define MAX_PAYLOAD (UINT32_C (32) << 20)

/* What an export says of itself. */
struct export_facts {
  uint64_t size;      /* bytes; of whole blocks */
  uint32_t tail;      /* bytes behind them, which no request can reach */
  uint32_t min_block; /* bytes, 1 or more */
  uint32_t max_block; /* bytes */
  bool readonly, flush, fua, zero, fast_zero, multi_conn;
  bool rotational;
  bool extents; /* base:allocation was granted */
};

/* Of a read or write, bytes: whole blocks of any size there may be. */
static inline uint32_t
export_max_io (const struct export_facts *facts)
{
  return facts->max_block / MAX_MIN_IO * MAX_MIN_IO;
}

/* Is what the request changes to be durable at once?  Where there is no flush, all
 * of it is, as far as the server can do that.
 */
static inline bool
export_wants_fua (const struct export_facts *facts, const struct store_req *req)
{
  if (req->op == STORE_READ || req->op == STORE_FLUSH)
    return false;
  return facts->fua && ((req->flags & STORE_FUA) || !facts->flush);
}

/* Learn the export's facts.  Returns 0 or a negative errno, and why. */
extern int export_learn (struct nbd_handle *handle, struct export_facts *facts,
                         char *why);

/* Can it take the place of the export that there was at the start: is it as large,
 * or larger, and does it do what is promised to clients by it (who do not write, if
 * readonly)?  What it does worse, if it makes no more difference than time, it may.
 * If not, says in why what has changed.
 */
extern bool export_fits (const struct export_facts *was, bool readonly,
                         const struct export_facts *is, char *why);

/* What both of them have. */
extern void export_join (struct export_facts *facts,
                         const struct export_facts *other);

#endif /* FOLIO_NBD_EXPORT_H */
