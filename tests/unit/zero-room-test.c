/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Zeroes, when there is no room to tell more of their parts apart.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/raw/raw-impl.h"
#include "cache-fixture.h"

/* There is room for so many zeroes, and two parts more. */
static struct fixture *
start_with_room (size_t max, const struct fixture_config *config)
{
  struct fixture *f = fixture_start (config);
  struct pending *p = &((struct raw *) f->fs)->zeroes.pending;
  size_t i;

  p->max = max;
  TAILQ_INIT (&p->unused);
  for (i = 0; i < max + 2; i++)
    TAILQ_INSERT_TAIL (&p->unused, &p->nodes[i], entry);
  return f;
}

/* Data over a zero takes all the room, which only a flush of the store gives back:
 * one that has to send more data first does not wait for that for ever.
 */
FIXTURE_TEST (flush_makes_room,
              start_with_room (8, &(struct fixture_config) { 0 }))
{
  unsigned i;

  store_put (f, 0, 2 * MiB, 9);
  assert_int_equal (cache_zero (f->conn, 2 * MiB, 0, 0), 0);
  for (i = 0; i < 32; i++)
    put (f, i * 4 * PAGE, PAGE, 1);
  flush_ok (f, 0);
  for (i = 0; i < 32; i++) {
    store_expect (f, i * 4 * PAGE, PAGE, 1);
    store_expect_zero (f, (i * 4 + 1) * PAGE, 3 * PAGE);
  }
  check_flushed (f);
}

/* Nor does one who zeroes, though there are few for the limits of memory. */
TEST (zeroes_make_room)
{
  struct fixture *f = start_with_room (8, &(struct fixture_config) { 0 });
  unsigned i;

  for (i = 0; i < 64; i++)
    assert_int_equal (cache_zero (f->conn, PAGE, i * 2 * PAGE, 0), 0);
  flush_ok (f, 0);
  fixture_stop (f);
}

/* What takes the room can't be done, or not flushed: then nor can what needs some be
 * written, for as long as that lasts.
 */
static void
while_it_fails (enum store_op op)
{
  struct fixture *f = start_with_room (8, &(struct fixture_config) { 0 });
  unsigned i;

  store_put (f, 0, 2 * MiB, 9);
  assert_int_equal (cache_zero (f->conn, 2 * MiB, 0, 0), 0);
  fake_store_fail_next (f->fake, op, UINT32_MAX, -EIO);
  for (i = 0; i < 32; i++)
    put (f, i * 4 * PAGE, PAGE, 1);
  assert_int_equal (cache_flush (f->conn), -EIO);
  assert_int_equal (cache_flush (f->conns[1]), -EIO);
  fake_store_heal (f->fake);
  while (cache_flush (f->conn) < 0)
    ;
  for (i = 0; i < 32; i++) {
    store_expect (f, i * 4 * PAGE, PAGE, 1);
    store_expect_zero (f, (i * 4 + 1) * PAGE, 3 * PAGE);
  }
  fixture_stop (f);
}

TEST (failing)
{
  while_it_fails (STORE_ZERO);
  while_it_fails (STORE_FLUSH);
}

/* The same, written through. */
FIXTURE_TEST (written_through,
              start_with_room (8, &(struct fixture_config) {
                                    .mode = CACHE_WRITETHROUGH }))
{
  unsigned i;

  assert_int_equal (cache_zero (f->conn, 2 * MiB, 0, 0), 0);
  for (i = 0; i < 32; i++)
    put (f, i * 4 * PAGE, PAGE, 1);
  flush_ok (f, 0);
}

/* And past the cache. */
FIXTURE_TEST (direct, start_with_room (8, &(struct fixture_config) {
                                            .mode = CACHE_NONE }))
{
  unsigned i;

  assert_int_equal (cache_zero (f->conn, 2 * MiB, 0, 0), 0);
  for (i = 0; i < 32; i++)
    put (f, i * 4 * PAGE, PAGE, 1);
  flush_ok (f, 0);
}

static _Atomic unsigned looks;

static bool
note_look (struct fixture *f, _Atomic uint32_t *word, uint32_t value,
           uint64_t deadline)
{
  (void) value;
  if (word == &f->fs->changes && deadline != ENV_FOREVER)
    atomic_fetch_add (&looks, 1);
  return false;
}

#define NR_PAST 16

/* Who waits for room then is told of it, and looks for it no sooner; if a flush is on
 * already that began too soon, it takes another.
 */
FIXTURE_TEST (direct_is_told,
              start_with_room (8, &(struct fixture_config) {
                                    .mode = CACHE_NONE, .wait = note_look }))
{
  static uint8_t buf[NR_PAST][PAGE_SIZE];
  struct job jobs[NR_PAST], flush = { .op = JOB_FLUSH };
  unsigned i;

  looks = 0;
  put (f, 4 * MiB, PAGE, 1);
  job_start_held (f, 0, &flush, STORE_FLUSH);
  assert_int_equal (cache_zero (f->conn, 2 * MiB, 0, 0), 0);
  for (i = 0; i < NR_PAST; i++) {
    fill_pattern (buf[i], PAGE, i * 4 * PAGE, 1);
    jobs[i] = (struct job) {
      .op = JOB_WRITE, .buf = buf[i], .count = PAGE, .offset = i * 4 * PAGE
    };
    job_start (f, i % NR_CONNS, &jobs[i]);
  }
  UNTIL (atomic_load (&f->fs->wants_flush));
  fake_store_release (f->fake, STORE_FLUSH, 1);
  fake_store_wait_held (f->fake, STORE_FLUSH, 1);
  fake_store_unhold (f->fake, STORE_FLUSH);
  for (i = 0; i < NR_PAST; i++)
    assert_int_equal (job_join (&jobs[i]), 0);
  assert_int_equal (job_join (&flush), 0);
  assert_int_equal (looks, 0);
  flush_ok (f, 0);
  for (i = 0; i < NR_PAST; i++) {
    store_expect (f, i * 4 * PAGE, PAGE, 1);
    store_expect_zero (f, (i * 4 + 1) * PAGE, 3 * PAGE);
  }
}

RUN_TESTS ()
