/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * How much is zeroed at once: more the longer the way, as long as more is no slower.
 */

#include "fs/env.h"
#include "fs/raw/zero-size.h"
#include "test.h"

#define MIN ZERO_SIZE_MIN
#define MAX ZERO_SIZE_MAX
#define MS NSEC_PER_MSEC

TEST (far_and_quick)
{
  struct zero_size size = ZERO_SIZE_INIT;

  zero_size_took (&size, 4096, 2 * MS); /* tells nothing but the way */
  assert_int_equal (size.bytes, MIN);
  zero_size_took (&size, MIN, 3 * MS);
  assert_int_equal (size.bytes, 2 * MIN);
  /* Those that were sent before count once. */
  zero_size_took (&size, MIN, 3 * MS);
  assert_int_equal (size.bytes, 2 * MIN);
  while (size.bytes < MAX)
    zero_size_took (&size, size.bytes, 3 * MS);
  zero_size_took (&size, size.bytes, 3 * MS);
  assert_int_equal (size.bytes, MAX);

  /* Neither quick nor slow. */
  zero_size_took (&size, MAX, 10 * MS);
  assert_int_equal (size.bytes, MAX);
  /* There was something to be freed. */
  zero_size_took (&size, MAX, 23 * MS);
  assert_int_equal (size.bytes, MIN);
}

TEST (far_and_slow)
{
  struct zero_size size = ZERO_SIZE_INIT;

  zero_size_took (&size, 4096, 100 * MS);
  zero_size_took (&size, MIN, 110 * MS);
  assert_int_equal (size.bytes, MIN);
}

TEST (near)
{
  struct zero_size size = ZERO_SIZE_INIT;

  zero_size_took (&size, MIN, MS / 10);
  zero_size_took (&size, MIN, MS);
  assert_int_equal (size.bytes, MIN);
}

RUN_TESTS ()
