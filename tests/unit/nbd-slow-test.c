/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The NBD store on servers that are slow with some requests, or never answer
 * them.  The store's clock stands: time passes only where a test says so, in
 * ticks, of which eight are the store's `retry'.
 */

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/nbd/state.h"
#include "tests/unit/nbd-rig.h"
#include "tests/unit/test.h"

#define RETRY 8 /* ticks */

/* In what the server runs: wait until the test has made a file, or the server or
 * the test is gone.
 */
#define WAIT_FOR(name)                                                         \
  "while [ ! -e $dir/" name " ] && kill -0 $PPID $test; do sleep .1; done; "

#define READ_ZEROES "dd if=/dev/zero bs=$3 count=1 2>/dev/null"

static void
start (struct nbd_rig *rig, const char *const *args, unsigned connections)
{
  struct nbd_store_options o;
  char pid[20];

  nbd_rig_stop_clock (rig);
  assert_int_equal (setenv ("dir", rig->dir, 1), 0);
  snprintf (pid, sizeof pid, "%d", (int) getpid ());
  assert_int_equal (setenv ("test", pid, 1), 0);
  nbd_rig_serve (rig, args);
  o = nbd_rig_options (rig);
  o.connections = connections;
  o.retry = RETRY * 5 * NSEC_PER_MSEC; /* the shortest ticks there are */
  nbd_rig_open (rig, &o);
}

static void
path_of (struct nbd_rig *rig, const char *name, char path[100])
{
  snprintf (path, 100, "%s/%s", rig->dir, name);
}

static bool
exists (struct nbd_rig *rig, const char *name)
{
  char path[100];

  path_of (rig, name, path);
  return access (path, F_OK) == 0;
}

static void
make (struct nbd_rig *rig, const char *name)
{
  char path[100];

  path_of (rig, name, path);
  nbd_rig_make_file (path, 0);
}

/* It is gone then, if it was there. */
static void
forget (struct nbd_rig *rig, const char *name)
{
  char path[100];

  path_of (rig, name, path);
  remove (path);
}

static void
ticks (struct nbd_rig *rig, unsigned n)
{
  while (n-- > 0)
    nbd_rig_tick (rig);
}

static bool
has_session (struct nbd_rig *rig)
{
  struct nbd_store *nbd = nbd_store_of (rig->store);
  bool has;

  pthread_mutex_lock (&nbd->lock);
  has = nbd->session && !nbd->session->lost;
  pthread_mutex_unlock (&nbd->lock);
  return has;
}

/* ----------------------------------------------------------------- draining */

/* Of a server whose writes each wait for a file.  The last answer was given
 * longer ago than retry when the old connection has ended and what was held
 * goes: but the server could not have answered that before.
 */
NBD_TEST (what_was_held_has_its_time_to_be_answered)
{
  static const char *const args[] = {
    "eval",
    "thread_model=echo parallel",
    "get_size=echo 16M",
    "can_write=exit 0",
    "can_flush=exit 0",
    "pread=" READ_ZEROES,
    "pwrite=n=1; while ! mkdir $dir/begun.$n; do n=$((n + 1)); "
    "done; " WAIT_FOR ("go.$n") "cat >/dev/null",
    NULL
  };
  struct pending write;
  uint8_t byte;

  start (rig, args, 4);
  assert_int_equal (nbd_rig_read_start (rig, &byte), 0);
  pending_start (rig, &write, STORE_WRITE, 0, 0, 0xaa);
  UNTIL (exists (rig, "begun.1"));
  ticks (rig, RETRY / 2);
  nbd_rig_lose (rig);
  UNTIL (has_session (rig));
  ticks (rig, RETRY);
  make (rig, "go.1");
  UNTIL (exists (rig, "begun.2"));
  ticks (rig, 1);
  assert_false (pending_over (&write));
  make (rig, "go.2");
  assert_int_equal (pending_wait (&write), 0);
  assert_int_equal (rig->store->losses, 1);
}

/* ------------------------------------------------------------- flush and zero */

#define CAN_ALL                                                                \
  "eval", "thread_model=echo parallel", "get_size=echo 16M",                   \
    "can_multi_conn=exit 0", "can_write=exit 0", "can_flush=exit 0",           \
    "can_zero=exit 0", "pread=" READ_ZEROES

#define SLOW "mkdir $dir/begun; " WAIT_FOR ("go")

static const char *const slow_args[] = {
  CAN_ALL,      "can_fua=echo none",     "flush=" SLOW,
  "zero=" SLOW, "pwrite=cat >/dev/null", NULL
};
static const char *const slow_fua_args[] = {
  CAN_ALL,
  "can_fua=echo native",
  "flush=",
  "zero=" SLOW,
  "pwrite=cat >/dev/null; case $5 in *fua*) " SLOW ";; esac",
  NULL
};

static void
check_slow (struct nbd_rig *rig, enum store_op op, unsigned flags)
{
  struct pending p;

  pending_start (rig, &p, op, flags, 0, 0xaa);
  UNTIL (exists (rig, "begun"));
  ticks (rig, 2 * RETRY);
  assert_false (pending_over (&p));
  make (rig, "go");
  assert_int_equal (pending_wait (&p), 0);
  assert_int_equal (rig->store->losses, 0);
  forget (rig, "go");
  forget (rig, "begun");
}

NBD_TEST (what_takes_longer_than_retry_is_no_outage)
{
  start (rig, slow_args, 4);
  check_slow (rig, STORE_FLUSH, 0);
  check_slow (rig, STORE_ZERO, 0);
  check_slow (rig, STORE_TRIM, 0);
  check_slow (rig, STORE_WRITE, STORE_FUA); /* and a flush */
}

NBD_TEST (nor_is_what_has_fua)
{
  start (rig, slow_fua_args, 4);
  check_slow (rig, STORE_WRITE, STORE_FUA);
}

/* The server was not out of reach before. */
NBD_TEST (a_loss_in_a_long_zero_is_no_outage_yet)
{
  struct pending zero;
  uint8_t byte;

  start (rig, slow_args, 4);
  assert_int_equal (nbd_rig_read_start (rig, &byte), 0);
  pending_start (rig, &zero, STORE_ZERO, 0, 0, 0);
  UNTIL (exists (rig, "begun"));
  ticks (rig, 2 * RETRY);
  nbd_rig_lose (rig);
  make (rig, "go");
  assert_int_equal (pending_wait (&zero), 0);
  assert_int_equal (rig->store->losses, 1);
}

/* Nor before the session has ended, for a thread is still about to send something. */
NBD_TEST (while_the_loss_is_not_seen_to_it_is_none_either)
{
  struct nbd_store *nbd;
  struct session *session;
  struct pending zero;
  uint8_t byte;

  start (rig, slow_args, 4);
  assert_int_equal (nbd_rig_read_start (rig, &byte), 0);
  pending_start (rig, &zero, STORE_ZERO, 0, 0, 0);
  UNTIL (exists (rig, "begun"));
  ticks (rig, 2 * RETRY);
  nbd = nbd_store_of (rig->store);
  pthread_mutex_lock (&nbd->lock);
  session = nbd->session;
  session->users++;
  session_lose (session, "for a test");
  pthread_mutex_unlock (&nbd->lock);
  ticks (rig, 1);
  pthread_mutex_lock (&nbd->lock);
  session->users--;
  pthread_mutex_unlock (&nbd->lock);
  nbd_store_wake (nbd);
  make (rig, "go");
  assert_int_equal (pending_wait (&zero), 0);
  assert_int_equal (rig->store->losses, 1);
}

NBD_TEST (what_a_long_flush_held_up_has_its_time_after_it)
{
  static const char *const args[] = {
    CAN_ALL, "can_fua=echo none",
    "flush=mkdir $dir/begun.1; " WAIT_FOR ("go.1"),
    "pwrite=cat >/dev/null; mkdir $dir/begun.2; " WAIT_FOR ("go.2"), NULL
  };
  struct pending flush, write;

  start (rig, args, 4);
  pending_start (rig, &write, STORE_WRITE, 0, 0, 0);
  pending_start (rig, &flush, STORE_FLUSH, 0, 0, 0);
  UNTIL (exists (rig, "begun.1") && exists (rig, "begun.2"));
  ticks (rig, 2 * RETRY);
  make (rig, "go.1");
  assert_int_equal (pending_wait (&flush), 0);
  ticks (rig, RETRY / 2);
  assert_false (pending_over (&write));
  make (rig, "go.2");
  assert_int_equal (pending_wait (&write), 0);
  assert_int_equal (rig->store->losses, 0);
}

/* Stopped, it never answers. */
NBD_TEST (a_server_that_hangs_in_a_zero_is_an_outage_at_last)
{
  struct pending zero;
  unsigned n;

  start (rig, slow_args, 4);
  pending_start (rig, &zero, STORE_ZERO, 0, 0, 0);
  UNTIL (exists (rig, "begun"));
  nbd_rig_freeze (rig);
  for (n = 0; !pending_over (&zero); n++)
    nbd_rig_tick (rig);
  assert_int_equal (pending_wait (&zero), -EHOSTDOWN);
  assert_true (n >= 8 * RETRY);
  assert_int_equal (rig->store->losses, 1);
}

/* ------------------------------------------------------- one of many requests */

/* Reads wait, but for those at the start; and so do flushes. */
static const char *const hanging_args[] = {
  "eval",
  "thread_model=echo parallel",
  "get_size=echo 16M",
  "can_multi_conn=exit 0",
  "can_write=exit 0",
  "can_flush=exit 0",
  "pwrite=cat >/dev/null",
  "pread=if [ $4 -gt 0 ]; then " WAIT_FOR ("go") "fi; " READ_ZEROES,
  "flush=" WAIT_FOR ("go"),
  NULL
};

/* So many ticks after one another, others are answered: before it is for too long
 * that there was no answer.
 */
#define OFTEN (RETRY / 2)

/* Others are answered, and time passes, until so many sessions are lost or it is
 * done.  Returns how many ticks.
 */
static unsigned
pass_over (struct nbd_rig *rig, struct pending *p, uint32_t losses)
{
  uint8_t byte;
  unsigned n;

  for (n = 0; rig->store->losses < losses && !pending_over (p); n += OFTEN) {
    assert_int_equal (nbd_rig_read_start (rig, &byte), 0);
    ticks (rig, OFTEN);
  }
  return n;
}

NBD_TEST (a_request_that_is_passed_over_is_sent_again)
{
  struct pending read;

  start (rig, hanging_args, 1);
  pending_start (rig, &read, STORE_READ, 0, MIB, 0xee);
  assert_true (pass_over (rig, &read, 1) >= 8 * RETRY);
  assert_false (pending_over (&read));
  make (rig, "go");
  assert_int_equal (pending_wait (&read), 0);
  assert_int_equal (read.buf[0], 0);
  assert_int_equal (rig->store->losses, 1);
}

/* It is not for ever, and others do not suffer for it too often. */
NBD_TEST (a_request_that_is_always_passed_over_fails)
{
  struct pending read;
  uint8_t byte;

  start (rig, hanging_args, 1);
  pending_start (rig, &read, STORE_READ, 0, MIB, 0xee);
  pass_over (rig, &read, UINT32_MAX);
  assert_int_equal (pending_wait (&read), -EIO);
  assert_int_equal (rig->store->losses, 2);
  assert_int_equal (nbd_rig_read_start (rig, &byte), 0);
}

/* With several connections the others are on those that have less to do, and the
 * one with this request falls silent.
 */
NBD_TEST (a_request_that_silences_its_connection_fails)
{
  struct pending read;
  uint8_t byte;

  start (rig, hanging_args, 2);
  pending_start (rig, &read, STORE_READ, 0, MIB, 0xee);
  pass_over (rig, &read, UINT32_MAX);
  assert_int_equal (pending_wait (&read), -EIO);
  assert_int_equal (rig->store->losses, 8);
  assert_int_equal (nbd_rig_read_start (rig, &byte), 0);
}

struct question {
  struct nbd_rig *rig;
  unsigned n; /* runs of data */
  int error;
  _Atomic bool over;
};

static void
on_run (void *opaque, uint64_t offset, uint64_t length, enum store_extent type)
{
  struct question *q = opaque;

  q->n += offset == MIB && length == MIB && type == STORE_DATA;
}

static void *
ask (void *opaque)
{
  struct question *q = opaque;
  struct store *store = q->rig->store;

  q->error = store->ops->block_status (store, MIB, MIB, on_run, q);
  atomic_store (&q->over, true);
  return NULL;
}

/* It is only that nothing is known then. */
NBD_TEST (a_question_that_is_always_passed_over_has_no_answer)
{
  static const char *const args[] = { "eval",
                                      "thread_model=echo parallel",
                                      "get_size=echo 16M",
                                      "pread=" READ_ZEROES,
                                      "can_write=exit 0",
                                      "can_flush=exit 0",
                                      "pwrite=exit 1",
                                      "can_extents=exit 0",
                                      "extents=" WAIT_FOR ("go"),
                                      NULL };
  struct question q = { 0 };
  pthread_t thread;
  uint8_t byte;

  start (rig, args, 1);
  q.rig = rig;
  assert_int_equal (pthread_create (&thread, NULL, ask, &q), 0);
  while (!atomic_load (&q.over)) {
    assert_int_equal (nbd_rig_read_start (rig, &byte), 0);
    ticks (rig, OFTEN);
  }
  pthread_join (thread, NULL);
  assert_int_equal (q.error, 0);
  assert_int_equal (q.n, 1);
  assert_int_equal (rig->store->losses, 2);
}

/* Reads may overtake writes for long: they prove less. */
NBD_TEST (a_write_is_not_passed_over_by_reads)
{
  static const char *const args[] = {
    CAN_ALL, "pwrite=" WAIT_FOR ("go") "cat >/dev/null", NULL
  };
  struct pending write;

  start (rig, args, 1);
  pending_start (rig, &write, STORE_WRITE, 0, MIB, 0xee);
  assert_true (pass_over (rig, &write, 1) >= 32 * RETRY);
  make (rig, "go");
  assert_int_equal (pending_wait (&write), 0);
  assert_int_equal (rig->store->losses, 1);
}

NBD_TEST (a_flush_is_waited_for_much_longer)
{
  struct pending flush;

  start (rig, hanging_args, 1);
  pending_start (rig, &flush, STORE_FLUSH, 0, 0, 0);
  assert_true (pass_over (rig, &flush, 1) >= 32 * RETRY);
  assert_int_equal (pending_wait (&flush), -ECONNRESET);
}

/* What was sent before we stood still was not passed over by what was sent
 * afterwards.
 */
NBD_TEST (our_own_sleep_is_no_request_s_fault)
{
  struct pending read;
  uint8_t byte;

  start (rig, hanging_args, 1);
  assert_int_equal (nbd_rig_read_start (rig, &byte), 0);
  pending_start (rig, &read, STORE_READ, 0, MIB, 0xee);
  ticks (rig, 2);
  nbd_rig_stand_still (rig, 100);
  assert_true (pass_over (rig, &read, 1) >= 8 * RETRY - 2);
  make (rig, "go");
  assert_int_equal (pending_wait (&read), 0);
}

/* That the first session took longer than `retry' to make is not taken off the
 * time that the server has to answer.
 */
NBD_TEST (a_slow_beginning_is_no_silence)
{
  const char *args[] = { "eval",
                         "thread_model=echo parallel",
                         "open=if [ -e $dir/begun ]; then " WAIT_FOR (
                           "go") "fi; echo >$dir/begun",
                         "get_size=echo 16M",
                         "can_multi_conn=exit 0",
                         "can_write=exit 0",
                         "can_flush=exit 0",
                         "pwrite=cat >/dev/null",
                         "pread=" WAIT_FOR ("go.1") READ_ZEROES,
                         NULL };
  struct pending read;

  start (rig, args, 2);
  pending_start (rig, &read, STORE_READ, 0, 0, 0xee);
  ticks (rig, 2 * RETRY);
  assert_false (has_session (rig));
  make (rig, "go");
  UNTIL (has_session (rig));
  ticks (rig, RETRY - 1);
  assert_false (pending_over (&read));
  assert_int_equal (rig->store->losses, 0);
  make (rig, "go.1");
  assert_int_equal (pending_wait (&read), 0);
}

RUN_TESTS ()
