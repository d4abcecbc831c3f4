/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The file store: reads, writes, flushes, the loop and threads; on the file
 * system of /tmp, on tmpfs and on block devices, where there are any.
 */

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/file/state.h"
#include "tests/unit/file-rig.h"
#include "tests/unit/seed.h"
#include "tests/unit/test.h"

/* ------------------------------------------------------ reads and writes */

#define SLOTS 16u
#define SLOT (16 * MIB / SLOTS)

/* One slot of the disk belongs to one request at a time. */
struct job {
  struct store_req req;
  struct iovec iov[64];
  struct rig *rig;
  struct completion done;
  int error;
  uint8_t *memory; /* SLOT + 64 bytes */
  uint8_t *shadow; /* what the slot is to hold */
};

static void
job_done (struct store_req *req, int error)
{
  struct job *job = (struct job *) req; /* its first member */

  job->error = error;
  completion_signal (&job->rig->env, &job->done);
}

/* Memory odd in a third of the cases, in elements of odd sizes in another. */
static void
job_memory (struct rng *rng, struct job *job, uint64_t length)
{
  uint8_t *base = job->memory;
  uint64_t n, left = length;
  bool odd = rng_chance (rng, 30);
  int i = 0;

  if (rng_chance (rng, 30))
    base += 1 + rng_below (rng, 63);
  for (; left > 0; left -= n, base += n) {
    n = left;
    if (i < 63 && odd)
      n = rng_log (rng, left);
    else if (i < 63 && left > 4096)
      n = 4096 * (1 + rng_below (rng, left / 4096));
    job->iov[i++] = (struct iovec) { base, n };
  }
  job->req.iov = job->iov;
  job->req.niov = i;
}

static uint8_t *
job_base (struct job *job)
{
  return job->iov[0].iov_base;
}

static void
job_make (struct rng *rng, struct job *job, unsigned slot, uint32_t min_io)
{
  static const enum store_op ops[] = { STORE_READ, STORE_WRITE, STORE_WRITE,
                                       STORE_ZERO, STORE_TRIM,  STORE_FLUSH };
  uint64_t from = rng_below (rng, SLOT / min_io);
  uint64_t n = rng_log (rng, SLOT / min_io - from);
  uint64_t i;

  job->req.op = ops[rng_below (rng, 6)];
  job->req.flags = 0;
  if (job->req.op == STORE_WRITE && rng_chance (rng, 20))
    job->req.flags |= STORE_FUA;
  job->req.offset = slot * SLOT + from * min_io;
  job->req.length = n * min_io;
  job->req.done = job_done;
  atomic_store (&job->done.word, 0);
  job_memory (rng, job, n * min_io);

  if (job->req.op == STORE_READ)
    memset (job_base (job), 0xee, n * min_io);
  else if (job->req.op == STORE_WRITE) {
    for (i = 0; i < n * min_io; i++)
      job_base (job)[i] = (uint8_t) mix64 (job->req.offset + i + rng->state);
    memcpy (job->shadow + from * min_io, job_base (job), n * min_io);
  }
  else if (job->req.op != STORE_FLUSH)
    memset (job->shadow + from * min_io, 0, n * min_io);
}

static void
job_wait (struct job *job)
{
  completion_wait (&job->rig->env, &job->done);
  assert_int_equal (job->error, 0);
  if (job->req.op == STORE_READ)
    assert_memory_equal (job_base (job), job->shadow + job->req.offset % SLOT,
                         job->req.length);
}

static void
random_io (struct rig *rig, struct job *jobs, int rounds)
{
  struct rng rng = test_rng ("random_io");
  struct store_req *batch[SLOTS];
  unsigned i, n;

  for (; rounds > 0; rounds--) {
    for (n = i = 0; i < SLOTS; i++)
      if (rng_chance (&rng, 70)) {
        job_make (&rng, &jobs[i], i, rig->store->geo.min_io);
        batch[n++] = &jobs[i].req;
      }
    rig->store->ops->submit (rig->store, batch, n);
    for (i = 0; i < n; i++)
      job_wait ((struct job *) batch[i]);
  }
}

static void
check_random_io (struct place *place)
{
  struct file_store_options o = options_for (place);
  struct job *jobs = xcalloc (SLOTS, sizeof *jobs);
  uint8_t *all = aligned_memory (16 * MIB, 0);
  struct rig rig;
  unsigned i;

  for (o.direct = DIRECT_AUTO; o.direct <= DIRECT_OFF; o.direct += 2) {
    rig_open (&rig, &o);
    rig_start (&rig);
    assert_int_equal (store_io (rig.store, STORE_READ, 0, 0, all, 16 * MIB), 0);
    for (i = 0; i < SLOTS; i++) {
      jobs[i].rig = &rig;
      jobs[i].memory = aligned_memory (SLOT + 64, 0);
      jobs[i].shadow = aligned_memory (SLOT, 0);
      memcpy (jobs[i].shadow, all + i * SLOT, SLOT);
    }
    random_io (&rig, jobs, 40);
    memset (all, 0xee, 16 * MIB);
    assert_int_equal (store_io (rig.store, STORE_READ, 0, 0, all, 16 * MIB), 0);
    for (i = 0; i < SLOTS; i++) {
      assert_memory_equal (all + i * SLOT, jobs[i].shadow, SLOT);
      free (jobs[i].memory);
      free (jobs[i].shadow);
    }
    rig_close (&rig);
  }
  free (all);
  free (jobs);
}

TEST (random_requests_agree_with_a_shadow)
{
  everywhere (check_random_io, true);
}

static void
check_odd_end (struct place *place)
{
  struct file_store_options o = options_for (place);
  uint8_t *buf = aligned_memory (16384, 0xaa), *zero = aligned_memory (4096, 0);
  struct rig rig;
  struct stat st;

  o.create = 10001;
  rig_open (&rig, &o);
  rig_start (&rig);
  /* 8192 up to the end, and past it */
  assert_int_equal (store_io (rig.store, STORE_WRITE, 0, 8192, buf, 4096), 0);
  assert_int_equal (store_io (rig.store, STORE_WRITE, STORE_FUA, 0, buf, 8192),
                    0);
  assert_int_equal (store_io (rig.store, STORE_WRITE, 0, 12288, buf, 4096), 0);
  memset (buf, 0xee, 16384);
  assert_int_equal (store_io (rig.store, STORE_READ, 0, 0, buf, 16384), 0);
  assert_int_equal (buf[0], 0xaa);
  assert_int_equal (buf[10000], 0xaa);
  assert_memory_equal (buf + 10001, zero, 4096);
  assert_int_equal (buf[16383], 0);
  memset (buf, 0xee, 16384);
  assert_int_equal (
    store_io (rig.store, STORE_READ, 0, 8192, buf, 10001 - 8192), 0);
  assert_int_equal (buf[10000 - 8192], 0xaa);
  assert_int_equal (buf[10001 - 8192], 0xee);
  assert_int_equal (
    store_io (rig.store, STORE_ZERO, 0, 8192, NULL, 10001 - 8192), 0);
  assert_int_equal (store_io (rig.store, STORE_TRIM, 0, 4096, NULL, 8192), 0);
  assert_int_equal (store_io (rig.store, STORE_READ, 0, 4096, buf, 4096), 0);
  assert_memory_equal (buf, zero, 4096);
  rig_close (&rig);
  assert_int_equal (stat (place->file, &st), 0);
  assert_int_equal (st.st_size, 10001);
  free (buf);
  free (zero);
}

TEST (an_odd_end_is_kept)
{
  everywhere (check_odd_end, false);
}

TEST (a_read_only_store_is_not_changed)
{
  struct file_store_options o = options_for (first_place ());
  char buf[512] = "";
  struct rig rig;

  rig_open (&rig, &o);
  rig_start (&rig);
  rig_close (&rig);
  o.readonly = true;
  rig_open (&rig, &o);
  rig_start (&rig);
  assert_int_equal (store_io (rig.store, STORE_READ, 0, 0, buf, 512), 0);
  assert_int_equal (store_io (rig.store, STORE_WRITE, 0, 0, buf, 512), -EROFS);
  assert_int_equal (store_io (rig.store, STORE_ZERO, 0, 0, NULL, 512), -EROFS);
  assert_int_equal (store_io (rig.store, STORE_TRIM, 0, 0, NULL, 512), -EROFS);
  assert_int_equal (store_io (rig.store, STORE_FLUSH, 0, 0, NULL, 0), 0);
  rig_close (&rig);
}

TEST (a_full_file_system_is_reported)
{
  struct file_store_options o = options_for (first_place ());
  char dir[64] = "/tmp/folio-test.XXXXXX", path[80];
  uint8_t *buf = aligned_memory (2 * MIB, 0xaa);
  struct rig rig;

  assert_non_null (mkdtemp (dir));
  if (mount ("none", dir, "tmpfs", 0, "size=1m") < 0) {
    rmdir (dir);
    free (buf);
    skip ();
  }
  snprintf (path, sizeof path, "%s/disk", dir);
  o.path = path;
  rig_open (&rig, &o);
  rig_start (&rig);
  assert_int_equal (store_io (rig.store, STORE_WRITE, 0, 0, buf, 2 * MIB),
                    -ENOSPC);
  assert_int_equal (store_io (rig.store, STORE_TRIM, 0, 0, NULL, 2 * MIB), 0);
  assert_int_equal (store_io (rig.store, STORE_WRITE, 0, 0, buf, MIB / 2), 0);
  rig_close (&rig);
  umount (dir);
  rmdir (dir);
  free (buf);
}

/* Memory that is not there is an error, though threads that end make the same
 * one and are forgiven.
 */
TEST (bad_memory_is_reported)
{
  struct file_store_options o = options_for (first_place ());
  struct rig rig;

  rig_open (&rig, &o);
  rig_start (&rig);
  assert_int_equal (
    store_io (rig.store, STORE_WRITE, 0, 0, (void *) (uintptr_t) 4096, 4096),
    -EFAULT);
  rig_close (&rig);
}

/* Of two flushes under way together the kernel tells only one of an error.
 * Here one is kept in the queue, and the other made up.
 */
TEST (flushes_that_meet_a_failed_one_fail_too)
{
  struct file_store_options o = options_for (first_place ());
  struct job job = { .req = { .op = STORE_FLUSH, .done = job_done } };
  struct store_req *reqs[] = { &job.req };
  struct file_store *file;
  struct rig rig;

  rig_open (&rig, &o);
  rig_start (&rig);
  job.rig = &rig;
  file = file_store_of (rig.store);
  pthread_mutex_lock (&file->lock);
  file->queue.depth = 0;
  pthread_mutex_unlock (&file->lock);
  rig.store->ops->submit (rig.store, reqs, 1);
  pthread_mutex_lock (&file->lock);
  file->flush_errors++;
  file->queue.depth = 8;
  pthread_mutex_unlock (&file->lock);
  assert_int_equal (store_io (rig.store, STORE_FLUSH, 0, 0, NULL, 0), 0);
  completion_wait (&rig.env, &job.done);
  assert_int_equal (job.error, -EIO);
  rig_close (&rig);
}

/* ---------------------------------------------------- the loop, and threads */

struct crowd {
  struct rig *rig;
  struct store_req req[128];
  struct iovec iov[128];
  _Atomic int left;
  _Atomic int errors;
  int since; /* done since the loop last went round */
  int most;
};

static void
crowd_done (struct store_req *req, int error)
{
  size_t i = req->offset / 4096; /* see crowd_fill */
  struct crowd *crowd =
    (struct crowd *) ((char *) req->iov - offsetof (struct crowd, iov[i]));

  if (error)
    atomic_fetch_add (&crowd->errors, 1);
  if (++crowd->since > crowd->most)
    crowd->most = crowd->since;
  if (atomic_fetch_sub (&crowd->left, 1) == 1)
    ev_break (crowd->rig->on.ev, EVBREAK_ALL);
}

static void
went_round (struct ev_loop *loop, ev_prepare *prepare, int revents)
{
  struct crowd *crowd = prepare->data;

  (void) loop;
  (void) revents;
  crowd->since = 0;
}

static void
crowd_fill (struct crowd *crowd, struct rig *rig, void *buf)
{
  int i;

  memset (crowd, 0, sizeof *crowd);
  crowd->rig = rig;
  crowd->left = 128;
  for (i = 0; i < 128; i++) {
    crowd->iov[i] = (struct iovec) { (char *) buf + i * 4096, 4096 };
    crowd->req[i] = (struct store_req) {
      .op = STORE_READ,
      .offset = (uint64_t) i * 4096,
      .length = 4096,
      .iov = &crowd->iov[i],
      .niov = 1,
      .done = crowd_done,
    };
  }
}

TEST (completions_leave_the_loop_to_others_now_and_then)
{
  struct file_store_options o = options_for (first_place ());
  struct store_req *reqs[128];
  struct crowd crowd;
  ev_prepare prepare;
  struct rig rig;
  void *buf = aligned_memory (128 * 4096, 0);
  int i;

  o.io_depth = 128;
  rig_open (&rig, &o);
  assert_int_equal (rig.store->ops->attach (rig.store, rig.on.ev), 0);
  ev_prepare_init (&prepare, went_round);
  prepare.data = &crowd;
  ev_prepare_start (rig.on.ev, &prepare);
  crowd_fill (&crowd, &rig, buf);
  for (i = 0; i < 128; i++)
    reqs[i] = &crowd.req[i];
  rig.store->ops->submit (rig.store, reqs, 128);
  ev_run (rig.on.ev, 0);
  assert_int_equal (crowd.left, 0);
  assert_int_equal (crowd.errors, 0);
  assert_true (crowd.most <= 32);
  rig.store->ops->detach (rig.store);
  rig_close (&rig);
  free (buf);
}

/* Submits a flush and much else, and ends without waiting for any of it. */
static void *
hit_and_run (void *opaque)
{
  struct job *jobs = opaque;
  struct store_req *reqs[SLOTS];
  unsigned i;

  for (i = 0; i < SLOTS; i++)
    reqs[i] = &jobs[i].req;
  jobs->rig->store->ops->submit (jobs->rig->store, reqs, SLOTS);
  return NULL;
}

static void
check_hit_and_run (struct place *place)
{
  struct file_store_options o = options_for (place);
  struct rng rng = test_rng ("check_hit_and_run");
  struct job *jobs = xcalloc (SLOTS, sizeof *jobs);
  uint8_t *memory = aligned_memory (SLOTS * 2 * (SLOT + 64), 0);
  pthread_t thread;
  struct rig rig;
  unsigned i, round;

  o.direct = DIRECT_OFF;
  rig_open (&rig, &o);
  rig_start (&rig);
  for (i = 0; i < SLOTS; i++) {
    jobs[i].rig = &rig;
    jobs[i].memory = memory + i * (SLOT + 64);
    jobs[i].shadow = memory + (SLOTS + i) * (SLOT + 64);
    assert_int_equal (
      store_io (rig.store, STORE_READ, 0, i * SLOT, jobs[i].shadow, SLOT), 0);
  }
  for (round = 0; round < 20; round++) {
    for (i = 0; i < SLOTS; i++)
      job_make (&rng, &jobs[i], i, rig.store->geo.min_io);
    assert_int_equal (pthread_create (&thread, NULL, hit_and_run, jobs), 0);
    pthread_join (thread, NULL);
    for (i = 0; i < SLOTS; i++)
      job_wait (&jobs[i]);
  }
  rig_close (&rig);
  free (memory);
  free (jobs);
}

TEST (requests_outlive_the_thread_that_submitted_them)
{
  everywhere (check_hit_and_run, true);
}

RUN_WITH_ENGINES ()
