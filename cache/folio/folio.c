/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Folios: transitions of their sectors' state, data copies.
 */

#include <assert.h>
#include <string.h>

#include "fs/num.h"
#include "cache/base/sanitizer.h"
#include "cache/folio/folio.h"
#include "cache/index/index.h"

static _Atomic uint32_t *
page_state (const struct arena *arena, const struct folio *folio, unsigned page)
{
  return arena_state (arena, folio) + page;
}

/* Move those of mask's bits that are set at shift `from' to shift `to'. */
static uint32_t
move_bits (uint32_t state, uint32_t mask, unsigned from, unsigned to)
{
  uint32_t bits = (state >> from) & mask;

  return (state & ~(bits << from)) | (bits << to);
}

/* The state of a page after the transition of the sectors in mask. */
static uint32_t
next_state (uint32_t state, uint32_t mask, enum folio_transition transition)
{
  const unsigned D = STATE_DIRTY_SHIFT;
  const unsigned W = STATE_WRITEBACK_SHIFT;
  const unsigned N = STATE_UNSTABLE_SHIFT;

  switch (transition) {
  case FOLIO_FILLED: return state | mask;
  case FOLIO_WRITTEN: return state | mask | mask << D;
  case FOLIO_WB_BEGIN:
    /* Of one that is dirty and unstable, the older version is of no interest any
     * more.
     */
    return move_bits (move_bits (state, mask, D, W), mask, N, W);
  case FOLIO_WB_DONE: return move_bits (state, mask, W, N);
  case FOLIO_WB_FAILED: return move_bits (state, mask, W, D);
  case FOLIO_WB_DURABLE: return state & ~(mask << W);
  case FOLIO_FLUSHED: return state & ~(mask << N);
  case FOLIO_LOST: return move_bits (state, mask, N, D);
  case FOLIO_DROPPED:
    assert (!(state & mask << W));
    return state & ~(mask | mask << D | mask << N);
  case FOLIO_OVERTAKEN:
    return state & ~(mask & ~(state >> D)) & ~(mask << W | mask << N);
  case FOLIO_ZEROED: return state & ~(mask | mask << D | mask << W | mask << N);
  }
  return state;
}

/* What is true of any of some pages, and of how many. */
struct summary {
  uint32_t any; /* their states, or'ed */
  uint32_t dirty, writeback, unstable, unsaved;
};

static inline bool
has (uint32_t state, unsigned shift)
{
  return (state >> shift & 0xff) != 0;
}

static inline void
summarise (struct summary *s, uint32_t state)
{
  s->any |= state;
  s->dirty += has (state, STATE_DIRTY_SHIFT);
  s->writeback += has (state, STATE_WRITEBACK_SHIFT);
  s->unstable += has (state, STATE_UNSTABLE_SHIFT);
  s->unsaved += (state & STATE_UNSAVED) != 0;
}

static void
count (_Atomic uint32_t *counter, uint32_t before, uint32_t after)
{
  /* All writers hold the index lock.  Sequentially consistent, because who
   * changes a counter may then ask whether someone waits for it to change.
   */
  uint32_t value = atomic_load_explicit (counter, memory_order_relaxed);

  if (before != after)
    atomic_store (counter, value + after - before);
}

/* The states of all pages of the folio, or'ed. */
static uint32_t
any_state (const struct arena *arena, const struct folio *folio)
{
  unsigned page, nr_pages = 1u << folio_order (folio);
  uint32_t any = 0;

  for (page = 0; page < nr_pages; page++)
    any |= atomic_load_explicit (page_state (arena, folio, page),
                                 memory_order_relaxed);
  return any;
}

/* before and after: states of the pages that changed; whole: of all. */
static inline void
sync_tag (struct index *index, struct folio *folio, enum index_tag tag,
          unsigned shift, uint32_t before, uint32_t after, uint32_t whole)
{
  if (!has (before ^ after, shift))
    return;
  if (!has (before, shift))
    index_set_tag (index, folio, tag);
  else if (!has (whole, shift)) {
    index_clear_tag (index, folio, tag);
    if (tag == TAG_DIRTY)
      index_clear_tag (index, folio, TAG_TOWRITE);
  }
}

/* Set tags and counters to match the folio's pages.  Returns whether the folio
 * has become clean.
 */
static bool
account (struct folios *folios, struct folio *folio,
         const struct summary *before, const struct summary *after)
{
  struct index *index = folios->index;
  uint32_t whole = after->any;

  count (&folios->nr_dirty, before->dirty, after->dirty);
  count (&folios->nr_writeback, before->writeback, after->writeback);
  count (&folios->nr_unstable, before->unstable, after->unstable);
  count (&folios->nr_unsaved, before->unsaved, after->unsaved);

  if (before->any & ~after->any & STATE_UNSAVED)
    whole = any_state (folios->arena, folio);
  /* What a page has become, a folio of one page has become. */
  if (after->dirty > before->dirty &&
      (folio_order (folio) == 0 || !index_has_tag (index, folio, TAG_DIRTY)))
    folio->dirtied = folio_clock (folios->env);
  sync_tag (index, folio, TAG_DIRTY, STATE_DIRTY_SHIFT, before->any, after->any,
            whole);
  sync_tag (index, folio, TAG_WRITEBACK, STATE_WRITEBACK_SHIFT, before->any,
            after->any, whole);
  sync_tag (index, folio, TAG_UNSTABLE, STATE_UNSTABLE_SHIFT, before->any,
            after->any, whole);
  return (before->any & STATE_UNSAVED) && !(whole & STATE_UNSAVED);
}

/* A sector that is dirty already and written again changes nothing. */
static bool
changes_nothing (const struct arena *arena, const struct folio *folio,
                 unsigned first, unsigned last,
                 enum folio_transition transition)
{
  unsigned page = first / SECTORS_PER_PAGE;
  uint32_t mask, want;

  if (transition != FOLIO_WRITTEN || (last - 1) / SECTORS_PER_PAGE != page)
    return false;
  mask = folio_mask (first, last);
  want = mask | mask << STATE_DIRTY_SHIFT;
  return (atomic_load_explicit (page_state (arena, folio, page),
                                memory_order_relaxed) &
          want) == want;
}

/* Debug builds: the table in folio.h holds for this folio.  Index lock held. */
static void
check (struct folios *folios, struct folio *folio)
{
#ifdef FOLIO_DEBUG
  struct arena *arena = folios->arena;
  struct index *index = folios->index;
  unsigned page, nr_pages = 1u << folio_order (folio);
  uint32_t any = any_state (arena, folio);

  for (page = 0; page < nr_pages; page++) {
    uint32_t state = atomic_load (page_state (arena, folio, page));
    uint32_t uptodate = state & 0xff;

    assert (!(state >> STATE_DIRTY_SHIFT & 0xff & ~uptodate));
    assert (!(state >> STATE_WRITEBACK_SHIFT & 0xff & ~uptodate));
    assert (!(state >> STATE_UNSTABLE_SHIFT & 0xff & ~uptodate));
    assert (
      !(state >> STATE_WRITEBACK_SHIFT & state >> STATE_UNSTABLE_SHIFT & 0xff));
  }
  assert (index_has_tag (index, folio, TAG_DIRTY) ==
          has (any, STATE_DIRTY_SHIFT));
  assert (index_has_tag (index, folio, TAG_WRITEBACK) ==
          has (any, STATE_WRITEBACK_SHIFT));
  assert (index_has_tag (index, folio, TAG_UNSTABLE) ==
          has (any, STATE_UNSTABLE_SHIFT));
  assert (!index_has_tag (index, folio, TAG_TOWRITE) ||
          index_has_tag (index, folio, TAG_DIRTY));
#else
  (void) folios;
  (void) folio;
#endif
}

/* A transition that may change something, with the index lock held.  Apart, to
 * keep the way of a sector that is written again short.
 */
static bool
change_locked (struct folios *folios, struct folio *folio, unsigned first,
               unsigned last, enum folio_transition transition)
{
  struct summary before = { 0 }, after = { 0 };
  unsigned page;
  bool clean;

  if (!folio_mapped (folio))
    return false;
  check (folios, folio);
  for (page = first / SECTORS_PER_PAGE; page * SECTORS_PER_PAGE < last;
       page++) {
    _Atomic uint32_t *word = page_state (folios->arena, folio, page);
    uint32_t state = atomic_load_explicit (word, memory_order_relaxed);
    uint32_t next =
      next_state (state, page_mask (page, first, last), transition);

    summarise (&before, state);
    summarise (&after, next);
    /* Release: who sees a sector uptodate sees its data. */
    if (next != state)
      atomic_store_explicit (word, next, memory_order_release);
  }
  clean = account (folios, folio, &before, &after);
  check (folios, folio);
  return clean;
}

static __attribute__ ((noinline)) bool
change_state (struct folios *folios, struct folio *folio, unsigned first,
              unsigned last, enum folio_transition transition)
{
  bool clean;

  index_lock (folios->index);
  clean = change_locked (folios, folio, first, last, transition);
  index_unlock (folios->index);
  return clean;
}

bool
folio_transition (struct folios *folios, struct folio *folio, unsigned first,
                  unsigned last, enum folio_transition transition)
{
  assert (first < last && last <= folio_sectors (folio));
  if (changes_nothing (folios->arena, folio, first, last, transition))
    return false;
  return change_state (folios, folio, first, last, transition);
}

void
folio_filled (struct folios *folios, struct folio *folio, unsigned first,
              unsigned last, const struct watch *watch)
{
  index_lock (folios->index);
  if (!watch_zeroed (watch, sector_pos (folio, first),
                     sector_pos (folio, last)))
    change_locked (folios, folio, first, last, FOLIO_FILLED);
  index_unlock (folios->index);
}

bool
folio_written (struct folios *folios, struct folio *folio, unsigned first,
               unsigned last, unsigned head, unsigned tail)
{
  const struct arena *arena = folios->arena;
  bool ok;

  if (head == 0 && tail == 0) {
    folio_transition (folios, folio, first, last, FOLIO_WRITTEN);
    return true;
  }
  index_lock (folios->index);
  ok = (head == 0 || folio_uptodate (arena, folio, first, first + head)) &&
       (tail == 0 || folio_uptodate (arena, folio, last - tail, last));
  if (ok)
    change_locked (folios, folio, first, last, FOLIO_WRITTEN);
  index_unlock (folios->index);
  return ok;
}

bool
folio_all_set (const struct arena *arena, const struct folio *folio,
               unsigned first, unsigned last, unsigned shift)
{
  unsigned page = first / SECTORS_PER_PAGE;
  unsigned end = (last + SECTORS_PER_PAGE - 1) / SECTORS_PER_PAGE;

  for (; page < end; page++) {
    uint32_t mask = page_mask (page, first, last) << shift;

    if ((atomic_load_explicit (page_state (arena, folio, page),
                               memory_order_acquire) &
         mask) != mask)
      return false;
  }
  return true;
}

/* All masks are of one load, so that a sector on its way from one to another is not
 * missed.
 */
unsigned
folio_find_sector (const struct arena *arena, const struct folio *folio,
                   unsigned first, unsigned last, uint32_t masks, bool value)
{
  while (first < last) {
    unsigned page = first / SECTORS_PER_PAGE;
    unsigned bit = first % SECTORS_PER_PAGE;
    uint32_t state = atomic_load_explicit (page_state (arena, folio, page),
                                           memory_order_acquire);
    uint32_t bits = 0, s;

    for (s = masks; s; s &= s - 1)
      bits |= state >> __builtin_ctz (s);
    bits = (value ? bits : ~bits) & 0xff & ~((1u << bit) - 1);
    if (bits) {
      first = page * SECTORS_PER_PAGE + __builtin_ctz (bits);
      return first < last ? first : last;
    }
    first = (page + 1) * SECTORS_PER_PAGE;
  }
  return last;
}

bool
folio_in_doubt (const struct arena *arena, const struct folio *folio,
                uint64_t start, uint64_t end)
{
  unsigned first, last;

  folio_clip (folio, start, end, &first, &last);
  return folio_find_sector (arena, folio, first, last, IN_UNSAVED, true) < last;
}

unsigned
folio_pages_not_dirty (const struct arena *arena, const struct folio *folio,
                       unsigned first, unsigned last)
{
  unsigned page, n = 0;

  for (page = first / SECTORS_PER_PAGE; page * SECTORS_PER_PAGE < last; page++)
    n += !has (atomic_load_explicit (page_state (arena, folio, page),
                                     memory_order_relaxed),
               STATE_DIRTY_SHIFT);
  return n;
}

bool
folio_unsaved (const struct arena *arena, const struct folio *folio)
{
  return (any_state (arena, folio) & STATE_UNSAVED) != 0;
}

#ifdef WITH_TSAN

/* The same, by words where they are aligned in the folio, in a way that tells the
 * sanitizer that the race is meant, so that it can look for others.
 */
static size_t
at_once (const void *folio_data, size_t n)
{
  return n >= 8 && (uintptr_t) folio_data % 8 == 0 ? 8 : 1;
}

void
folio_copy_in (void *folio_data, const void *src, size_t n)
{
  uint8_t *d = folio_data;
  const uint8_t *s = src;
  uint64_t word;
  size_t k;

  for (; n > 0; d += k, s += k, n -= k) {
    k = at_once (d, n);
    if (k == 8) {
      memcpy (&word, s, 8);
      __atomic_store_n ((uint64_t *) d, word, __ATOMIC_RELAXED);
    }
    else
      __atomic_store_n (d, *s, __ATOMIC_RELAXED);
  }
}

void
folio_zero (void *folio_data, size_t n)
{
  static const uint64_t zero[512];
  uint8_t *d = folio_data;
  size_t k;

  for (; n > 0; d += k, n -= k) {
    k = min_u64 (n, sizeof zero);
    folio_copy_in (d, zero, k);
  }
}

void
folio_copy_out (void *dst, const void *folio_data, size_t n)
{
  uint8_t *d = dst;
  const uint8_t *s = folio_data;
  uint64_t word;
  size_t k;

  for (; n > 0; d += k, s += k, n -= k) {
    k = at_once (s, n);
    if (k == 8) {
      word = __atomic_load_n ((const uint64_t *) s, __ATOMIC_RELAXED);
      memcpy (d, &word, 8);
    }
    else
      *d = __atomic_load_n (s, __ATOMIC_RELAXED);
  }
}

#else

void
folio_copy_in (void *folio_data, const void *src, size_t n)
{
  memcpy (folio_data, src, n);
}

void
folio_zero (void *folio_data, size_t n)
{
  memset (folio_data, 0, n);
}

void
folio_copy_out (void *dst, const void *folio_data, size_t n)
{
  memcpy (dst, folio_data, n);
}

#endif
