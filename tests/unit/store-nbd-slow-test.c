/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The NBD store on servers that are slow with some requests, or never answer
 * them.  The store's clock stands: time passes only where a test says so, in
 * ticks, of which eight are the store's `retry'.
 */

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "fs/store-nbd-impl.h"
#include "tests/unit/nbd-rig.h"

#define RETRY 8 /* ticks */

/* In what the server runs: wait until the test has made a file, or the server or
 * the test is gone.
 */
#define WAIT_FOR(name)                                                         \
  "while [ ! -e $dir/" name " ] && kill -0 $PPID $test; do sleep .01; done; "

#define READ_ZEROES "dd if=/dev/zero bs=$3 count=1 2>/dev/null"

static void
start (struct nbd_rig *rig, const char *const *args, unsigned connections)
{
  struct store_nbd_options o;
  char pid[20];

  nbd_rig_init (rig);
  nbd_rig_stop_clock (rig);
  assert_int_equal (setenv ("dir", rig->dir, 1), 0);
  snprintf (pid, sizeof pid, "%d", (int) getpid ());
  assert_int_equal (setenv ("test", pid, 1), 0);
  nbd_rig_serve (rig, args);
  o = nbd_rig_options (rig);
  o.connections = connections;
  o.retry = RETRY * 20 * NSEC_PER_MSEC;
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
finish (struct nbd_rig *rig)
{
  static const char *const names[] = { "begun",   "go",   "begun.1",
                                       "begun.2", "go.1", "go.2" };
  size_t i;

  nbd_rig_close (rig);
  for (i = 0; i < sizeof names / sizeof names[0]; i++)
    forget (rig, names[i]);
  nbd_rig_exit (rig);
}

static void
ticks (struct nbd_rig *rig, unsigned n)
{
  while (n-- > 0)
    nbd_rig_tick (rig);
}

/* Some ticks, all of which are over on return. */
static void
ticks_over (struct nbd_rig *rig, unsigned n)
{
  ticks (rig, n + 1);
}

static bool
has_session (struct nbd_rig *rig)
{
  struct store_nbd *sn = store_nbd_of (rig->store);
  bool has;

  pthread_mutex_lock (&sn->lock);
  has = sn->session && !sn->session->lost;
  pthread_mutex_unlock (&sn->lock);
  return has;
}

/* ----------------------------------------------------------------- draining */

/* Of a server whose writes each wait for a file.  The last answer was given
 * longer ago than retry when the old connection has ended and what was held
 * goes: but the server could not have answered that before.
 */
static void
what_was_held_has_its_time_to_be_answered (void **state)
{
  static const char *const args[] = {
    "eval",
    "thread_model=echo parallel",
    "get_size=echo 16M",
    "can_write=exit 0",
    "pread=" READ_ZEROES,
    "pwrite=n=1; while ! mkdir $dir/begun.$n; do n=$((n + 1)); "
    "done; " WAIT_FOR ("go.$n") "cat >/dev/null",
    NULL
  };
  struct pending write;
  struct nbd_rig rig;
  uint8_t byte;

  (void) state;
  start (&rig, args, 4);
  assert_int_equal (nbd_rig_read_start (&rig, &byte), 0);
  pending_start (&rig, &write, STORE_WRITE, 0, 0, 0xaa);
  UNTIL (exists (&rig, "begun.1"));
  ticks (&rig, RETRY / 2);
  nbd_rig_lose (&rig);
  UNTIL (has_session (&rig));
  ticks (&rig, RETRY);
  make (&rig, "go.1");
  UNTIL (exists (&rig, "begun.2"));
  ticks_over (&rig, 1);
  assert_false (pending_over (&write));
  make (&rig, "go.2");
  assert_int_equal (pending_wait (&write), 0);
  assert_int_equal (rig.store->losses, 1);
  finish (&rig);
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
  ticks_over (rig, 2 * RETRY);
  assert_false (pending_over (&p));
  make (rig, "go");
  assert_int_equal (pending_wait (&p), 0);
  assert_int_equal (rig->store->losses, 0);
  forget (rig, "go");
  forget (rig, "begun");
}

static void
what_takes_longer_than_retry_is_no_outage (void **state)
{
  struct nbd_rig rig;

  (void) state;
  start (&rig, slow_args, 4);
  check_slow (&rig, STORE_FLUSH, 0);
  check_slow (&rig, STORE_ZERO, 0);
  check_slow (&rig, STORE_TRIM, 0);
  check_slow (&rig, STORE_WRITE, STORE_FUA); /* and a flush */
  finish (&rig);
  start (&rig, slow_fua_args, 4);
  check_slow (&rig, STORE_ZERO, STORE_FUA);
  check_slow (&rig, STORE_WRITE, STORE_FUA);
  finish (&rig);
}

/* The server was not out of reach before. */
static void
a_loss_in_a_long_zero_is_no_outage_yet (void **state)
{
  struct pending zero;
  struct nbd_rig rig;
  uint8_t byte;

  (void) state;
  start (&rig, slow_args, 4);
  assert_int_equal (nbd_rig_read_start (&rig, &byte), 0);
  pending_start (&rig, &zero, STORE_ZERO, 0, 0, 0);
  UNTIL (exists (&rig, "begun"));
  ticks_over (&rig, 2 * RETRY);
  nbd_rig_lose (&rig);
  make (&rig, "go");
  assert_int_equal (pending_wait (&zero), 0);
  assert_int_equal (rig.store->losses, 1);
  finish (&rig);
}

static void
what_a_long_flush_held_up_has_its_time_after_it (void **state)
{
  static const char *const args[] = {
    CAN_ALL, "can_fua=echo none",
    "flush=mkdir $dir/begun.1; " WAIT_FOR ("go.1"),
    "pwrite=cat >/dev/null; mkdir $dir/begun.2; " WAIT_FOR ("go.2"), NULL
  };
  struct pending flush, write;
  struct nbd_rig rig;

  (void) state;
  start (&rig, args, 4);
  pending_start (&rig, &write, STORE_WRITE, 0, 0, 0);
  pending_start (&rig, &flush, STORE_FLUSH, 0, 0, 0);
  UNTIL (exists (&rig, "begun.1") && exists (&rig, "begun.2"));
  ticks_over (&rig, 2 * RETRY);
  make (&rig, "go.1");
  assert_int_equal (pending_wait (&flush), 0);
  ticks_over (&rig, RETRY / 2);
  assert_false (pending_over (&write));
  make (&rig, "go.2");
  assert_int_equal (pending_wait (&write), 0);
  assert_int_equal (rig.store->losses, 0);
  finish (&rig);
}

/* Stopped, it never answers. */
static void
a_server_that_hangs_in_a_zero_is_an_outage_at_last (void **state)
{
  struct pending zero;
  struct nbd_rig rig;
  unsigned n;

  (void) state;
  start (&rig, slow_args, 4);
  pending_start (&rig, &zero, STORE_ZERO, 0, 0, 0);
  UNTIL (exists (&rig, "begun"));
  nbd_rig_freeze (&rig);
  for (n = 0; !pending_over (&zero); n++)
    nbd_rig_tick (&rig);
  assert_int_equal (pending_wait (&zero), -EHOSTDOWN);
  assert_true (n >= 8 * RETRY);
  assert_int_equal (rig.store->losses, 1);
  finish (&rig);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (what_was_held_has_its_time_to_be_answered),
    cmocka_unit_test (what_takes_longer_than_retry_is_no_outage),
    cmocka_unit_test (a_loss_in_a_long_zero_is_no_outage_yet),
    cmocka_unit_test (what_a_long_flush_held_up_has_its_time_after_it),
    cmocka_unit_test (a_server_that_hangs_in_a_zero_is_an_outage_at_last),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
