/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Thin images and the arrays they are held against.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/thin/meta-impl.h"
#include "tests/unit/test.h"
#include "tests/unit/thin-world.h"

static void
log_it (struct env *env, enum log_level level, const char *message)
{
  struct world *w = (struct world *) env;

  if (level == LOG_ERROR && !w->quiet)
    fprintf (stderr, "%s\n", message);
}

/* --- models */

static void
model_init (struct world_model *model, uint64_t blocks)
{
  int i;

  memset (model, 0, sizeof *model);
  model->blocks = blocks;
  model->disk = calloc (blocks, sizeof *model->disk);
  for (i = 0; i < WORLD_SNAPSHOTS; i++)
    model->snapshots[i] = calloc (blocks, sizeof *model->disk);
}

static void
model_free (struct world_model *model)
{
  int i;

  free (model->disk);
  for (i = 0; i < WORLD_SNAPSHOTS; i++)
    free (model->snapshots[i]);
}

static void
model_copy (struct world_model *to, const struct world_model *from)
{
  size_t size = from->blocks * sizeof *from->disk;
  int i;

  memcpy (to->disk, from->disk, size);
  memcpy (to->names, from->names, sizeof to->names);
  for (i = 0; i < WORLD_SNAPSHOTS; i++)
    memcpy (to->snapshots[i], from->snapshots[i], size);
}

/* Blocks of the store by their use: bit 0 the disk's, bit 1 + i snapshot i's. */
static uint8_t *
model_uses (const struct world_model *model, uint64_t store_blocks)
{
  uint8_t *uses = calloc (store_blocks, 1);
  uint64_t b;
  int i;

  for (i = -1; i < WORLD_SNAPSHOTS; i++) {
    const struct world_block *map = i < 0 ? model->disk : model->snapshots[i];

    for (b = 0; b < model->blocks; b++)
      if (map[b].type != IOMAP_HOLE && (i < 0 || model->names[i][0]))
        uses[map[b].physical] |= 1u << (i + 1);
  }
  return uses;
}

/* --- the store */

/* Which superblock could be torn now. */
static void
note_super (struct world *w, const struct store_req *req)
{
  uint64_t block = req->offset / THIN_BLOCK;

  if (req->op == STORE_FLUSH || (req->flags & STORE_FUA))
    w->torn = 0;
  else if (req->op == STORE_WRITE &&
           (block == THIN_SUPER_A || block == THIN_SUPER_B))
    w->torn = req->offset + THIN_BLOCK;
}

/* Submit one after the other, with what happens between them. */
static void
submit (struct store *store, struct store_req **reqs, unsigned n)
{
  struct world *w = (struct world *) store->env;
  unsigned i;

  for (i = 0; i < n; i++) {
    if (w->strike > 0 && --w->strike == 0) {
      w->dead = w->cut;
      if (!w->cut)
        fake_store_lose (w->fake, 1 + rng_next (&w->rng));
    }
    if (w->dead)
      reqs[i]->done (reqs[i], -EIO);
    else {
      note_super (w, reqs[i]);
      w->real->submit (store, &reqs[i], 1);
    }
  }
}

void
world_crash (struct world *w)
{
  static const uint8_t garbage[100] = { 1, 2, 3 };

  fake_store_crash (w->fake, 1 + rng_next (&w->rng));
  if (w->torn && rng_chance (&w->rng, 50))
    fake_store_poke (w->fake, w->torn - THIN_BLOCK + 200, garbage,
                     sizeof garbage);
  w->torn = 0;
  w->dead = false;
  w->strike = 0;
}

/* --- the world */

static int
open_it (struct world *w)
{
  char text[200] = "";
  struct store_message why = { text, sizeof text };
  struct thin_open how = { .cache_nodes = w->nodes, .fan = w->fan };
  int r = thin_meta_open (&w->fake->store, &how, &w->m, &why);

  if (r < 0) {
    if (!w->quiet)
      fprintf (stderr, "%s\n", text);
    w->m = NULL;
    return r;
  }
  return 0;
}

void
world_start (struct world *w, uint64_t seed, uint64_t store_blocks,
             uint64_t disk_blocks, unsigned fan)
{
  struct thin_create what = { .disk_bytes = disk_blocks * THIN_BLOCK };
  char text[200];
  struct store_message why = { text, sizeof text };

  memset (w, 0, sizeof *w);
  env_init (&w->env);
  w->env.log = log_it;
  w->fake = fake_store_create (&w->env, store_blocks * THIN_BLOCK);
  w->fake->store.geo.rotational = seed & 1;
  fake_store_volatile (w->fake);
  w->real = w->fake->store.ops;
  w->ops = *w->real;
  w->ops.submit = submit;
  w->fake->store.ops = &w->ops;
  w->rng = (struct rng) { seed };
  w->blocks = disk_blocks;
  w->fan = fan;
  w->nodes = 64;
  w->step = 2;
  model_init (&w->now, disk_blocks);
  model_init (&w->next, disk_blocks);
  assert_int_equal (thin_create (&w->fake->store, &what, &why), 0);
  assert_int_equal (open_it (w), 0);
}

void
world_start_random (struct world *w, uint64_t seed)
{
  struct rng rng = { seed };
  uint64_t store = rng_chance (&rng, 30) ? 320 + rng_below (&rng, 600)
                                         : 2048 + rng_below (&rng, 4096);
  uint64_t disk = 64 + rng_below (&rng, store / 2);
  unsigned fan =
    rng_chance (&rng, 20) ? THIN_MAX_ENTRIES : 4 + rng_below (&rng, 12);

  world_start (w, seed, store, disk, fan);
}

void
world_stop (struct world *w)
{
  if (w->m)
    thin_meta_close (w->m);
  model_free (&w->now);
  model_free (&w->next);
  w->fake->store.ops->close (&w->fake->store);
}

int
world_reopen (struct world *w)
{
  if (w->m)
    thin_meta_close (w->m);
  return open_it (w);
}

/* --- transactions */

static int
random_map (struct world *w, struct thin_txn *t, uint64_t start,
            uint64_t length)
{
  bool unwritten = rng_chance (&w->rng, 30);
  struct thin_range range;
  uint64_t i;
  int r = thin_meta_take (w->m, length, &range);

  if (r < 0)
    return r;
  assert_true (range.length <= length);
  for (i = 0; i < range.length; i++)
    w->next.disk[start + i] = (struct world_block) {
      .type = unwritten ? IOMAP_UNWRITTEN : IOMAP_MAPPED,
      .physical = range.start + i,
    };
  return thin_txn_map (t, start, range.length, range.start, unwritten);
}

static int
random_zero (struct world *w, struct thin_txn *t, const uint8_t *uses,
             uint64_t start, uint64_t length, bool keep)
{
  uint64_t i;

  for (i = start; i < start + length; i++) {
    struct world_block *b = &w->next.disk[i];

    if (b->type == IOMAP_HOLE)
      continue;
    if (keep && !(uses[b->physical] & ~1u))
      b->type = IOMAP_UNWRITTEN;
    else
      *b = (struct world_block) { .type = IOMAP_HOLE };
  }
  return keep ? thin_txn_zero_keep (t, start, length)
              : thin_txn_hole (t, start, length);
}

/* What is UNWRITTEN has been written in place. */
static int
random_convert (struct world *w, struct thin_txn *t, const uint8_t *uses,
                uint64_t start, uint64_t length)
{
  uint64_t i;
  int r = 0;

  for (i = start; i < start + length && r == 0; i++) {
    struct world_block *b = &w->next.disk[i];

    if (b->type != IOMAP_UNWRITTEN || (uses[b->physical] & ~1u))
      continue;
    b->type = IOMAP_MAPPED;
    r = thin_txn_map (t, i, 1, b->physical, false);
  }
  return r;
}

/* One block after the other, so far apart, as the pattern says. */
static int
striped_op (struct world *w, struct thin_txn *t, const uint8_t *uses)
{
  uint64_t b = w->stripe++ * w->step % w->blocks;

  switch (w->pattern) {
  case WORLD_MAPS: return random_map (w, t, b * 7 % w->blocks, 1);
  case WORLD_HOLES: return random_zero (w, t, uses, b, 1, false);
  case WORLD_ZEROES: return random_zero (w, t, uses, b, 1, true);
  default: return random_convert (w, t, uses, b, 1);
  }
}

static int
random_op (struct world *w, struct thin_txn *t, const uint8_t *uses)
{
  uint64_t length = 1 + rng_below (&w->rng, rng_chance (&w->rng, 20) ? 64 : 4);
  uint64_t start = rng_below (&w->rng, w->blocks);

  if (w->pattern != WORLD_RANDOM && rng_chance (&w->rng, 90))
    return striped_op (w, t, uses);
  if (length > w->blocks - start)
    length = w->blocks - start;
  switch (rng_below (&w->rng, 8)) {
  case 0:
  case 1: return random_zero (w, t, uses, start, length, false);
  case 2: return random_zero (w, t, uses, start, length, true);
  case 3: return random_convert (w, t, uses, start, 1);
  default: return random_map (w, t, start, length);
  }
}

int
world_ranges (struct world *w, unsigned n)
{
  uint8_t *uses = model_uses (&w->now, w->fake->store.geo.size / THIN_BLOCK);
  struct thin_txn *t;
  int r = thin_txn_begin (w->m, &t);

  model_copy (&w->next, &w->now);
  if (r < 0) {
    free (uses);
    return r;
  }
  for (; n > 0 && r == 0; n--)
    r = random_op (w, t, uses);
  free (uses);
  if (r < 0) {
    thin_txn_abort (t);
    return r;
  }
  r = thin_txn_commit (t, NULL, NULL, NULL);
  if (r == 0)
    model_copy (&w->now, &w->next);
  return r;
}

int
world_transaction (struct world *w, unsigned n)
{
  int r;

  n *= rng_chance (&w->rng, 20) ? 5 : 1;
  r = world_ranges (w, (unsigned) rng_below (&w->rng, n + 1));
  return r == -ENOSPC ? 0 : r;
}

static int
create_snapshot (struct world *w, int i)
{
  snprintf (w->next.names[i], sizeof w->next.names[i], "s%d", i);
  memcpy (w->next.snapshots[i], w->next.disk, w->blocks * sizeof *w->next.disk);
  return thin_snapshot_create (w->m, w->next.names[i], 1);
}

static int
change_snapshot (struct world *w, int i, bool revert)
{
  if (revert) {
    memcpy (w->next.disk, w->next.snapshots[i],
            w->blocks * sizeof *w->next.disk);
    return thin_snapshot_revert (w->m, w->next.names[i]);
  }
  w->next.names[i][0] = '\0';
  return thin_snapshot_delete (w->m, w->now.names[i]);
}

int
world_snapshot (struct world *w)
{
  int i = rng_below (&w->rng, WORLD_SNAPSHOTS), r;

  model_copy (&w->next, &w->now);
  if (w->next.names[i][0] == '\0')
    r = create_snapshot (w, i);
  else
    r = change_snapshot (w, i, rng_chance (&w->rng, 50));
  if (r == 0)
    model_copy (&w->now, &w->next);
  return r == -ENOSPC ? 0 : r;
}

void
world_take_next (struct world *w)
{
  model_copy (&w->now, &w->next);
}

void
world_settle (struct world *w)
{
  struct thin_txn *t;

  assert_int_equal (thin_txn_begin (w->m, &t), 0);
  assert_int_equal (thin_txn_commit (t, NULL, NULL, NULL), 0);
}

/* --- verifying */

static bool
differs (struct world *w, const char *what, uint64_t block)
{
  if (!w->quiet)
    fprintf (stderr, "the %s of block %" PRIu64 " is wrong\n", what, block);
  return false;
}

static bool
extents_are (struct world *w, const struct thin_root *root,
             const struct world_block *map, const uint8_t *uses)
{
  struct thin_extent e;
  uint64_t b, i;

  for (b = 0; b < w->blocks; b += e.length) {
    if (thin_meta_lookup (w->m, root, b, w->blocks - b, false, &e) < 0)
      return false;
    assert_true (e.logical == b && e.length > 0 && e.length <= w->blocks - b);
    for (i = 0; i < e.length; i++) {
      const struct world_block *x = &map[b + i];

      if (e.type != x->type)
        return differs (w, "type", b + i);
      if (e.type == IOMAP_HOLE)
        continue;
      if (e.physical + i != x->physical)
        return differs (w, "place", b + i);
      if (!root && e.shared != ((uses[x->physical] & ~1u) != 0))
        return differs (w, "sharing", b + i);
    }
  }
  return true;
}

/* What is found free is not used, and all the rest is; but for metadata. */
static bool
free_is (struct world *w, const uint8_t *uses)
{
  struct thin_range ranges[7];
  struct thin_super super;
  uint64_t next = 0, sum = 0, used = 0, i;
  int j, n;

  thin_meta_super (w->m, &super);
  while (next != UINT64_MAX) {
    n = thin_meta_find_free (w->m, next, 1, ranges, 7, &next);
    if (n < 0)
      return false;
    for (j = 0; j < n; j++) {
      sum += ranges[j].length;
      for (i = 0; i < ranges[j].length; i++)
        if (uses[ranges[j].start + i])
          return differs (w, "freedom", ranges[j].start + i);
    }
  }
  for (i = 0; i < super.store_blocks; i++)
    used += uses[i] != 0;
  return sum <= super.free_blocks && super.free_blocks + used +
                                         super.metadata_blocks + 3 +
                                         super.log_blocks ==
                                       super.store_blocks;
}

static bool
snapshots_are (struct world *w, const struct world_model *model,
               const uint8_t *uses)
{
  struct thin_snapshot s;
  int i, r;

  for (i = 0; i < WORLD_SNAPSHOTS; i++) {
    char name[16];

    snprintf (name, sizeof name, "s%d", i);
    r = thin_snapshot_find (w->m, name, &s);
    if (r != (model->names[i][0] ? 0 : -ENOENT))
      return false;
    if (r == 0 && !extents_are (w, &s.root, model->snapshots[i], uses))
      return false;
  }
  return true;
}

bool
world_is (struct world *w, const struct world_model *model)
{
  uint8_t *uses = model_uses (model, w->fake->store.geo.size / THIN_BLOCK);
  bool ok = extents_are (w, NULL, model->disk, uses) &&
            snapshots_are (w, model, uses) && free_is (w, uses);

  free (uses);
  return ok;
}

static void
problem (void *opaque, const char *message)
{
  (void) opaque;
  fprintf (stderr, "check: %s\n", message);
}

void
world_check (struct world *w)
{
  struct thin_check check = { .problem = problem };

  assert_int_equal (thin_check (w->m, &check), 0);
  assert_int_equal (check.problems, 0);
}

void
world_verify (struct world *w)
{
  world_check (w);
  assert_true (world_is (w, &w->now));
}
