/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The end of a mapping while zeroes are done again, over a store whose requests
 * are done by the loop thread: the file store, of which a flush fails.
 */

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "cache/cache.h"
#include "cache/request/mapping.h"
#include "file-rig.h"
#include "fs/raw/raw.h"

static const struct store_ops *file_ops;
static _Atomic bool fail_flushes, hold_zeroes;
static _Atomic (struct store_req *) held;

/* The first zero that comes waits, if asked for, for the test. */
static bool
divert (struct store_req *req)
{
  if (req->op == STORE_FLUSH && atomic_load (&fail_flushes)) {
    req->done (req, -EIO);
    return true;
  }
  if (req->op == STORE_ZERO && atomic_exchange (&hold_zeroes, false)) {
    atomic_store (&held, req);
    return true;
  }
  return false;
}

static void
submit (struct store *store, struct store_req **reqs, unsigned n)
{
  unsigned i;

  for (i = 0; i < n; i++) {
    if (!divert (reqs[i]))
      file_ops->submit (store, &reqs[i], 1);
  }
}

/* All that stands on a store. */
struct stack {
  struct env env;
  struct store *store;
  struct store_ops ops;
  struct fs *fs;
  struct cache *cache;
  struct mapping *mapping;
  struct conn *conn;
};

static void
stack_start (struct stack *s)
{
  struct file_store_options o = options_for (first_place ());
  struct mapping_config config = {
    .dirty_limit = 4 * MIB,
    .dirty_background = 2 * MIB,
    .dirty_expire = 600 * NSEC_PER_SEC,
    .writeback_interval = 600 * NSEC_PER_SEC,
    .io_depth = 8,
  };
  char err[200] = "";

  env_init (&s->env);
  if (file_store_open (&s->env, &o, &s->store, err, sizeof err) < 0)
    fail_msg ("%s", err);
  file_ops = s->store->ops;
  s->ops = *file_ops;
  s->ops.submit = submit;
  s->store->ops = &s->ops;
  assert_int_equal (raw_open (s->store, &s->fs), 0);
  assert_int_equal (cache_create (&s->env, 8 * MIB, &s->cache), 0);
  assert_int_equal (cache_start (s->cache), 0);
  assert_int_equal (mapping_create (s->cache, s->fs, &config, &s->mapping), 0);
  assert_int_equal (mapping_start (s->mapping), 0);
  assert_int_equal (conn_create (s->mapping, &s->conn), 0);
}

static void *
destroy (void *opaque)
{
  struct stack *s = opaque;

  mapping_destroy (s->mapping);
  return NULL;
}

static void
test_destroy_during_redo (void **state)
{
  struct stack s;
  struct store_req *req;
  pthread_t thread;

  (void) state;
  stack_start (&s);
  atomic_store (&fail_flushes, true);
  assert_int_equal (cache_zero (s.conn, MIB, 0, 0), 0);
  assert_int_equal (cache_zero (s.conn, MIB, 2 * MIB, 0), 0);
  atomic_store (&hold_zeroes, true);
  assert_int_equal (cache_flush (s.conn), -EIO);
  conn_destroy (s.conn);
  while (atomic_load (&held) == NULL)
    sched_yield ();

  assert_int_equal (pthread_create (&thread, NULL, destroy, &s), 0);
  while (!(atomic_load (&s.mapping->zeroes.word) & ZEROES_STOP))
    sched_yield ();
  req = atomic_exchange (&held, NULL);
  file_ops->submit (s.store, &req, 1);
  pthread_join (thread, NULL);

  cache_destroy (s.cache);
  s.fs->ops->close (s.fs);
  s.store->ops->close (s.store);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_destroy_during_redo),
  };

  return cmocka_run_group_tests (tests, make_places, remove_places);
}
