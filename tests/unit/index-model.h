/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What an index should hold: a sorted array of folios and their tags, simple
 * enough to be believed.
 */

#ifndef FOLIO_INDEX_MODEL_H
#define FOLIO_INDEX_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "cache/index/index.h"

struct model_entry {
  struct folio *folio;
  uint64_t first, last; /* pages */
  unsigned tags;        /* a bit a tag */
};

struct model {
  struct model_entry *entries; /* sorted by place */
  size_t count, room;
};

/* Room for so many folios.  Ends the program if memory is out. */
extern void model_create (struct model *model, size_t room);
extern void model_destroy (struct model *model);

/* The first entry that holds a page from `page' on; model->count if none. */
extern size_t model_find (const struct model *model, uint64_t page);

/* Does any entry hold a page in [first, last]? */
extern bool model_any (const struct model *model, uint64_t first,
                       uint64_t last);

extern void model_insert (struct model *model, struct folio *folio,
                          uint64_t first, uint64_t last);
extern void model_remove (struct model *model, size_t i);

/* What index_get_next and, with a tag, index_get_tagged should return. */
#define MODEL_ANY NR_TAGS
extern struct folio *model_next (const struct model *model, uint64_t page,
                                 uint64_t last, unsigned tag);

/* What index_copy_tag should do when it gets to the end. */
extern void model_copy_tag (struct model *model, uint64_t page, uint64_t last,
                            unsigned from, unsigned to);

#endif /* FOLIO_INDEX_MODEL_H */
