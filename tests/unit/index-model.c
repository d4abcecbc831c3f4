/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What an index should hold: a sorted array.
 */

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "tests/tools/util.h"
#include "tests/unit/index-model.h"

void
model_create (struct model *model, size_t room)
{
  model->entries = xcalloc (room, sizeof *model->entries);
  model->count = 0;
  model->room = room;
}

void
model_destroy (struct model *model)
{
  free (model->entries);
}

size_t
model_find (const struct model *model, uint64_t page)
{
  size_t low = 0, high = model->count;

  while (low < high) {
    size_t middle = (low + high) / 2;

    if (model->entries[middle].last < page)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

bool
model_any (const struct model *model, uint64_t first, uint64_t last)
{
  size_t i = model_find (model, first);

  return i < model->count && model->entries[i].first <= last;
}

void
model_insert (struct model *model, struct folio *folio, uint64_t first,
              uint64_t last)
{
  size_t i = model_find (model, first);

  assert (model->count < model->room);
  memmove (&model->entries[i + 1], &model->entries[i],
           (model->count - i) * sizeof *model->entries);
  model->entries[i] = (struct model_entry) { folio, first, last, 0 };
  model->count++;
}

void
model_remove (struct model *model, size_t i)
{
  model->count--;
  memmove (&model->entries[i], &model->entries[i + 1],
           (model->count - i) * sizeof *model->entries);
}

struct folio *
model_next (const struct model *model, uint64_t page, uint64_t last,
            unsigned tag)
{
  for (size_t i = model_find (model, page);
       i < model->count && model->entries[i].first <= last; i++)
    if (tag == MODEL_ANY || (model->entries[i].tags & 1u << tag) != 0)
      return model->entries[i].folio;
  return NULL;
}

void
model_copy_tag (struct model *model, uint64_t page, uint64_t last,
                unsigned from, unsigned to)
{
  for (size_t i = model_find (model, page);
       i < model->count && model->entries[i].first <= last; i++) {
    struct model_entry *entry = &model->entries[i];

    if (entry->first >= page && (entry->tags & 1u << from) != 0)
      entry->tags |= 1u << to;
  }
}
