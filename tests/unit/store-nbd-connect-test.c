/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The NBD store's connections: which export is taken for the same as before.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "fs/store-nbd-impl.h"
#include "tests/unit/nbd-rig.h"

/* ------------------------------------------------------- an export comes back */

static const struct remote_facts all = {
  .size = MIB,
  .min_block = 1,
  .max_block = MAX_PAYLOAD,
  .flush = true,
  .fua = true,
  .zero = true,
  .fast_zero = true,
  .trim = true,
  .multi_conn = true,
  .extents = true,
};
static const struct remote_facts least = {
  .size = MIB,
  .min_block = 512,
  .max_block = MIB,
  .readonly = true,
};

static void
taken (const struct store_nbd *sn, struct remote_facts now)
{
  char why[WHY_MAX] = "";

  if (!remote_same (sn, &now, why))
    fail_msg ("%s", why);
}

static void
refused (const struct store_nbd *sn, struct remote_facts now,
         const char *reason)
{
  char why[WHY_MAX] = "";

  assert_false (remote_same (sn, &now, why));
  if (strstr (why, reason) == NULL)
    fail_msg ("%s", why);
}

static void
more_than_before_is_no_obstacle (void **state)
{
  struct store_nbd sn = { .facts = least, .connections = 1 };

  (void) state;
  taken (&sn, least);
  taken (&sn, all);
  sn.store.geo.readonly = true;
  taken (&sn, all);
}

static void
less_than_before_is_refused (void **state)
{
  const struct store_nbd sn = { .facts = all, .connections = 4 };
  struct remote_facts now;

  (void) state;
  taken (&sn, all);
#define REFUSED(field, value, reason)                                          \
  (now = all, now.field = (value), refused (&sn, now, reason))
  REFUSED (readonly, true, "read-only");
  REFUSED (flush, false, "flush");
  REFUSED (fua, false, "FUA");
  REFUSED (zero, false, "able to zero");
  REFUSED (fast_zero, false, "zero fast");
  REFUSED (trim, false, "trim");
  REFUSED (multi_conn, false, "several connections");
  REFUSED (size, MIB + 512, "1049088 bytes");
  REFUSED (size, MIB / 2, "524288 bytes");
  REFUSED (min_block, 1024, "requests");
  REFUSED (max_block, MIB, "requests");
}

static void
what_is_not_used_may_be_lost (void **state)
{
  struct store_nbd sn = { .facts = all, .connections = 1 };
  struct remote_facts now = all;

  (void) state;
  now.multi_conn = false;
  taken (&sn, now);
  now = least;
  now.max_block = MAX_PAYLOAD;
  refused (&sn, now, "read-only");
  sn.store.geo.readonly = true;
  taken (&sn, now);
}

/* What is behind the last whole block is not used. */
static void
smaller_blocks_have_the_same_size (void **state)
{
  struct store_nbd sn = { .facts = all, .connections = 1 };
  struct remote_facts now = all;

  (void) state;
  sn.facts.min_block = 4096;
  now.size = MIB + 100;
  taken (&sn, now);
  now.size = MIB + 4096;
  refused (&sn, now, "bytes");
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (more_than_before_is_no_obstacle),
    cmocka_unit_test (less_than_before_is_refused),
    cmocka_unit_test (what_is_not_used_may_be_lost),
    cmocka_unit_test (smaller_blocks_have_the_same_size),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
