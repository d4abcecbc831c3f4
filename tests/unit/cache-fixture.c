/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A whole cache over a fake store: see cache-fixture.h.
 */

#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache-fixture.h"
#include "fs/raw/raw.h"
#include "tests/tools/util.h"

/* --- the environment --- */

static _Thread_local struct job *this_job;

static struct fixture *
fixture_of (struct env *env)
{
  return (struct fixture *) env; /* its first member */
}

static uint64_t
hooked_now (struct env *env)
{
  struct fixture *f = fixture_of (env);

  if (f->config.tick)
    f->config.tick (f);
  return f->config.fake_clock ? atomic_load (&f->clock)
                              : f->real.now (&f->real);
}

/* With the fake clock, a wait that has a deadline is over at once. */
static void
wait_word (struct fixture *f, _Atomic uint32_t *word, uint32_t value,
           uint64_t deadline)
{
  uint64_t clock = atomic_load (&f->clock);

  if (f->config.wait && f->config.wait (f, word, value, deadline))
    return;
  if (!f->config.fake_clock || deadline == ENV_FOREVER) {
    f->real.wait (&f->real, word, value, deadline);
    return;
  }
  while (clock < deadline &&
         !atomic_compare_exchange_weak (&f->clock, &clock, deadline))
    ;
  sched_yield ();
}

static void
pass_gate (struct fixture *f, struct gate *gate)
{
  atomic_store (&gate->arrived, 1);
  while (atomic_load (&gate->open) == 0)
    f->real.wait (&f->real, &gate->open, 0, ENV_FOREVER);
}

static void
hooked_wait (struct env *env, _Atomic uint32_t *word, uint32_t value,
             uint64_t deadline)
{
  struct fixture *f = fixture_of (env);
  struct gate *gate = this_job ? this_job->gate : NULL;

  if (this_job)
    atomic_fetch_add (&f->asleep, 1);
  wait_word (f, word, value, deadline);
  if (this_job)
    atomic_fetch_sub (&f->asleep, 1);
  if (gate && atomic_load (word) != value) {
    this_job->gate = NULL;
    pass_gate (f, gate);
  }
}

static void
hooked_wake (struct env *env, _Atomic uint32_t *word)
{
  struct fixture *f = fixture_of (env);

  f->real.wake (&f->real, word);
}

static void
hooked_log (struct env *env, enum log_level level, const char *message)
{
  struct fixture *f = fixture_of (env);
  size_t used;

  if (level != LOG_ERROR)
    return;
  atomic_fetch_add (&f->errors, 1);
  pthread_mutex_lock (&f->log_lock);
  used = strlen (f->log);
  snprintf (f->log + used, sizeof f->log - used, "%s\n", message);
  pthread_mutex_unlock (&f->log_lock);
}

unsigned
fixture_logged (struct fixture *f, const char *words)
{
  const char *line;
  unsigned n = 0;

  pthread_mutex_lock (&f->log_lock);
  for (line = f->log; (line = strstr (line, words)) != NULL;
       line = strchrnul (line, '\n'))
    n++;
  pthread_mutex_unlock (&f->log_lock);
  return n;
}

void
gate_await (struct gate *gate)
{
  UNTIL (atomic_load (&gate->arrived));
}

void
gate_open (struct fixture *f, struct gate *gate)
{
  atomic_store (&gate->open, 1);
  f->real.wake (&f->real, &gate->open);
}

/* --- the fixture --- */

#define DEFAULT(member, value) c->member = c->member ? c->member : (value)

static void
set_defaults (struct fixture_config *c)
{
  DEFAULT (disk_size, 16 * MiB);
  DEFAULT (cache_size, 32 * MiB);
  DEFAULT (dirty_limit, c->cache_size);
  DEFAULT (dirty_background, c->dirty_limit / 2);
  DEFAULT (min_io, 512);
  DEFAULT (best_io, 1 * MiB);
  DEFAULT (max_order, c->small_folios ? 0 : 9);
  DEFAULT (io_depth, 16);
  DEFAULT (max_runs, 1);
}

static void
start_env (struct fixture *f)
{
  env_init (&f->real);
  f->env = (struct env) {
    .now = hooked_now,
    .wait = hooked_wait,
    .wake = hooked_wake,
    .log = hooked_log,
  };
  atomic_store (&f->clock, NSEC_PER_SEC);
  pthread_mutex_init (&f->log_lock, NULL);
}

static void
start_store (struct fixture *f)
{
  const struct fixture_config *c = &f->config;

  f->fake = fake_store_create (&f->env, c->disk_size);
  f->fake->store.geo.min_io = c->min_io;
  f->fake->store.geo.best_io = c->best_io;
  f->fake->store.geo.readonly = c->readonly;
  f->fake->store.geo.can_fua = c->fua;
  f->fake->store.geo.can_zero = !c->no_zero;
  f->fake->store.geo.doubt_zero = c->doubt_zero;
  assert_int_equal (raw_open (&f->fake->store, &f->fs), 0);
  f->fs->max_runs = c->max_runs;
  f->raw_ops = f->fs->ops;
  f->ops = *f->fs->ops;
  f->fs->ops = &f->ops;
}

static void
start_mapping (struct fixture *f)
{
  const struct fixture_config *c = &f->config;
  struct mapping_config config = {
    .mode = c->mode,
    .folio_max_order = c->max_order,
    .dirty_limit = c->dirty_limit,
    .dirty_background = c->dirty_background,
    .dirty_expire = 600 * NSEC_PER_SEC,
    .writeback_interval = 600 * NSEC_PER_SEC,
    .readahead = c->readahead,
    .sequential_cutoff = c->sequential_cutoff,
    .io_depth = c->io_depth,
    .flush_target = c->flush_target,
  };
  unsigned i;

  assert_int_equal (cache_create (&f->env, c->cache_size, &f->cache), 0);
  assert_int_equal (cache_start (f->cache), 0);
  assert_int_equal (mapping_create (f->cache, f->fs, &config, &f->mapping), 0);
  if (!c->no_loop)
    assert_int_equal (mapping_start (f->mapping), 0);
  for (i = 0; i < NR_CONNS; i++)
    assert_int_equal (conn_create (f->mapping, &f->conns[i]), 0);
  f->conn = f->conns[0];
}

struct fixture *
fixture_start (const struct fixture_config *config)
{
  struct fixture *f = xcalloc (1, sizeof *f);

  f->config = *config;
  set_defaults (&f->config);
  start_env (f);
  start_store (f);
  start_mapping (f);
  return f;
}

void
fixture_stop (struct fixture *f)
{
  unsigned i;

  fake_store_heal (f->fake);
  for (i = 0; i < FAKE_OPS; i++)
    fake_store_unhold (f->fake, (enum store_op) i);
  for (i = 0; i < NR_CONNS; i++)
    conn_destroy (f->conns[i]);
  mapping_destroy (f->mapping);
  cache_destroy (f->cache);
  f->fs->ops = f->raw_ops;
  f->fs->ops->close (f->fs);
  f->fake->store.ops->close (&f->fake->store);
  pthread_mutex_destroy (&f->log_lock);
  free (f);
}

/* --- jobs --- */

static int
do_job (struct job *job)
{
  switch (job->op) {
  case JOB_READ:
    return cache_read (job->conn, job->buf, (uint32_t) job->count, job->offset);
  case JOB_WRITE:
    return cache_write (job->conn, job->buf, (uint32_t) job->count, job->offset,
                        job->flags);
  case JOB_FLUSH: return cache_flush (job->conn);
  case JOB_ZERO:
    return cache_zero (job->conn, job->count, job->offset, job->flags);
  case JOB_TRIM:
    return cache_trim (job->conn, job->count, job->offset, job->flags);
  }
  abort ();
}

static void *
run_job (void *arg)
{
  struct job *job = arg;

  this_job = job;
  job->result = do_job (job);
  this_job = NULL;
  atomic_store (&job->done, true);
  return NULL;
}

void
job_start (struct fixture *f, unsigned conn, struct job *job)
{
  job->f = f;
  job->conn = f->conns[conn];
  atomic_store (&job->done, false);
  if (pthread_create (&job->thread, NULL, run_job, job) != 0)
    die ("pthread_create failed");
}

int
job_join (struct job *job)
{
  pthread_join (job->thread, NULL);
  return job->result;
}

void
job_start_held (struct fixture *f, unsigned conn, struct job *job,
                enum store_op op)
{
  fake_store_hold (f->fake, op);
  job_start (f, conn, job);
  fake_store_wait_held (f->fake, op, 1);
}

void
job_let_go (struct fixture *f, struct job *job, enum store_op op)
{
  fake_store_unhold (f->fake, op);
  assert_int_equal (job_join (job), 0);
}

void
fixture_until_asleep (struct fixture *f, unsigned jobs)
{
  UNTIL (atomic_load (&f->asleep) >= jobs);
}

/* --- data --- */

void
fill_pattern (void *buf, size_t n, uint64_t offset, unsigned version)
{
  uint8_t *p = buf;
  uint64_t word;
  size_t skip, k;

  for (; n > 0; p += k, offset += k, n -= k) {
    word = htole64 (mix64 ((offset / 8) ^ ((uint64_t) version + 1) << 48));
    skip = offset % 8;
    k = min_u64 (8 - skip, n);
    if (k == sizeof word)
      memcpy (p, &word, sizeof word); /* no call */
    else
      memcpy (p, (uint8_t *) &word + skip, k);
  }
}

static uint8_t *
pattern (uint64_t offset, uint64_t n, unsigned version)
{
  uint8_t *buf = xcalloc (1, n);

  fill_pattern (buf, n, offset, version);
  return buf;
}

/* Compare, frees both. */
static void
compare (uint8_t *got, uint8_t *want, uint64_t offset, uint64_t n)
{
  uint64_t i;

  if (memcmp (got, want, n) != 0) {
    for (i = 0; got[i] == want[i]; i++)
      ;
    fail_msg ("byte %llu of the disk is 0x%02x, not 0x%02x",
              (unsigned long long) (offset + i), got[i], want[i]);
  }
  free (got);
  free (want);
}

int
put_flags (struct fixture *f, unsigned conn, uint64_t offset, uint64_t n,
           unsigned version, unsigned flags)
{
  uint8_t *buf = pattern (offset, n, version);
  int r = cache_write (f->conns[conn], buf, (uint32_t) n, offset, flags);

  free (buf);
  return r;
}

void
flush_ok (struct fixture *f, unsigned conn)
{
  assert_int_equal (cache_flush (f->conns[conn]), 0);
}

void
put (struct fixture *f, uint64_t offset, uint64_t n, unsigned version)
{
  assert_int_equal (put_flags (f, 0, offset, n, version, 0), 0);
}

static uint8_t *
get (struct fixture *f, uint64_t offset, uint64_t n)
{
  uint8_t *buf = xcalloc (1, n);

  memset (buf, 0xa5, n);
  assert_int_equal (cache_read (f->conn, buf, (uint32_t) n, offset), 0);
  return buf;
}

void
expect (struct fixture *f, uint64_t offset, uint64_t n, unsigned version)
{
  compare (get (f, offset, n), pattern (offset, n, version), offset, n);
}

void
expect_zero (struct fixture *f, uint64_t offset, uint64_t n)
{
  compare (get (f, offset, n), xcalloc (1, n), offset, n);
}

void
store_put (struct fixture *f, uint64_t offset, uint64_t n, unsigned version)
{
  uint8_t *buf = pattern (offset, n, version);

  fake_store_poke (f->fake, offset, buf, n);
  free (buf);
}

static uint8_t *
store_get (struct fixture *f, uint64_t offset, uint64_t n)
{
  uint8_t *buf = xcalloc (1, n);

  fake_store_peek (f->fake, offset, buf, n);
  return buf;
}

void
store_expect (struct fixture *f, uint64_t offset, uint64_t n, unsigned version)
{
  compare (store_get (f, offset, n), pattern (offset, n, version), offset, n);
}

void
store_expect_zero (struct fixture *f, uint64_t offset, uint64_t n)
{
  compare (store_get (f, offset, n), xcalloc (1, n), offset, n);
}

static bool
ignore_extent (void *opaque, uint64_t offset, uint64_t length, bool hole,
               bool zero)
{
  (void) opaque;
  (void) offset;
  (void) length;
  (void) hole;
  (void) zero;
  return true;
}

void
learn_extents (struct fixture *f)
{
  assert_int_equal (
    cache_extents (f->conn, f->config.disk_size, 0, ignore_extent, NULL), 0);
}

struct fake_record
nth_request (struct fixture *f, enum store_op op, unsigned n)
{
  struct fake_record record;
  size_t i;

  for (i = 0; fake_store_record (f->fake, i, &record); i++)
    if (record.op == op && n-- == 0)
      return record;
  fail_msg ("a request is missing in the store's record");
  return record;
}
