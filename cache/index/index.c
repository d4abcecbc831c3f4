/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The index's readers, who take no lock.
 *
 * Why what they see is right.  Let page p be held by folio F throughout a
 * lookup.  Changes beside it either leave the way to F alone, put a new node,
 * complete, in the place of an entry, or put the last entry of a node in the
 * place of that node.  A node taken out keeps that entry and is not used again
 * before the reader has left, so every way that ever led to F while the reader
 * was under way goes on leading there, and F is found.  Therefore a slot that is
 * empty, or leads to a folio elsewhere, proves that for a moment no one held p.
 *
 * Or F is replaced by another folio that holds p too.  Then it is F's record that
 * stays as it is for a grace period, without references to be had.
 *
 * The folio found is another matter: without a reference it may have been
 * removed, freed and given to another place.  So a reference is taken first,
 * and then its mapping and place are read: with the reference held it can
 * still be removed, but not used again.  If it is not what was looked for, it
 * was removed after we found the slot, and we look again; who has seen the
 * removal (acquire) sees the slot that was emptied before, so each new try
 * takes another change.
 *
 * The one wait is for a folio whose references someone holds at 0 under the
 * index lock while deciding about its removal.  After a few tries the lookup is
 * done under that lock itself.
 */

#include <errno.h>
#include <stdlib.h>

#include "cache/index/index-node.h"

#define TRIES_WITHOUT_LOCK 16
#define ANY_TAG NR_TAGS /* with a tag or without */

/* --- one page --- */

static inline bool
folio_covers (const struct folio *folio, uint64_t page)
{
  return (page ^ folio_index (folio)) >> folio_order (folio) == 0;
}

/* Take a reference; false if the folio is not in the index with this page. */
static inline bool
get_if_covers (struct index *index, struct folio *folio, uint64_t page)
{
  if (!folio_try_get (folio))
    return false;
  /* Acquire, with index_insert: the folio's place was set before. */
  if (atomic_load_explicit (&folio->mapping, memory_order_acquire) ==
        index->mapping &&
      folio_covers (folio, page))
    return true;
  folio_put (index->arena, folio);
  return false;
}

/* One try; false if it came to nothing because of a change. */
static inline bool
try_page (struct index *index, uint64_t page, struct folio **folio)
{
  struct index_node *const nodes = index->nodes;
  const struct arena *arena = index->arena;
  slot_t slot = node_read (&nodes[NODE_ROOT], node_offset (ROOT_SHIFT, page));

  *folio = NULL;
  while (slot_is_node (slot))
    slot = node_read (&nodes[slot & NODE_NUMBER_MAX],
                      node_offset (slot_shift (slot), page));
  if (slot == 0)
    return true;
  /* Nearly always it is the right folio: what a hit looks at next comes into the
   * processor's caches along with the record, the end of which may be in another
   * line.
   */
  __builtin_prefetch (&slot_folio (index, slot)->lock);
  __builtin_prefetch (&arena->state[slot - 1]);
  __builtin_prefetch (arena->data + ((size_t) (slot - 1) << PAGE_SHIFT));
  /* The way is compressed, so it may have led to a folio elsewhere. */
  if (!folio_covers (slot_folio (index, slot), page))
    return true;
  if (!get_if_covers (index, slot_folio (index, slot), page))
    return false;
  *folio = slot_folio (index, slot);
  return true;
}

static inline bool
try_page_rcu (struct index *index, uint64_t page, struct folio **folio)
{
  bool done;

  rcu_enter ();
  done = try_page (index, page, folio);
  rcu_exit ();
  return done;
}

/* The first try came to nothing.  Apart, to keep index_get small. */
static __attribute__ ((noinline)) struct folio *
get_again (struct index *index, uint64_t page)
{
  struct folio *folio;
  bool done;

  for (int try = 1; try < TRIES_WITHOUT_LOCK; try++)
    if (try_page_rcu (index, page, &folio))
      return folio;

  index_lock (index);
  done = try_page (index, page, &folio);
  index_unlock (index);
  assert (done);
  return folio;
}

struct folio *
index_get (struct index *index, uint64_t page)
{
  struct folio *folio;

  if (try_page_rcu (index, page, &folio))
    return folio;
  return get_again (index, page);
}

/* --- the first in a range --- */

/* A search: the first folio with tag (or ANY_TAG) in [page, last]; page moves
 * on over what is known to hold none.
 */
struct search {
  uint64_t page, last;
  unsigned tag;
};

/* The first slot of the entry that fills slot offset too. */
static unsigned
entry_offset (const struct index_node *node, unsigned offset)
{
  uint64_t bits = bits_read (&node->present) & (bit (offset) * 2 - 1);

  return bits == 0 ? offset : 63u - __builtin_clzll (bits);
}

static bool
entry_tagged (const struct index_node *node, unsigned offset, unsigned tag)
{
  return tag == ANY_TAG ||
         (bits_read (&node->tags[tag]) & bit (entry_offset (node, offset)));
}

/* The first slot from offset on whose entry counts; NR_SLOTS if none. */
static unsigned
next_offset (const struct index_node *node, unsigned offset, unsigned tag)
{
  uint64_t bits =
    bits_read (tag == ANY_TAG ? &node->present : &node->tags[tag]);

  /* offset may be in the middle of an entry. */
  if (node_read (node, offset) != 0 && entry_tagged (node, offset, tag))
    return offset;
  bits &= bits_from (offset);
  return bits == 0 ? NR_SLOTS : (unsigned) __builtin_ctzll (bits);
}

/* Go down to the first folio that counts, moving s->page to the first page
 * that it may hold.  Returns its slot, and in *end the last page of that slot;
 * or 0, having moved s->page on, perhaps past s->last.
 */
static slot_t
search_down (const struct index *index, struct search *s, uint64_t *end)
{
  const struct index_node *node = node_root (index);

  *end = INDEX_PAGES - 1;
  for (;;) {
    unsigned offset = NR_SLOTS;
    uint64_t start;
    slot_t slot;

    if (s->page < node->base)
      s->page = node->base;
    if (s->page <= node_last (node))
      offset = next_offset (node, node_offset (node->shift, s->page), s->tag);
    if (offset == NR_SLOTS) {
      /* The node is all there is in the slot that led to it. */
      s->page = *end + 1;
      return 0;
    }
    start = node->base + ((uint64_t) offset << node->shift);
    *end = start + (UINT64_C (1) << node->shift) - 1;
    if (s->page < start)
      s->page = start;
    slot = node_read (node, offset);
    if (!slot_is_node (slot)) {
      if (slot == 0)
        s->page = *end + 1;
      return slot;
    }
    node = slot_node (index, slot);
  }
}

/* Try the folio of a slot that ends with page `end'.  Returns false if it came
 * to nothing because of a change.  *ret is NULL if the folio is not in the
 * range, and s->page has moved on.
 */
static bool
search_try (struct index *index, struct search *s, struct folio *folio,
            uint64_t end, struct folio **ret)
{
  uint64_t first = folio_index (folio);
  uint64_t last = first + (UINT64_C (1) << folio_order (folio)) - 1;

  *ret = NULL;
  if (first > end)
    return false; /* not where its slot says: it is gone */
  if (last < s->page) {
    s->page = end + 1;
    return true;
  }
  if (first > s->last) {
    s->page = first;
    return true;
  }
  if (!get_if_covers (index, folio, first > s->page ? first : s->page))
    return false;
  *ret = folio;
  return true;
}

/* False if it came to nothing because of a change; goes on from s->page. */
static bool
try_search (struct index *index, struct search *s, struct folio **folio)
{
  *folio = NULL;
  while (*folio == NULL && s->page <= s->last) {
    uint64_t end;
    slot_t slot = search_down (index, s, &end);

    if (slot != 0 &&
        !search_try (index, s, slot_folio (index, slot), end, folio))
      return false;
  }
  return true;
}

static struct folio *
search (struct index *index, struct search s)
{
  struct folio *folio;
  bool done;

  if (s.last >= INDEX_PAGES)
    s.last = INDEX_PAGES - 1;
  for (int try = 0; try < TRIES_WITHOUT_LOCK; try++) {
    rcu_enter ();
    done = try_search (index, &s, &folio);
    rcu_exit ();
    if (done)
      return folio;
  }
  index_lock (index);
  done = try_search (index, &s, &folio);
  index_unlock (index);
  assert (done);
  return folio;
}

struct folio *
index_get_next (struct index *index, uint64_t page, uint64_t last)
{
  return search (index, (struct search) { page, last, ANY_TAG });
}

struct folio *
index_get_tagged (struct index *index, uint64_t page, uint64_t last,
                  enum index_tag tag)
{
  return search (index, (struct search) { page, last, tag });
}

/* --- the index --- */

int
index_create (struct arena *arena, uint16_t mapping, uint32_t max_nodes,
              struct index **ret)
{
  struct index *index;
  int err;

  assert (mapping != 0);
  index = aligned_alloc (_Alignof(struct index), sizeof *index);
  if (index == NULL)
    return -ENOMEM;
  *index = (struct index) {
    .folios = arena->folios,
    .arena = arena,
    .mapping = mapping,
    .max_nodes = max_nodes < NODE_NUMBER_MAX ? max_nodes : NODE_NUMBER_MAX,
  };
  err = node_pool_create (index);
  if (err < 0) {
    free (index);
    return err;
  }
  pthread_mutex_init (&index->lock, NULL);
  *ret = index;
  return 0;
}

void
index_destroy (struct index *index)
{
  node_pool_destroy (index);
  pthread_mutex_destroy (&index->lock);
  free (index);
}
