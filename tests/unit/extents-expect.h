/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What the tests of the extent map share.
 */

#ifndef EXTENTS_EXPECT_H
#define EXTENTS_EXPECT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "fs/extents.h"

#define UNKNOWN (-1)

/* At offset, so many bytes are of this type, or UNKNOWN. */
static inline void
expect (struct extents *e, uint64_t offset, int type, uint64_t length)
{
  enum iomap_type got;
  uint64_t n = length;
  bool known = extents_lookup (e, offset, &n, &got);

  assert_int_equal (known ? (int) got : UNKNOWN, type);
  assert_int_equal (n, length);
}

/* Ask, and learn of all that was asked for. */
static inline void
learn (struct extents *e, uint64_t offset, uint64_t length,
       enum iomap_type type)
{
  struct extents_question q;

  extents_ask (e, &q, offset, length);
  extents_learn (e, &q, offset, length, type);
  extents_answered (e, &q);
}

/* Did the cookie change since it was last asked for? */
static inline bool
bumped (struct extents *e, uint64_t *cookie)
{
  uint64_t before = *cookie;

  *cookie = extents_cookie (e);
  return *cookie != before;
}

#endif /* EXTENTS_EXPECT_H */
