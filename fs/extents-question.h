/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Part of the extent map: a question to the store, see extents_ask.
 */

#ifndef FOLIO_EXTENTS_QUESTION_H
#define FOLIO_EXTENTS_QUESTION_H

#include <stdint.h>

struct extents_question {
  uint64_t start, end;                 /* of which nothing is learned yet */
  uint64_t forgotten, forgotten_until; /* in there, all that was, and more */
  struct extents_question *next;
};

#endif /* FOLIO_EXTENTS_QUESTION_H */
