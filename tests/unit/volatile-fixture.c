/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The fixture over a store that forgets: see volatile-fixture.h.
 */

#include <errno.h>
#include <stddef.h>

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

/* In the place of fs's, once. */
static void
lose_and_flush (struct fs *fs, struct store_req *req)
{
  struct fixture *f =
    (struct fixture *) ((char *) fs->ops - offsetof (struct fixture, ops));

  lose (f);
  f->ops.flush = f->raw_ops->flush;
  f->ops.flush (fs, req);
}

void
flush_behind_loss (struct fixture *f, struct job *flush)
{
  assert_int_equal (cache_zero (f->conn, 64 * KiB, 0, 0), 0);
  f->ops.flush = lose_and_flush;
  job_start_held (f, 0, flush, STORE_FLUSH);
  UNTIL (fake_store_count (f->fake, STORE_ZERO) == 2 &&
         atomic_load (&f->fs->unsaved) == atomic_load (&f->fs->unstable));
}

void
power_cut (struct fixture *f)
{
  fake_store_crash (f->fake, 0);
}

void
until_saved (struct fixture *f)
{
  UNTIL (throttle_unsaved (&f->mapping->throttle) == 0);
}

void
stop_unbothered (struct fixture *f)
{
  assert_int_equal (atomic_load (&f->errors), 0);
  fixture_stop (f);
}

void
stop_lost (struct fixture *f, unsigned times)
{
  assert_int_equal (atomic_load (&f->errors), times);
  fixture_stop (f);
}
