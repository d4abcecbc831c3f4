/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A thin disk that is taken by another server: who waits for what does not come any more
 * is woken.  The test is the loop thread, and takes a step when the bell has rung.
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fake-store.h"
#include "fs/bell.h"
#include "fs/thin/thin-impl.h"
#include "fs/thin/thin.h"
#include "test.h"
#include "tests/tools/util.h"

#define MIB (UINT64_C (1) << 20)
#define HOUR (3600 * NSEC_PER_SEC)

struct bench {
  struct env env;
  struct fake_store *fake;
  struct fs *fs;
  struct bell bell;
  _Atomic uint32_t rung;
  pthread_t work;
  struct store_req flush;
  _Atomic bool flushed;
  int error;
};

static void
ring (void *opaque)
{
  struct bench *b = opaque;

  atomic_store (&b->rung, 1);
  b->env.wake (&b->env, &b->rung);
}

static void *
run_work (void *opaque)
{
  struct bench *b = opaque;

  b->fs->ops->work (b->fs);
  return NULL;
}

/* As often as the bell has rung.  ahead: by so much (ns) the clock of the loop is. */
static void
step (struct bench *b, uint64_t ahead)
{
  while (atomic_exchange (&b->rung, 0))
    while (fs_step (b->fs, b->env.now (&b->env) + ahead))
      ;
}

static struct bench *
start (void)
{
  struct thin_create what = { .disk_bytes = 256 * MIB,
                              .log_blocks = THIN_MIN_LOG };
  struct bench *b = xcalloc (1, sizeof *b);
  char text[200];
  const struct store_message why = { text, sizeof text };

  env_init (&b->env);
  b->fake = fake_store_create (&b->env, 64 * MIB);
  b->fake->store.geo.exclusive = true;
  b->bell = (struct bell) { .ring = ring, .work = ring, .opaque = b };
  assert_int_equal (thin_create (&b->fake->store, &what, &why), 0);
  assert_int_equal (thin_open (&b->fake->store, NULL, &b->fs, &why), 0);
  b->fs->bell = &b->bell;
  assert_int_equal (fs_attach (b->fs, NULL, HOUR), 0);
  assert_int_equal (pthread_create (&b->work, NULL, run_work, b), 0);
  assert_int_equal (fs_ready (b->fs), 0);
  return b;
}

static void
stop (struct bench *b)
{
  b->fs->ops->stop_work (b->fs);
  pthread_join (b->work, NULL);
  step (b, 0);
  fs_detach (b->fs);
  b->fs->ops->close (b->fs);
  b->fake->store.ops->close (&b->fake->store);
  free (b);
}

static void
flush_done (struct store_req *req, int error)
{
  struct bench *b =
    (struct bench *) ((char *) req - offsetof (struct bench, flush));

  b->error = error;
  atomic_store (&b->flushed, true);
}

/* More changes than the log takes: the flush waits for a checkpoint, whose own does not
 * end.
 */
static void
flush_until_full (struct bench *b)
{
  struct iomap_range range;
  uint64_t i;

  for (i = 0; i < THIN_MIN_LOG * thin_log_room (1); i++) {
    range = (struct iomap_range) { .start = 2 * i * THIN_BLOCK,
                                   .end = (2 * i + 1) * THIN_BLOCK };
    assert_int_equal (b->fs->ops->zero (b->fs, &range, true), 0);
  }
  fake_store_hold (b->fake, STORE_FLUSH);
  b->flush = (struct store_req) { .op = STORE_FLUSH, .done = flush_done };
  b->fs->ops->flush (b->fs, &b->flush);
  fake_store_release (b->fake, STORE_FLUSH, 1); /* of the data */
  step (b, 0);
  fake_store_wait_held (b->fake, STORE_FLUSH, 1);
}

TEST_WITH (a_flush_that_waits_for_room_is_woken, struct bench *b, start (),
           stop)
{
  static const uint8_t other[THIN_BLOCK] = { 1 };

  flush_until_full (b);
  assert_int_equal (((struct thin *) b->fs)->flush.state, THIN_ROOM);
  assert_false (b->flushed);
  fake_store_poke (b->fake, THIN_OWNER * THIN_BLOCK, other, sizeof other);
  ring (b);
  step (b, HOUR); /* it is time to look */
  assert_true (b->flushed);
  assert_int_equal (b->error, -EBUSY);
  fake_store_unhold (b->fake, STORE_FLUSH);
}

RUN_TESTS ()
