/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The file store: opening and refusing, reads, writes, zeroes, holes; on the
 * file system of /tmp, on tmpfs and on block devices, where there are any.
 */

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "fs/store-file-impl.h"
#include "tests/unit/file-rig.h"
#include "tests/unit/seed.h"

#define MIB (UINT64_C (1) << 20)

static struct place places[4];
static int nplaces;

static int
make_places (void **state)
{
  const char *tmp = getenv ("TMPDIR");

  (void) state;
  nplaces += place_make (&places[nplaces], tmp ? tmp : "/tmp");
  nplaces += place_make (&places[nplaces], "/dev/shm");
  nplaces += place_make_device (&places[nplaces], 16 * MIB, 512);
  nplaces += place_make_device (&places[nplaces], 16 * MIB, 4096);
  return nplaces > 0 ? 0 : -1;
}

static int
remove_places (void **state)
{
  (void) state;
  while (nplaces > 0)
    place_remove (&places[--nplaces]);
  return 0;
}

static struct store_file_options
options_for (const struct place *place)
{
  return (struct store_file_options) {
    .path = place->file,
    .create = place->sector ? -1 : (int64_t) (16 * MIB),
    .direct = DIRECT_AUTO,
    .io_depth = 8,
  };
}

/* Run a test in every place (or every one for files), with a new file. */
static void
everywhere (void (*test) (struct place *), bool devices_too)
{
  int i;

  for (i = 0; i < nplaces; i++) {
    if (places[i].sector && !devices_too)
      continue;
    if (places[i].sector == 0)
      unlink (places[i].file);
    test (&places[i]);
    if (places[i].sector == 0)
      unlink (places[i].file);
  }
}

/* --------------------------------------------------------------- refusals */

static void
expect_refusal (const struct store_file_options *o, int error,
                const char *words)
{
  struct env env;
  struct store *store;
  char message[300] = "";

  env_init (&env);
  assert_int_equal (store_file_open (&env, o, &store, message, sizeof message),
                    error);
  if (strstr (message, words) == NULL)
    fail_msg ("\"%s\" does not say \"%s\"", message, words);
  assert_null (strchr (message, '\n'));
}

static void
wrong_files_are_refused (void **state)
{
  struct store_file_options o = options_for (&places[0]);

  (void) state;
  o.create = -1;
  expect_refusal (&o, -ENOENT, "does not exist");
  o.create = 512;
  o.readonly = true;
  expect_refusal (&o, -EROFS, "does not exist");
  o.path = places[0].dir;
  expect_refusal (&o, -EISDIR, "is a directory");
  o.path = "/dev/null";
  expect_refusal (&o, -EINVAL, "is a character device");
  o.path = "/nowhere/at\nall";
  expect_refusal (&o, -EROFS, "/nowhere/at?all");
  o.readonly = false;
  expect_refusal (&o, -ENOENT, "cannot be created");
}

/* A running program can't be written, not even by root. */
static void
an_unwritable_file_is_refused_but_with_r (void **state)
{
  struct store_file_options o = options_for (&places[0]);
  struct rig rig;
  char path[512];
  ssize_t n = readlink ("/proc/self/exe", path, sizeof path - 1);

  (void) state;
  assert_true (n > 0);
  path[n] = '\0';
  o.path = path;
  o.create = -1;
  expect_refusal (&o, -ETXTBSY, "use -r");
  o.readonly = true;
  rig_open (&rig, &o);
  assert_true (rig.store->geo.readonly);
  assert_false (rig.store->geo.can_zero || rig.store->geo.can_trim);
  rig_close (&rig);
}

static void
check_locks (struct place *place)
{
  struct store_file_options o = options_for (place), ro;
  struct rig rig, second;

  ro = o;
  ro.readonly = true;
  ro.create = -1;
  rig_open (&rig, &o);
  if (place->sector)
    expect_refusal (&o, -EBUSY, "in use");
  else
    expect_refusal (&o, -EAGAIN, "is locked by another server or process");
  expect_refusal (&ro, -EAGAIN, "is locked by another server or process");
  rig_close (&rig);
  rig_open (&rig, &ro);
  rig_open (&second, &ro);
  expect_refusal (&o, -EAGAIN, "is locked by another server or process");
  rig_close (&rig);
  rig_close (&second);
}

static void
only_one_writer (void **state)
{
  (void) state;
  everywhere (check_locks, true);
}

static void
check_create (struct place *place)
{
  struct store_file_options o = options_for (place);
  struct stat st;
  struct rig rig;
  int round;

  for (round = 0; round < 2; round++) { /* missing, then there already */
    rig_open (&rig, &o);
    assert_int_equal (rig.store->geo.size, 16 * MIB);
    rig_close (&rig);
  }
  assert_int_equal (stat (place->file, &st), 0);
  assert_int_equal (st.st_size, 16 * MIB);
  assert_true (st.st_blocks < 100);
  o.create = MIB;
  expect_refusal (&o, -EEXIST, "has 16777216 bytes, but create=1048576");
  assert_int_equal (stat (place->file, &st), 0);
  assert_int_equal (st.st_size, 16 * MIB);
  unlink (place->file);
  o.create = INT64_MAX;
  if (!place->tmpfs) {
    expect_refusal (&o, -EFBIG, "9223372036854775807 bytes");
    assert_int_equal (stat (place->file, &st), -1); /* nothing left behind */
  }
}

static void
create_makes_a_missing_file_only (void **state)
{
  (void) state;
  everywhere (check_create, false);
}

/* ---------------------------------------------------------------- geometry */

static void
check_direct (struct place *place)
{
  struct store_file_options o = options_for (place);
  struct store_file *sf;
  struct rig rig;

  if (place->tmpfs) {
    rig_open (&rig, &o);
    assert_int_equal (rig.store->geo.min_io, 512);
    assert_int_equal (store_file_of (rig.store)->direct_fd, -1);
    rig_close (&rig);
    o.direct = DIRECT_ON;
    expect_refusal (&o, -EINVAL, "direct=on");
    return;
  }
  for (o.direct = DIRECT_AUTO; o.direct <= DIRECT_OFF; o.direct++) {
    rig_open (&rig, &o);
    sf = store_file_of (rig.store);
    if (place->sector)
      assert_int_equal (rig.store->geo.min_io, place->sector);
    else
      assert_true (rig.store->geo.min_io >= 512);
    if (o.direct == DIRECT_ON)
      assert_true (sf->direct_fd >= 0);
    if (o.direct == DIRECT_OFF)
      assert_int_equal (sf->direct_fd, -1);
    rig_close (&rig);
  }
}

static void
direct_where_it_works (void **state)
{
  (void) state;
  everywhere (check_direct, true);
}

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
  if (job->req.op != STORE_READ && rng_chance (rng, 20))
    job->req.flags |= STORE_FUA;
  if (job->req.op == STORE_ZERO && rng_chance (rng, 50))
    job->req.flags |= STORE_MAY_TRIM;
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
  struct store_file_options o = options_for (place);
  struct job *jobs = xcalloc (SLOTS, sizeof *jobs);
  uint8_t *all = aligned_memory (16 * MIB, 0);
  struct rig rig;
  unsigned i;

  for (o.direct = DIRECT_AUTO; o.direct <= DIRECT_OFF; o.direct += 2) {
    rig_open (&rig, &o);
    rig_start (&rig);
    assert_int_equal (rig_io (&rig, STORE_READ, 0, 0, all, 16 * MIB), 0);
    for (i = 0; i < SLOTS; i++) {
      jobs[i].rig = &rig;
      jobs[i].memory = aligned_memory (SLOT + 64, 0);
      jobs[i].shadow = aligned_memory (SLOT, 0);
      memcpy (jobs[i].shadow, all + i * SLOT, SLOT);
    }
    random_io (&rig, jobs, 40);
    memset (all, 0xee, 16 * MIB);
    assert_int_equal (rig_io (&rig, STORE_READ, 0, 0, all, 16 * MIB), 0);
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

static void
random_requests_agree_with_a_shadow (void **state)
{
  (void) state;
  everywhere (check_random_io, true);
}

static void
check_odd_end (struct place *place)
{
  struct store_file_options o = options_for (place);
  uint8_t *buf = aligned_memory (16384, 0xaa), *zero = aligned_memory (4096, 0);
  struct rig rig;
  struct stat st;

  o.create = 10001;
  rig_open (&rig, &o);
  rig_start (&rig);
  /* 8192 up to the end, and past it */
  assert_int_equal (rig_io (&rig, STORE_WRITE, 0, 8192, buf, 4096), 0);
  assert_int_equal (rig_io (&rig, STORE_WRITE, STORE_FUA, 0, buf, 8192), 0);
  assert_int_equal (rig_io (&rig, STORE_WRITE, 0, 12288, buf, 4096), 0);
  memset (buf, 0xee, 16384);
  assert_int_equal (rig_io (&rig, STORE_READ, 0, 0, buf, 16384), 0);
  assert_int_equal (buf[0], 0xaa);
  assert_int_equal (buf[10000], 0xaa);
  assert_memory_equal (buf + 10001, zero, 4096);
  assert_int_equal (buf[16383], 0);
  memset (buf, 0xee, 16384);
  assert_int_equal (rig_io (&rig, STORE_READ, 0, 8192, buf, 10001 - 8192), 0);
  assert_int_equal (buf[10000 - 8192], 0xaa);
  assert_int_equal (buf[10001 - 8192], 0xee);
  assert_int_equal (rig_io (&rig, STORE_ZERO, 0, 8192, NULL, 10001 - 8192), 0);
  assert_int_equal (rig_io (&rig, STORE_TRIM, STORE_FUA, 4096, NULL, 8192), 0);
  assert_int_equal (rig_io (&rig, STORE_READ, 0, 4096, buf, 4096), 0);
  assert_memory_equal (buf, zero, 4096);
  rig_close (&rig);
  assert_int_equal (stat (place->file, &st), 0);
  assert_int_equal (st.st_size, 10001);
  free (buf);
  free (zero);
}

static void
an_odd_end_is_kept (void **state)
{
  (void) state;
  everywhere (check_odd_end, false);
}

static void
a_read_only_store_is_not_changed (void **state)
{
  struct store_file_options o = options_for (&places[0]);
  char buf[512] = "";
  struct rig rig;

  (void) state;
  rig_open (&rig, &o);
  rig_close (&rig);
  o.readonly = true;
  rig_open (&rig, &o);
  rig_start (&rig);
  assert_int_equal (rig_io (&rig, STORE_READ, 0, 0, buf, 512), 0);
  assert_int_equal (rig_io (&rig, STORE_WRITE, 0, 0, buf, 512), -EROFS);
  assert_int_equal (rig_io (&rig, STORE_ZERO, 0, 0, NULL, 512), -EROFS);
  assert_int_equal (rig_io (&rig, STORE_TRIM, 0, 0, NULL, 512), -EROFS);
  assert_int_equal (rig_io (&rig, STORE_FLUSH, 0, 0, NULL, 0), 0);
  rig_close (&rig);
}

static void
a_full_file_system_is_reported (void **state)
{
  struct store_file_options o = options_for (&places[0]);
  char dir[64] = "/tmp/folio-test.XXXXXX", path[80];
  uint8_t *buf = aligned_memory (2 * MIB, 0xaa);
  struct rig rig;

  (void) state;
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
  assert_int_equal (rig_io (&rig, STORE_WRITE, 0, 0, buf, 2 * MIB), -ENOSPC);
  assert_int_equal (rig_io (&rig, STORE_TRIM, 0, 0, NULL, 2 * MIB), 0);
  assert_int_equal (rig_io (&rig, STORE_WRITE, 0, 0, buf, MIB / 2), 0);
  rig_close (&rig);
  umount (dir);
  rmdir (dir);
  free (buf);
}

/* ------------------------------------------------------------------- zero */

/* Zero with only the means that are left; the neighbours must live. */
static void
check_zero (struct rig *rig, unsigned flags, bool trim, int expected)
{
  uint64_t size = 6 * MIB, from = 4096, n = 5 * MIB;
  uint8_t *buf = aligned_memory (size, 0xaa), *zero = aligned_memory (n, 0);

  assert_int_equal (rig_io (rig, STORE_WRITE, 0, 0, buf, size), 0);
  assert_int_equal (
    rig_io (rig, trim ? STORE_TRIM : STORE_ZERO, flags, from, NULL, n),
    expected);
  assert_int_equal (rig_io (rig, STORE_READ, 0, 0, buf, size), 0);
  if (expected == 0)
    assert_memory_equal (buf + from, zero, n);
  else
    assert_int_equal (buf[from + n - 1], 0xaa);
  assert_int_equal (buf[from - 1], 0xaa);
  assert_int_equal (buf[from + n], 0xaa);
  free (buf);
  free (zero);
}

static void
check_zero_means (struct place *place)
{
  struct store_file_options o = options_for (place);
  struct store_file *sf;
  struct rig rig;
  int lacking, fast;

  for (lacking = 0; lacking < 8; lacking++) {
    rig_open (&rig, &o);
    sf = store_file_of (rig.store);
    sf->no_punch = sf->no_punch || (lacking & 1);
    sf->no_zero_range = lacking & 2;
    sf->no_allocate = lacking & 4;
    rig_start (&rig);
    check_zero (&rig, 0, false, 0);
    check_zero (&rig, STORE_MAY_TRIM | STORE_FUA, false, 0);
    check_zero (&rig, STORE_FUA, true, 0);
    fast = rig.store->geo.can_fast_zero && (lacking & 3) != 3 ? 0 : -ENOTSUP;
    if (place->tmpfs && (lacking & 1)) /* has no ZERO_RANGE */
      fast = -ENOTSUP;
    if (!place->sector || lacking == 0)
      check_zero (&rig, STORE_FAST_ZERO, false, fast);
    rig_close (&rig);
  }
}

static void
zero_by_all_means (void **state)
{
  (void) state;
  everywhere (check_zero_means, true);
}

/* ---------------------------------------------------------------- extents */

struct runs {
  struct {
    uint64_t offset, length;
    enum store_extent type;
  } run[64];
  int n;
};

static void
collect (void *opaque, uint64_t offset, uint64_t length, enum store_extent type)
{
  struct runs *runs = opaque;
  int n = runs->n;

  assert_true (length > 0);
  if (n > 0)
    assert_int_equal (runs->run[n - 1].offset + runs->run[n - 1].length,
                      offset);
  if (n > 0 && runs->run[n - 1].type == type) {
    runs->run[n - 1].length += length;
    return;
  }
  assert_true (n < 64);
  runs->run[n].offset = offset;
  runs->run[n].length = length;
  runs->run[n].type = type;
  runs->n++;
}

static void
expect_run (const struct runs *runs, int i, uint64_t length,
            enum store_extent type)
{
  assert_true (i < runs->n);
  assert_int_equal (runs->run[i].type, type);
  assert_int_equal (runs->run[i].length, length);
}

static void
ask (struct rig *rig, uint64_t offset, uint64_t length, struct runs *runs)
{
  runs->n = 0;
  assert_int_equal (
    rig->store->ops->block_status (rig->store, offset, length, collect, runs),
    0);
  assert_true (runs->n > 0);
  assert_int_equal (runs->run[0].offset, offset);
}

static void
check_extents (struct place *place)
{
  struct store_file_options o = options_for (place);
  enum store_extent unwritten = place->tmpfs ? STORE_HOLE : STORE_UNWRITTEN;
  uint8_t *buf = aligned_memory (MIB, 0xaa);
  struct runs runs;
  struct rig rig;

  for (o.direct = DIRECT_AUTO; o.direct <= DIRECT_OFF; o.direct += 2) {
    unlink (place->file);
    rig_open (&rig, &o);
    rig_start (&rig);
    assert_true (rig.store->geo.can_extents);
    ask (&rig, 0, 16 * MIB, &runs);
    expect_run (&runs, 0, 16 * MIB, STORE_HOLE);

    assert_int_equal (rig_io (&rig, STORE_WRITE, 0, MIB, buf, MIB), 0);
    assert_int_equal (
      fallocate (store_file_of (rig.store)->fd, 0, 4 * MIB, MIB), 0);
    ask (&rig, 0, 16 * MIB, &runs);
    expect_run (&runs, 0, MIB, STORE_HOLE);
    expect_run (&runs, 1, MIB, STORE_DATA);
    if (!place->tmpfs) {
      expect_run (&runs, 2, 2 * MIB, STORE_HOLE);
      expect_run (&runs, 3, MIB, unwritten);
      expect_run (&runs, 4, 11 * MIB, STORE_HOLE);
    }
    else
      expect_run (&runs, 2, 14 * MIB, STORE_HOLE);

    /* written into what was allocated, in the page cache or not: data */
    assert_int_equal (rig_io (&rig, STORE_WRITE, 0, 4 * MIB, buf, MIB), 0);
    ask (&rig, 4 * MIB, 2 * MIB, &runs);
    expect_run (&runs, 0, MIB, STORE_DATA);
    expect_run (&runs, 1, MIB, STORE_HOLE);
    assert_int_equal (rig_io (&rig, STORE_TRIM, 0, MIB, NULL, MIB), 0);
    ask (&rig, 512, 3 * MIB, &runs);
    expect_run (&runs, 0, 3 * MIB, STORE_HOLE);
    rig_close (&rig);
  }
  free (buf);
}

static void
holes_and_unwritten_are_told_from_data (void **state)
{
  (void) state;
  everywhere (check_extents, false);
}

static void
check_many_extents (struct place *place)
{
  struct store_file_options o = options_for (place);
  uint8_t *buf = aligned_memory (4096, 0xaa);
  struct runs runs;
  struct rig rig;
  uint64_t pos;

  o.direct = DIRECT_OFF;
  rig_open (&rig, &o);
  rig_start (&rig);
  for (pos = 0; pos < 16 * MIB; pos += 16384)
    assert_int_equal (rig_io (&rig, STORE_WRITE, 0, pos, buf, 4096), 0);
  for (pos = 0; pos < 16 * MIB; pos += 16384) {
    ask (&rig, pos, 16384, &runs);
    expect_run (&runs, 0, 4096, STORE_DATA);
    expect_run (&runs, 1, 12288, STORE_HOLE);
  }
  rig_close (&rig);
  free (buf);
}

static void
many_extents_are_all_told (void **state)
{
  (void) state;
  everywhere (check_many_extents, false);
}

static void
check_huge (struct place *place)
{
  struct store_file_options o = options_for (place);
  struct runs runs;
  struct rig rig;

  o.create = (int64_t) 8 << 40;
  rig_open (&rig, &o);
  ask (&rig, 0, UINT64_C (8) << 40, &runs);
  expect_run (&runs, 0, UINT64_C (8) << 40, STORE_HOLE);
  rig_close (&rig);
}

static void
a_huge_hole_is_one_report (void **state)
{
  (void) state;
  everywhere (check_huge, false);
}

static void
check_device_extents (struct place *place)
{
  struct store_file_options o = options_for (place);
  struct runs runs;
  struct rig rig;

  rig_open (&rig, &o);
  if (place->sector) {
    assert_false (rig.store->geo.can_extents);
    ask (&rig, 4096, 8192, &runs);
    expect_run (&runs, 0, 8192, STORE_DATA);
  }
  rig_close (&rig);
}

static void
devices_are_all_data (void **state)
{
  (void) state;
  everywhere (check_device_extents, true);
}

/* ---------------------------------------------------- the loop, and threads */

struct crowd {
  struct rig *rig;
  struct store_req req[128];
  struct iovec iov;
  _Atomic int left;
  _Atomic int errors;
  int since; /* done since the loop last went round */
  int most;
};

static void
crowd_done (struct store_req *req, int error)
{
  struct crowd *crowd = (struct crowd *) req->iov; /* see crowd_fill */

  crowd = (struct crowd *) ((char *) crowd - offsetof (struct crowd, iov));
  if (error)
    atomic_fetch_add (&crowd->errors, 1);
  if (++crowd->since > crowd->most)
    crowd->most = crowd->since;
  if (atomic_fetch_sub (&crowd->left, 1) == 1)
    ev_break (crowd->rig->loop, EVBREAK_ALL);
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
  crowd->iov = (struct iovec) { buf, 4096 };
  crowd->left = 128;
  for (i = 0; i < 128; i++)
    crowd->req[i] = (struct store_req) {
      .op = STORE_READ,
      .offset = (uint64_t) i * 4096,
      .length = 4096,
      .iov = &crowd->iov,
      .niov = 1,
      .done = crowd_done,
    };
}

static void
completions_leave_the_loop_to_others_now_and_then (void **state)
{
  struct store_file_options o = options_for (&places[0]);
  struct store_req *reqs[128];
  struct crowd crowd;
  ev_prepare prepare;
  struct rig rig;
  void *buf = aligned_memory (4096, 0);
  int i;

  (void) state;
  o.io_depth = 128;
  rig_open (&rig, &o);
  assert_int_equal (rig.store->ops->attach (rig.store, rig.loop), 0);
  ev_prepare_init (&prepare, went_round);
  prepare.data = &crowd;
  ev_prepare_start (rig.loop, &prepare);
  crowd_fill (&crowd, &rig, buf);
  for (i = 0; i < 128; i++)
    reqs[i] = &crowd.req[i];
  rig.store->ops->submit (rig.store, reqs, 128);
  ev_run (rig.loop, 0);
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
  struct store_file_options o = options_for (place);
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
      rig_io (&rig, STORE_READ, 0, i * SLOT, jobs[i].shadow, SLOT), 0);
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

static void
requests_outlive_the_thread_that_submitted_them (void **state)
{
  (void) state;
  everywhere (check_hit_and_run, true);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (wrong_files_are_refused),
    cmocka_unit_test (an_unwritable_file_is_refused_but_with_r),
    cmocka_unit_test (only_one_writer),
    cmocka_unit_test (create_makes_a_missing_file_only),
    cmocka_unit_test (direct_where_it_works),
    cmocka_unit_test (random_requests_agree_with_a_shadow),
    cmocka_unit_test (an_odd_end_is_kept),
    cmocka_unit_test (a_read_only_store_is_not_changed),
    cmocka_unit_test (a_full_file_system_is_reported),
    cmocka_unit_test (zero_by_all_means),
    cmocka_unit_test (holes_and_unwritten_are_told_from_data),
    cmocka_unit_test (many_extents_are_all_told),
    cmocka_unit_test (a_huge_hole_is_one_report),
    cmocka_unit_test (devices_are_all_data),
    cmocka_unit_test (completions_leave_the_loop_to_others_now_and_then),
    cmocka_unit_test (requests_outlive_the_thread_that_submitted_them),
  };

  return cmocka_run_group_tests (tests, make_places, remove_places);
}
