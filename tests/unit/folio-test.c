/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Folio states: random transitions against a model that keeps four bits a
 * sector, tags and counters that always match, what may be evicted, and the
 * folio lock.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cache-fixture.h"
#include "seed.h"

/* --- the model: one byte a sector --- */

#define UPTODATE 1u
#define DIRTY 2u
#define WRITEBACK 4u
#define UNSTABLE 8u
#define UNSAVED (DIRTY | WRITEBACK | UNSTABLE)

#define MAX_SECTORS (SECTORS_PER_PAGE << MAX_ORDER)

struct model {
  struct fixture *f;
  struct folio *folio;
  unsigned sectors;
  uint8_t state[MAX_SECTORS];
};

static uint8_t
next_of (uint8_t s, enum folio_transition transition)
{
  switch (transition) {
  case FOLIO_FILLED: return s | UPTODATE;
  case FOLIO_WRITTEN: return s | UPTODATE | DIRTY;
  case FOLIO_WB_BEGIN:
    return s & (DIRTY | UNSTABLE)
             ? (uint8_t) ((s & ~(DIRTY | UNSTABLE)) | WRITEBACK)
             : s;
  case FOLIO_WB_DONE:
    return s & WRITEBACK ? (uint8_t) ((s & ~WRITEBACK) | UNSTABLE) : s;
  case FOLIO_WB_FAILED:
    return s & WRITEBACK ? (uint8_t) ((s & ~WRITEBACK) | DIRTY) : s;
  case FOLIO_WB_DURABLE: return s & (uint8_t) ~WRITEBACK;
  case FOLIO_FLUSHED: return s & (uint8_t) ~UNSTABLE;
  case FOLIO_LOST:
    return s & UNSTABLE ? (uint8_t) ((s & ~UNSTABLE) | DIRTY) : s;
  case FOLIO_DROPPED:
  case FOLIO_ZEROED: return 0;
  case FOLIO_OVERTAKEN: return s & DIRTY ? UPTODATE | DIRTY : 0;
  }
  abort ();
}

static bool
model_unsaved (const struct model *m)
{
  unsigned i;

  for (i = 0; i < m->sectors; i++)
    if (m->state[i] & UNSAVED)
      return true;
  return false;
}

static bool
model_has (const struct model *m, unsigned first, unsigned last, uint8_t bit)
{
  for (; first < last; first++)
    if (m->state[first] & bit)
      return true;
  return false;
}

static void
compare_masks (const struct model *m)
{
  _Atomic uint32_t *state = arena_state (m->f->mapping->folios.arena, m->folio);
  unsigned i;

  for (i = 0; i < m->sectors; i++) {
    uint32_t word = atomic_load (&state[i / SECTORS_PER_PAGE]);
    unsigned bit = i % SECTORS_PER_PAGE;
    unsigned got = (word >> bit & 1) * UPTODATE |
                   (word >> (8 + bit) & 1) * DIRTY |
                   (word >> (16 + bit) & 1) * WRITEBACK |
                   (word >> (24 + bit) & 1) * UNSTABLE;

    assert_int_equal (got, m->state[i]);
  }
}

/* --- making folios --- */

static struct fixture *
start_large (void)
{
  return fixture_start (&(struct fixture_config) { .cache_size = 256 * MiB });
}

/* A folio of this order in the index, with a reference, unlocked. */
static struct folio *
make_folio (struct fixture *f, uint64_t page, unsigned order)
{
  struct folio *folio;
  int err;

  folio = mapping_grab_folio (f->mapping, page, UINT64_MAX / PAGE, order, false,
                              true, &err);
  assert_non_null (folio);
  assert_int_equal (folio_order (folio), order);
  assert_true (folio_locked (folio));
  folio_unlock (&f->mapping->folios, folio);
  return folio;
}

/* --- transitions --- */

/* What the rules allow for this range. */
static bool
allowed (const struct model *m, unsigned first, unsigned last,
         enum folio_transition transition)
{
  return transition != FOLIO_DROPPED || !model_has (m, first, last, WRITEBACK);
}

static void
random_transition (struct model *m, struct rng *rng)
{
  enum folio_transition transition =
    (enum folio_transition) rng_below (rng, FOLIO_OVERTAKEN + 1);
  unsigned first = (unsigned) rng_below (rng, m->sectors);
  unsigned last = first + (unsigned) rng_log (rng, m->sectors - first);
  bool was_unsaved = model_unsaved (m), clean;
  unsigned i;

  if (rng_chance (rng, 20)) {
    first = 0;
    last = m->sectors;
  }
  if (!allowed (m, first, last, transition))
    return;
  clean = folio_transition (&m->f->mapping->folios, m->folio, first, last,
                            transition);
  for (i = first; i < last; i++)
    m->state[i] = next_of (m->state[i], transition);
  assert_int_equal (clean, was_unsaved && !model_unsaved (m));
}

static void
random_sequence (struct fixture *f, struct rng *rng, unsigned order)
{
  static struct model m;
  unsigned i;

  memset (&m, 0, sizeof m);
  m.f = f;
  m.folio = make_folio (f, (uint64_t) order << MAX_ORDER, order);
  m.sectors = folio_sectors (m.folio);
  for (i = 0; i < 600; i++) {
    random_transition (&m, rng);
    compare_masks (&m);
    check_state (f);
  }
  /* Nothing may be in write-back when the mapping ends. */
  folio_transition (&f->mapping->folios, m.folio, 0, m.sectors,
                    FOLIO_WB_FAILED);
  folio_put (f->mapping->folios.arena, m.folio);
}

FIXTURE_TEST (random_transitions, start_large ())
{
  struct rng rng = test_rng ("random_transitions");
  unsigned order;

  for (order = 0; order <= MAX_ORDER; order++)
    random_sequence (f, &rng, order);
}

/* TOWRITE goes with the last dirty sector. */
FIXTURE_TEST (towrite, start_large ())
{
  struct folio *folio = make_folio (f, 0, 3);
  struct index *index = f->mapping->folios.index;
  bool has;

  folio_transition (&f->mapping->folios, folio, 0, 20, FOLIO_WRITTEN);
  index_lock (index);
  index_set_tag (index, folio, TAG_TOWRITE);
  index_unlock (index);
  folio_transition (&f->mapping->folios, folio, 0, 10, FOLIO_WB_BEGIN);
  index_lock (index);
  has = index_has_tag (index, folio, TAG_TOWRITE);
  index_unlock (index);
  assert_true (has);
  folio_transition (&f->mapping->folios, folio, 10, 20, FOLIO_WB_BEGIN);
  check_state (f);
  index_lock (index);
  has = index_has_tag (index, folio, TAG_TOWRITE);
  index_unlock (index);
  assert_false (has);
  folio_transition (&f->mapping->folios, folio, 0, 20, FOLIO_WB_FAILED);
  folio_put (f->mapping->folios.arena, folio);
}

/* --- looking --- */

FIXTURE_TEST (find_sector, start_large ())
{
  struct rng rng = test_rng ("find_sector");
  struct folio *folio = make_folio (f, 0, 4);
  struct arena *arena = f->mapping->folios.arena;
  unsigned sectors = folio_sectors (folio), i, j, first, last;

  for (i = 0; i < 2000; i++) {
    /* In the place of the first sector, then of the one that is looked at. */
    uint32_t masks = (uint32_t) rng_next (&rng) & 0x01010101;
    bool value = rng_chance (&rng, 50), all = true;

    first = (unsigned) rng_below (&rng, sectors);
    last = first + 1 + (unsigned) rng_below (&rng, sectors - first);
    for (j = 0; j < 1u << 4; j++)
      atomic_store (&arena_state (arena, folio)[j],
                    rng_chance (&rng, 30)   ? 0
                    : rng_chance (&rng, 50) ? UINT32_MAX
                                            : (uint32_t) rng_next (&rng));
    for (j = first; j < last; j++)
      if (((atomic_load (&arena_state (arena, folio)[j / 8]) &
            masks << j % 8) != 0) == value)
        break;
    assert_int_equal (
      folio_find_sector (arena, folio, first, last, masks, value), j);
    for (j = first; j < last; j++)
      all =
        all && (atomic_load (&arena_state (arena, folio)[j / 8]) >> j % 8 & 1);
    assert_int_equal (folio_uptodate (arena, folio, first, last), all);
  }
  for (j = 0; j < 1u << 4; j++)
    atomic_store (&arena_state (arena, folio)[j], 0);
  folio_put (arena, folio);
}

/* What is asked of sectors [first, last) depends on them and on no other, in one
 * page or in several.
 */
static void
ask_all (struct arena *arena, struct folio *folio, unsigned first,
         unsigned last)
{
  uint32_t range =
    (uint32_t) ((UINT64_C (1) << last) - (UINT64_C (1) << first));
  uint32_t kinds[] = { range, ~range, UINT32_MAX, 0 };
  unsigned kind, missing, page;

  for (kind = 0; kind < 4; kind++)
    for (missing = first; missing <= last; missing++) {
      /* Any of the range may be missing; at last, nothing. */
      uint32_t hole = missing < last ? (uint32_t) (UINT64_C (1) << missing) : 0;
      uint32_t uptodate = kinds[kind] & ~hole, dirty = kinds[3 - kind] & ~hole;

      for (page = 0; page < 4; page++)
        atomic_store (&arena_state (arena, folio)[page],
                      (uptodate >> 8 * page & 0xff) | (dirty >> 8 * page & 0xff)
                                                        << STATE_DIRTY_SHIFT);
      assert_int_equal (folio_uptodate (arena, folio, first, last),
                        (uptodate & range) == range);
      assert_int_equal (folio_dirty (arena, folio, first, last),
                        (dirty & range) == range);
    }
}

FIXTURE_TEST (all_set, start_large ())
{
  struct folio *folio = make_folio (f, 0, 2);
  struct arena *arena = f->mapping->folios.arena;
  unsigned first, last, page;

  for (first = 0; first < folio_sectors (folio); first++)
    for (last = first + 1; last <= folio_sectors (folio); last++)
      ask_all (arena, folio, first, last);
  for (page = 0; page < 4; page++)
    atomic_store (&arena_state (arena, folio)[page], 0);
  folio_put (arena, folio);
}

/* --- eviction --- */

static bool
evicted (struct fixture *f, uint64_t page)
{
  struct folio *folio;

  reclaim_pages (f->cache->reclaim, 1u << MAX_ORDER);
  folio = index_get (f->mapping->folios.index, page);
  if (folio == NULL)
    return true;
  folio_put (f->mapping->folios.arena, folio);
  return false;
}

/* Eviction refuses what is dirty, in write-back or unstable; asking for clean
 * memory, it brings the page from one to the next as far as it is let.
 */
FIXTURE_TEST (eviction_refuses, start_large ())
{
  struct range range = { .start = 2 * MiB, .end = 4 * MiB };

  expect_zero (f, 2 * MiB, 100);
  assert_true (page_masks (f, 512) != 0);
  assert_true (evicted (f, 512));

  ranges_add_wait (&f->mapping->folios.ranges, &range);
  put (f, 2 * MiB + 512, 512, 1);
  assert_false (evicted (f, 512));
  assert_int_equal (page_masks (f, 512) & 0xffff00ff, 0x2);
  assert_int_equal (page_masks (f, 512) & 0xff00, 0x200);
  fake_store_hold (f->fake, STORE_WRITE);
  fake_store_hold (f->fake, STORE_FLUSH);
  folios_end_range (&f->mapping->folios, &range);
  fake_store_wait_held (f->fake, STORE_WRITE, 1);
  assert_int_equal (page_masks (f, 512), 0x20002);
  assert_false (evicted (f, 512));
  fake_store_unhold (f->fake, STORE_WRITE);
  fake_store_wait_held (f->fake, STORE_FLUSH, 1);
  assert_int_equal (page_masks (f, 512), 0x2000002);
  assert_false (evicted (f, 512));
  fake_store_unhold (f->fake, STORE_FLUSH);
  UNTIL (page_masks (f, 512) == 0x2);
  UNTIL (evicted (f, 512));
  expect (f, 2 * MiB + 512, 512, 1);
}

/* A reference, as of a reader or of who has it locked, keeps it. */
FIXTURE_TEST (eviction_refuses_used, start_large ())
{
  struct folio *folio = make_folio (f, 0, 0);

  assert_false (evicted (f, 0));
  folio_put (f->mapping->folios.arena, folio);
  assert_true (evicted (f, 0));
}

/* --- the lock --- */

struct lock_job {
  struct fixture *f;
  struct folio *folio;
  unsigned long *counter; /* protected by the folio's lock */
};

static void *
lock_often (void *arg)
{
  struct lock_job *job = arg;
  unsigned i;

  for (i = 0; i < 20000; i++) {
    if (i % 3 == 0)
      UNTIL (folio_trylock (job->folio));
    else
      folio_lock (job->f->mapping->env, job->folio);
    ++*job->counter;
    folio_unlock (&job->f->mapping->folios, job->folio);
  }
  return NULL;
}

FIXTURE_TEST (lock, start_large ())
{
  struct folio *folio = make_folio (f, 0, 0);
  unsigned long counter = 0;
  struct lock_job job = { f, folio, &counter };
  pthread_t threads[4];
  unsigned i;

  for (i = 0; i < 4; i++)
    assert_int_equal (pthread_create (&threads[i], NULL, lock_often, &job), 0);
  for (i = 0; i < 4; i++)
    pthread_join (threads[i], NULL);
  assert_int_equal (counter, 80000);
  assert_false (folio_locked (folio));
  folio_put (f->mapping->folios.arena, folio);
}

RUN_TESTS ()
