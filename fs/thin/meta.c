/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Opening the metadata of a thin image.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fs/thin/chunks.h"
#include "fs/thin/io.h"
#include "fs/thin/super.h"

#define DEFAULT_NODES 16384 /* 64 MiB */

/* With each time it is opened numbers begin anew that were never used: a commit that did
 * not come to its end left blocks behind with some of these.
 */
#define GENERATIONS_AHEAD UINT64_C (0xfffff)

static int
say_why (const struct store_message *why, int r)
{
  switch (r) {
  case -EINVAL:
    return store_refuse (why, r, "there is no thin image on the store");
  case -ENOTSUP:
    return store_refuse (why, r, "the thin image is of a newer version");
  default: return store_refuse (why, r, "both superblocks are damaged");
  }
}

/* The newer of the two.  Which of them is not as it should be is noted. */
static int
choose (struct thin_meta *m, const void *block_a, const void *block_b,
        const struct store_message *why)
{
  struct thin_super a, b;
  int ra = thin_super_decode (block_a, THIN_SUPER_A, &a);
  int rb = thin_super_decode (block_b, THIN_SUPER_B, &b);

  if (ra == -ENOTSUP || rb == -ENOTSUP)
    return say_why (why, -ENOTSUP);
  if (ra < 0 && rb < 0)
    return say_why (why, ra == -EINVAL ? rb : ra);
  if (ra == 0 && rb == 0 && memcmp (a.uuid, b.uuid, sizeof a.uuid) != 0)
    return store_refuse (why, -EIO, "the superblocks are of different images");
  if (ra == 0 && (rb < 0 || a.generation >= b.generation)) {
    m->super = a;
    m->mend_b = rb < 0 || a.generation != b.generation;
  }
  else {
    m->super = b;
    m->mend_a = true;
  }
  return 0;
}

static int
read_supers (struct thin_meta *m, const struct thin_open *how,
             const struct store_message *why)
{
  uint8_t *buf;
  int r;

  if (how->super_a && how->super_b)
    return choose (m, how->super_a, how->super_b, why);
  if (m->limit <= THIN_SUPER_B)
    return say_why (why, -EINVAL);
  buf = thin_io_alloc (2);
  if (buf == NULL)
    return store_refuse (why, -ENOMEM, "no memory");
  r = thin_io_read (m->store, THIN_SUPER_A, buf, 1);
  if (r == 0)
    r = thin_io_read (m->store, THIN_SUPER_B, buf + THIN_BLOCK, 1);
  if (r == 0)
    r = choose (m, buf, buf + THIN_BLOCK, why);
  else
    store_refuse (why, r, "the superblocks cannot be read: %s", strerror (-r));
  free (buf);
  return r;
}

static int
check_super (struct thin_meta *m, const struct store_message *why)
{
  const struct thin_super *super = &m->super;

  if (super->store_blocks > m->limit)
    return store_refuse (why, -EIO,
                         "the store has %" PRIu64
                         " bytes, but the thin image on it %" PRIu64,
                         m->store->geo.size, super->store_blocks * THIN_BLOCK);
  if (!m->readonly && (super->ro_compat & ~THIN_KNOWN_RO_COMPAT))
    return store_refuse (why, -EROFS,
                         "the thin image has features by which it can only be "
                         "read");
  return 0;
}

int
thin_meta_open (struct store *store, const struct thin_open *how,
                struct thin_meta **meta, const struct store_message *why)
{
  struct thin_meta *m = calloc (1, sizeof *m);
  int r;

  if (m == NULL)
    return store_refuse (why, -ENOMEM, "no memory");
  m->store = store;
  m->readonly = how->readonly;
  m->fan = how->fan ? how->fan : THIN_MAX_ENTRIES;
  m->limit = thin_min (store->geo.size / THIN_BLOCK, THIN_MAX_BLOCKS);
  m->space = (struct thin_space) { thin_meta_take_any, m };
  atomic_store (&m->last_bad, UINT64_MAX);
  pthread_mutex_init (&m->lock, NULL);
  r = read_supers (m, how, why);
  if (r == 0)
    r = check_super (m, why);
  if (r == 0) {
    memcpy (m->uuid, m->super.uuid, sizeof m->uuid);
    /* Not known yet: at most so many. */
    m->in_use = m->nr_chunks = m->super.metadata_blocks;
    m->last_generation = m->super.generation | GENERATIONS_AHEAD;
    m->cache =
      thin_cache_create (how->cache_nodes ? how->cache_nodes : DEFAULT_NODES);
    if (m->cache == NULL)
      r = store_refuse (why, -ENOMEM, "no memory");
  }
  if (r < 0) {
    thin_meta_close (m);
    return r;
  }
  *meta = m;
  return 0;
}

void
thin_meta_close (struct thin_meta *m)
{
  if (m->cache)
    thin_cache_free (m->cache);
  thin_chunks_free (m);
  pthread_mutex_destroy (&m->lock);
  free (m);
}

void
thin_meta_super (struct thin_meta *m, struct thin_super *super)
{
  thin_meta_roots (m, super);
}

uint64_t
thin_meta_limit (const struct thin_meta *m)
{
  return m->limit;
}

void
thin_meta_set_space (struct thin_meta *m, const struct thin_space *space)
{
  m->space = *space;
}
