/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The fixture's pages, and whether all that is said of them agrees: see
 * cache-fixture.h.
 */

#include "cache-fixture.h"
#include "invariants.h"

uint32_t
page_masks (struct fixture *f, uint64_t page)
{
  struct folio *folio = index_get (f->mapping->folios.index, page);
  uint32_t masks;

  if (folio == NULL)
    return 0;
  masks = atomic_load (arena_state (f->mapping->folios.arena, folio) +
                       (page - folio_index (folio)));
  folio_put (f->mapping->folios.arena, folio);
  return masks;
}

struct counts {
  uint32_t dirty, writeback, unstable, unsaved;
};

/* Count the folio's pages, and compare its masks with its tags. */
static void
check_folio (struct fixture *f, struct folio *folio, struct counts *c)
{
  static const unsigned shifts[] = { [TAG_DIRTY] = STATE_DIRTY_SHIFT,
                                     [TAG_WRITEBACK] = STATE_WRITEBACK_SHIFT,
                                     [TAG_UNSTABLE] = STATE_UNSTABLE_SHIFT };
  _Atomic uint32_t *state = arena_state (f->mapping->folios.arena, folio);
  struct index *index = f->mapping->folios.index;
  uint32_t any = 0;
  unsigned i;

  for (i = 0; i < folio_pages (folio); i++) {
    uint32_t word = atomic_load (&state[i]);

    any |= word;
    c->dirty += (word >> STATE_DIRTY_SHIFT & 0xff) != 0;
    c->writeback += (word >> STATE_WRITEBACK_SHIFT & 0xff) != 0;
    c->unstable += (word >> STATE_UNSTABLE_SHIFT & 0xff) != 0;
    c->unsaved += (word & STATE_UNSAVED) != 0;
    assert_int_equal ((word >> 8 | word >> 16 | word >> 24) & ~word & 0xff, 0);
  }
  for (i = 0; i < NR_TAGS; i++)
    if (i != TAG_TOWRITE)
      assert_int_equal (index_has_tag (index, folio, (enum index_tag) i),
                        (any >> shifts[i] & 0xff) != 0);
  if (index_has_tag (index, folio, TAG_TOWRITE))
    assert_true (index_has_tag (index, folio, TAG_DIRTY));
  assert_int_equal (folio_unsaved (f->mapping->folios.arena, folio),
                    (any & STATE_UNSAVED) != 0);
}

void
check_state (struct fixture *f)
{
  struct mapping *mapping = f->mapping;
  struct counts c = { 0 };
  struct folio *folio;
  uint64_t page = 0;

  while ((folio = index_get_next (mapping->folios.index, page, UINT64_MAX)) !=
         NULL) {
    index_lock (mapping->folios.index);
    check_folio (f, folio, &c);
    index_unlock (mapping->folios.index);
    page = folio_index (folio) + folio_pages (folio);
    folio_put (mapping->folios.arena, folio);
  }
  assert_int_equal (atomic_load (&mapping->folios.nr_dirty), c.dirty);
  assert_int_equal (atomic_load (&mapping->folios.nr_writeback), c.writeback);
  assert_int_equal (atomic_load (&mapping->folios.nr_unstable), c.unstable);
  assert_int_equal (atomic_load (&mapping->folios.nr_unsaved), c.unsaved);
  index_lock (mapping->folios.index);
  index_check (mapping->folios.index);
  index_unlock (mapping->folios.index);
}

void
check_flushed (struct fixture *f)
{
  UNTIL (atomic_load (&f->mapping->folios.nr_unstable) == 0);
  check_state (f);
}
