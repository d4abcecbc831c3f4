/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The NBD store on servers that are killed, restarted, stopped, or come back
 * as something else.
 */

#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/unit/nbd-load.h"
#include "tests/unit/nbd-rig.h"
#include "tests/unit/seed.h"

/* A request of 512 bytes at the start of the disk, on its way. */
struct pending {
  struct store_req req; /* first */
  struct iovec iov;
  struct env *env;
  struct completion done;
  int error;
  uint8_t buf[512];
};

static void
pending_done (struct store_req *req, int error)
{
  struct pending *p = (struct pending *) req;

  p->error = error;
  completion_signal (p->env, &p->done);
}

static void
pending_start (struct nbd_rig *rig, struct pending *p, enum store_op op,
               int fill)
{
  struct store_req *reqs[1] = { &p->req };

  memset (p, 0, sizeof *p);
  memset (p->buf, fill, sizeof p->buf);
  p->iov = (struct iovec) { p->buf, sizeof p->buf };
  p->env = &rig->env;
  p->req = (struct store_req) {
    .op = op,
    .length = sizeof p->buf,
    .iov = &p->iov,
    .niov = 1,
    .done = pending_done,
  };
  rig->store->ops->submit (rig->store, reqs, 1);
}

static int
pending_wait (struct pending *p)
{
  completion_wait (p->env, &p->done);
  return p->error;
}

static int
read_start (struct nbd_rig *rig, uint8_t *first)
{
  uint8_t buf[512];
  int r = nbd_rig_io (rig, STORE_READ, 0, 0, buf, sizeof buf);

  *first = buf[0];
  return r;
}

/* Yield until it holds (or run-one.sh loses patience). */
#define UNTIL(condition)                                                       \
  do {                                                                         \
    while (!(condition))                                                       \
      sched_yield ();                                                          \
  } while (0)

static void
start (struct nbd_rig *rig, uint64_t retry)
{
  struct store_nbd_options o;

  nbd_rig_init (rig);
  nbd_rig_serve_disk (rig, LOAD_DISK);
  o = nbd_rig_options (rig);
  o.retry = retry;
  nbd_rig_open (rig, &o);
}

static void
finish (struct nbd_rig *rig)
{
  nbd_rig_close (rig);
  nbd_rig_exit (rig);
}

/* ---------------------------------------------------------------- restarts */

static void
a_server_killed_under_load_goes_unnoticed (void **state)
{
  struct rng rng = test_rng ("killed under load");
  struct nbd_rig rig;
  struct nbd_load *load;
  uint32_t losses = 0;
  uint64_t done;
  int i;

  (void) state;
  start (&rig, 3600 * NSEC_PER_SEC);
  load = nbd_load_start (&rig, &rng, 0);
  for (i = 0; i < 10; i++) {
    /* More than can end with the connection, as flushes do. */
    done = nbd_load_done (load) + LOAD_MOST + rng_below (&rng, 50);
    UNTIL (nbd_load_done (load) > done);
    nbd_rig_kill (&rig, SIGKILL);
    UNTIL (rig.store->losses > losses);
    losses = rig.store->losses;
    nbd_rig_serve_disk (&rig, LOAD_DISK);
  }
  nbd_load_stop (load);
  assert_true (rig.changed >= losses);
  finish (&rig);
}

static void
requests_wait_while_the_server_is_down (void **state)
{
  struct pending write, flush, read;
  struct nbd_rig rig;
  uint8_t byte;

  (void) state;
  start (&rig, 3600 * NSEC_PER_SEC);
  assert_int_equal (read_start (&rig, &byte), 0);
  nbd_rig_kill (&rig, SIGKILL);
  nbd_rig_await_error (&rig, "connection is lost");
  UNTIL (rig.store->losses == 1);
  pending_start (&rig, &write, STORE_WRITE, 0xaa);
  pending_start (&rig, &flush, STORE_FLUSH, 0);
  nbd_rig_serve_disk (&rig, LOAD_DISK);
  assert_int_equal (pending_wait (&write), 0);
  assert_int_equal (pending_wait (&flush), 0);
  pending_start (&rig, &read, STORE_READ, 0);
  assert_int_equal (pending_wait (&read), 0);
  assert_int_equal (read.buf[0], 0xaa);
  nbd_rig_await_error (&rig, "connected again");
  finish (&rig);
}

/* What was sent and not answered is sent again, but for a flush. */
static void
what_was_in_flight_is_sent_again_and_a_flush_fails (void **state)
{
  struct pending write, flush;
  struct nbd_rig rig;
  uint8_t byte;

  (void) state;
  start (&rig, 3600 * NSEC_PER_SEC);
  assert_int_equal (read_start (&rig, &byte), 0);
  nbd_rig_freeze (&rig);
  pending_start (&rig, &write, STORE_WRITE, 0x55);
  pending_start (&rig, &flush, STORE_FLUSH, 0);
  nbd_rig_kill (&rig, SIGKILL);
  assert_int_equal (pending_wait (&flush), -ECONNRESET);
  assert_int_equal (rig.store->losses, 1);
  nbd_rig_serve_disk (&rig, LOAD_DISK);
  assert_int_equal (pending_wait (&write), 0);
  assert_int_equal (read_start (&rig, &byte), 0);
  assert_int_equal (byte, 0x55);
  finish (&rig);
}

/* ----------------------------------------------------------------- outages */

static void
an_outage_longer_than_retry_fails_requests_until_it_is_over (void **state)
{
  struct pending write;
  struct nbd_rig rig;
  unsigned changed;
  uint8_t byte;

  (void) state;
  start (&rig, NSEC_PER_SEC / 5);
  assert_int_equal (read_start (&rig, &byte), 0);
  nbd_rig_kill (&rig, SIGKILL);
  UNTIL (rig.store->losses == 1);
  pending_start (&rig, &write, STORE_WRITE, 0xaa);
  assert_int_equal (pending_wait (&write), -EHOSTDOWN);
  nbd_rig_await_error (&rig, "requests fail until");
  assert_int_equal (read_start (&rig, &byte), -EHOSTDOWN);
  changed = rig.changed;
  nbd_rig_serve_disk (&rig, LOAD_DISK);
  UNTIL (rig.changed > changed);
  assert_int_equal (read_start (&rig, &byte), 0);
  assert_int_equal (byte, 0);
  finish (&rig);
}

static void
without_retry_requests_fail_at_once (void **state)
{
  struct nbd_rig rig;
  uint8_t byte;

  (void) state;
  start (&rig, 0);
  assert_int_equal (read_start (&rig, &byte), 0);
  nbd_rig_kill (&rig, SIGKILL);
  UNTIL (rig.store->losses == 1);
  nbd_rig_await_error (&rig, "requests fail until");
  assert_int_equal (read_start (&rig, &byte), -EHOSTDOWN);
  finish (&rig);
}

/* Stopped, it neither answers nor closes the connection. */
static void
a_server_that_hangs_is_an_outage (void **state)
{
  struct pending write;
  struct nbd_rig rig;
  unsigned changed;
  uint8_t byte;

  (void) state;
  start (&rig, NSEC_PER_SEC / 2);
  assert_int_equal (read_start (&rig, &byte), 0);
  nbd_rig_freeze (&rig);
  pending_start (&rig, &write, STORE_WRITE, 0xaa);
  assert_int_equal (pending_wait (&write), -EHOSTDOWN);
  assert_int_equal (rig.store->losses, 1);
  changed = rig.changed;
  assert_int_equal (kill (rig.server, SIGCONT), 0);
  UNTIL (rig.changed > changed);
  UNTIL (read_start (&rig, &byte) == 0);
  finish (&rig);
}

/* ------------------------------------------------------------- another export */

static void
an_export_of_another_size_is_not_used (void **state)
{
  struct pending write;
  struct nbd_rig rig;
  uint8_t byte;

  (void) state;
  start (&rig, 3600 * NSEC_PER_SEC);
  assert_int_equal (read_start (&rig, &byte), 0);
  nbd_rig_kill (&rig, SIGKILL);
  UNTIL (rig.store->losses == 1);
  pending_start (&rig, &write, STORE_WRITE, 0xaa);
  nbd_rig_serve_disk (&rig, MIB);
  nbd_rig_await_error (&rig, "it had 16777216 bytes, and now has 1048576");
  assert_int_equal (atomic_load (&write.done.word), 0);
  nbd_rig_kill (&rig, SIGKILL);
  nbd_rig_serve_disk (&rig, LOAD_DISK);
  assert_int_equal (pending_wait (&write), 0);
  finish (&rig);
}

static void
an_export_with_other_flags_is_not_used (void **state)
{
  const char *args[] = { "-r", "file", NULL, NULL };
  struct pending write;
  struct nbd_rig rig;
  uint8_t byte;

  (void) state;
  start (&rig, 3600 * NSEC_PER_SEC);
  assert_int_equal (read_start (&rig, &byte), 0);
  nbd_rig_kill (&rig, SIGKILL);
  UNTIL (rig.store->losses == 1);
  pending_start (&rig, &write, STORE_WRITE, 0xaa);
  args[2] = rig.disk;
  nbd_rig_serve (&rig, args);
  nbd_rig_await_error (&rig, "it was not read-only, and now is read-only");
  nbd_rig_kill (&rig, SIGKILL);
  nbd_rig_serve_disk (&rig, LOAD_DISK);
  assert_int_equal (pending_wait (&write), 0);
  finish (&rig);
}

/* ------------------------------------------------------------------- the end */

static void
a_store_that_is_down_can_be_closed (void **state)
{
  struct nbd_rig rig;
  uint8_t byte;

  (void) state;
  start (&rig, 3600 * NSEC_PER_SEC);
  assert_int_equal (read_start (&rig, &byte), 0);
  nbd_rig_kill (&rig, SIGKILL);
  UNTIL (rig.store->losses == 1);
  finish (&rig);
}

/* The sockets do not end and the connector gets no answer. */
static void
a_store_that_hangs_can_be_closed (void **state)
{
  struct pending read;
  struct nbd_rig rig;
  uint8_t byte;

  (void) state;
  start (&rig, NSEC_PER_SEC / 5);
  assert_int_equal (read_start (&rig, &byte), 0);
  nbd_rig_freeze (&rig);
  pending_start (&rig, &read, STORE_READ, 0);
  assert_int_equal (pending_wait (&read), -EHOSTDOWN);
  UNTIL (rig.store->losses == 1);
  finish (&rig);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (a_server_killed_under_load_goes_unnoticed),
    cmocka_unit_test (requests_wait_while_the_server_is_down),
    cmocka_unit_test (what_was_in_flight_is_sent_again_and_a_flush_fails),
    cmocka_unit_test (
      an_outage_longer_than_retry_fails_requests_until_it_is_over),
    cmocka_unit_test (without_retry_requests_fail_at_once),
    cmocka_unit_test (a_server_that_hangs_is_an_outage),
    cmocka_unit_test (an_export_of_another_size_is_not_used),
    cmocka_unit_test (an_export_with_other_flags_is_not_used),
    cmocka_unit_test (a_store_that_is_down_can_be_closed),
    cmocka_unit_test (a_store_that_hangs_can_be_closed),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
