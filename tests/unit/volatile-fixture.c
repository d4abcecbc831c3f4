/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The fixture over a store that forgets: see volatile-fixture.h.
 */

#include <errno.h>

#include "volatile-fixture.h"

struct fixture *
start_volatile (const struct fixture_config *config)
{
  struct fixture *f = fixture_start (config);

  store_put (f, 0, f->config.disk_size, 0);
  fake_store_volatile (f->fake);
  fake_store_lossy (f->fake, 0);
  return f;
}

void
flush_until_ok (struct fixture *f, unsigned conn)
{
  while (cache_flush (f->conns[conn]) < 0)
    ;
}

void
flush_fails (struct fixture *f, unsigned conn)
{
  fake_store_fail_next (f->fake, STORE_FLUSH, UINT32_MAX, -EIO);
  assert_int_equal (cache_flush (f->conns[conn]), -EIO);
  fake_store_heal (f->fake);
}

void
lose (struct fixture *f)
{
  fake_store_lose (f->fake, 0);
}

void
power_cut (struct fixture *f)
{
  fake_store_crash (f->fake, 0);
}

void
until_saved (struct fixture *f)
{
  UNTIL (atomic_load (&f->mapping->folios.nr_unsaved) == 0);
}

void
stop_unbothered (struct fixture *f)
{
  assert_int_equal (atomic_load (&f->errors), 0);
  fixture_stop (f);
}
