/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * raw's inside, shared by fs/raw*.c only.
 */

#ifndef FOLIO_RAW_IMPL_H
#define FOLIO_RAW_IMPL_H

#include "fs/extents.h"
#include "fs/raw.h"

struct raw {
  struct fs fs;
  struct extents *extents;
  _Atomic uint64_t window; /* bytes: to ask the store about next time */
  _Atomic bool cautious;   /* that was once too many */
};

/* ---- raw-ask.c: what the store knows */

#define RAW_FIRST_WINDOW (UINT64_C (8) << 20)

/* Ask the store what there is from pos on, and keep what there is room for, and
 * what nobody has written to meanwhile.  Blocks.  Returns for how many bytes from
 * pos on it is of no use to ask again, should pos still be unknown.
 */
extern uint64_t raw_ask (struct raw *raw, uint64_t pos);

#endif /* FOLIO_RAW_IMPL_H */
