/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What a fixture's disk is to hold: see disk-model.h.
 */

#include <stdlib.h>
#include <string.h>

#include "disk-model.h"

struct disk_model *
disk_model_start (struct fixture *f, struct rng rng, unsigned version)
{
  struct disk_model *m = xcalloc (1, sizeof *m);

  m->f = f;
  m->rng = rng;
  m->disk = xcalloc (1, f->config.disk_size);
  fill_pattern (m->disk, f->config.disk_size, 0, version);
  store_put (f, 0, f->config.disk_size, version);
  return m;
}

void
disk_model_change (struct disk_model *m, uint64_t longest, bool must)
{
  uint64_t size = m->f->config.disk_size;
  uint64_t offset = rng_below (&m->rng, size);
  uint64_t n = min_u64 (rng_log (&m->rng, longest), size - offset);
  unsigned version = 1 + (unsigned) rng_below (&m->rng, 1000);
  unsigned flags = rng_chance (&m->rng, 20) ? CACHE_FUA : 0;
  int r;

  if (rng_chance (&m->rng, 70)) {
    fill_pattern (m->disk + offset, n, offset, version);
    r = put_flags (m->f, 0, offset, n, version, flags);
  }
  else {
    memset (m->disk + offset, 0, n);
    r = rng_chance (&m->rng, 50) ? cache_zero (m->f->conn, n, offset, flags)
                                 : cache_trim (m->f->conn, n, offset, flags);
  }
  if (must || !(flags & CACHE_FUA))
    assert_int_equal (r, 0);
}

void
disk_model_compare (struct disk_model *m, bool store)
{
  uint64_t size = m->f->config.disk_size;
  uint8_t *got = xcalloc (1, size);

  if (store)
    fake_store_peek (m->f->fake, 0, got, size);
  else
    assert_int_equal (cache_read (m->f->conn, got, (uint32_t) size, 0), 0);
  assert_memory_equal (got, m->disk, size);
  free (got);
}

void
disk_model_end (struct disk_model *m)
{
  disk_model_compare (m, true);
  disk_model_compare (m, false);
  check_flushed (m->f);
  free (m->disk);
  free (m);
}
