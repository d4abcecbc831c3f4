/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The NBD store on servers that are killed, restarted, stopped, or come back
 * as something else.
 */

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/nbd/state.h"
#include "tests/unit/nbd-load.h"
#include "tests/unit/nbd-rig.h"
#include "tests/unit/seed.h"
#include "tests/unit/test.h"

static void
start (struct nbd_rig *rig, uint64_t retry)
{
  struct nbd_store_options o;

  nbd_rig_serve_disk (rig, LOAD_DISK);
  o = nbd_rig_options (rig);
  o.retry = retry;
  nbd_rig_open (rig, &o);
}

/* It had a session, and is killed; that is known. */
static void
lose_server (struct nbd_rig *rig)
{
  uint8_t byte;

  assert_int_equal (nbd_rig_read_start (rig, &byte), 0);
  nbd_rig_kill (rig, SIGKILL);
  UNTIL (rig->store->losses == 1);
}

/* ---------------------------------------------------------------- restarts */

NBD_TEST (a_server_killed_under_load_goes_unnoticed)
{
  struct rng rng = test_rng ("killed under load");
  struct nbd_load *load;
  uint32_t losses = 0;
  uint64_t done;
  int i;

  start (rig, 3600 * NSEC_PER_SEC);
  load = nbd_load_start (rig, &rng, 0);
  for (i = 0; i < 10; i++) {
    /* More than can end with the connection, as flushes do. */
    done = nbd_load_done (load) + LOAD_MOST + rng_below (&rng, 50);
    UNTIL (nbd_load_done (load) > done);
    nbd_rig_kill (rig, SIGKILL);
    UNTIL (rig->store->losses > losses);
    losses = rig->store->losses;
    nbd_rig_serve_disk (rig, LOAD_DISK);
  }
  nbd_load_stop (load);
  assert_true (rig->changed >= losses);
}

NBD_TEST (requests_wait_while_the_server_is_down)
{
  struct pending write, flush, read;
  uint8_t byte;

  start (rig, 3600 * NSEC_PER_SEC);
  assert_int_equal (nbd_rig_read_start (rig, &byte), 0);
  nbd_rig_kill (rig, SIGKILL);
  nbd_rig_await_error (rig, "connection is lost");
  UNTIL (rig->store->losses == 1);
  pending_start (rig, &write, STORE_WRITE, 0, 0, 0xaa);
  pending_start (rig, &flush, STORE_FLUSH, 0, 0, 0);
  nbd_rig_serve_disk (rig, LOAD_DISK);
  assert_int_equal (pending_wait (&write), 0);
  assert_int_equal (pending_wait (&flush), 0);
  pending_start (rig, &read, STORE_READ, 0, 0, 0);
  assert_int_equal (pending_wait (&read), 0);
  assert_int_equal (read.buf[0], 0xaa);
  nbd_rig_await_error (rig, "connected again");
}

/* What was sent and not answered is sent again, but for a flush. */
NBD_TEST (what_was_in_flight_is_sent_again_and_a_flush_fails)
{
  struct pending write, flush;
  uint8_t byte;

  start (rig, 3600 * NSEC_PER_SEC);
  assert_int_equal (nbd_rig_read_start (rig, &byte), 0);
  nbd_rig_freeze (rig);
  pending_start (rig, &write, STORE_WRITE, 0, 0, 0x55);
  pending_start (rig, &flush, STORE_FLUSH, 0, 0, 0);
  nbd_rig_kill (rig, SIGKILL);
  assert_int_equal (pending_wait (&flush), -ECONNRESET);
  assert_int_equal (rig->store->losses, 1);
  nbd_rig_serve_disk (rig, LOAD_DISK);
  assert_int_equal (pending_wait (&write), 0);
  assert_int_equal (nbd_rig_read_start (rig, &byte), 0);
  assert_int_equal (byte, 0x55);
}

/* A server whose first write waits until the file "go" is there (or it ends).
 * The directory "begun" tells that it has come.
 */
static void
serve_slow_first_write (struct nbd_rig *rig)
{
  char pwrite[500], pread[200];
  const char *args[] = { "eval",
                         "thread_model=echo parallel",
                         "get_size=echo 16M",
                         "can_write=exit 0",
                         "can_flush=exit 0",
                         pread,
                         pwrite,
                         NULL };

  snprintf (pread, sizeof pread,
            "pread=dd if=%s iflag=skip_bytes,count_bytes skip=$4 count=$3 "
            "2>/dev/null",
            rig->disk);
  snprintf (pwrite, sizeof pwrite,
            "pwrite=if mkdir %s/begun 2>/dev/null; then"
            "  while [ ! -e %s/go ] && kill -0 $PPID; do sleep .01; done;"
            "fi; dd of=%s oflag=seek_bytes seek=$4 conv=notrunc 2>/dev/null",
            rig->dir, rig->dir, rig->disk);
  nbd_rig_make_file (rig->disk, 16 * MIB);
  nbd_rig_serve (rig, args);
}

static bool
exists (struct nbd_rig *rig, const char *name)
{
  char path[100];

  snprintf (path, sizeof path, "%s/%s", rig->dir, name);
  return access (path, F_OK) == 0;
}

/* A write that was sent by a connection that is lost may still be under way in
 * the server when a new connection is there.  Nothing is written there until
 * the old one has come to its end, or the old write could land on a newer one.
 */
NBD_TEST (nothing_is_written_before_the_old_connection_has_ended)
{
  struct nbd_store_options o;
  struct pending write;
  uint8_t byte;
  char go[100];
  int i;

  serve_slow_first_write (rig);
  o = nbd_rig_options (rig);
  nbd_rig_open (rig, &o);
  pending_start (rig, &write, STORE_WRITE, 0, 0, 0xaa);
  UNTIL (exists (rig, "begun"));
  nbd_rig_lose (rig);
  for (i = 0; i < 20; i++) {
    assert_int_equal (nbd_rig_read_start (rig, &byte), 0);
    assert_int_equal (byte, 0);
  }
  assert_false (pending_over (&write));
  snprintf (go, sizeof go, "%s/go", rig->dir);
  nbd_rig_make_file (go, 0);
  assert_int_equal (pending_wait (&write), 0);
  memset (write.buf, 0x55, sizeof write.buf);
  assert_int_equal (store_io (rig->store, STORE_WRITE, 0, 0, write.buf, 512),
                    0);
  assert_int_equal (nbd_rig_read_start (rig, &byte), 0);
  assert_int_equal (byte, 0x55);
}

/* Such a server answers other reads, and ends with that one when the file is
 * there.
 */
static void
let_it_end (struct nbd_rig *rig)
{
  uint8_t byte;

  assert_int_equal (nbd_rig_read_start (rig, &byte), 0);
  nbd_rig_make_file (rig->disk, 0);
  nbd_rig_await_end (rig);
}

NBD_TEST (a_request_that_kills_the_server_is_given_up)
{
  char pread[400];
  const char *args[] = { "eval", "thread_model=echo parallel",
                         "get_size=echo 16M", pread, NULL };
  struct nbd_store_options o;
  struct pending p;
  int i;

  snprintf (pread, sizeof pread,
            "pread=if [ $4 -gt 0 ]; then"
            "  while [ ! -e %s ] && kill -0 $PPID; do sleep .01; done;"
            "  rm %s; kill -9 $PPID;"
            "fi; dd if=/dev/zero bs=$3 count=1 2>/dev/null",
            rig->disk, rig->disk);
  nbd_rig_serve (rig, args);
  o = nbd_rig_options (rig);
  o.readonly = true;
  nbd_rig_open (rig, &o);
  pending_start (rig, &p, STORE_READ, 0, MIB, 0);
  let_it_end (rig);
  for (i = 1; i < 16; i++) {
    nbd_rig_serve (rig, args);
    let_it_end (rig);
  }
  assert_int_equal (pending_wait (&p), -EIO);
  nbd_rig_await_error (rig, "under way, which is given up");
}

/* ----------------------------------------------------------------- outages */

/* On a clock that stands, but for what these tests let pass: a server that is
 * there has all the time it takes to answer.
 */
static void
start_without_time (struct nbd_rig *rig)
{
  struct nbd_store_options o;

  nbd_rig_stop_clock (rig);
  nbd_rig_serve_disk (rig, LOAD_DISK);
  o = nbd_rig_options (rig);
  o.retry = 5 * NSEC_PER_SEC; /* more, and a tick is not an eighth of it */
  nbd_rig_open (rig, &o);
}

/* Let time pass until it is over; returns its error. */
static int
pass_time_until_over (struct nbd_rig *rig, struct pending *p)
{
  while (!pending_over (p)) {
    nbd_rig_tick (rig);
    poll (NULL, 0, 1);
  }
  return pending_wait (p);
}

NBD_TEST (an_outage_longer_than_retry_fails_requests_until_it_is_over)
{
  struct pending write;
  unsigned changed;
  uint8_t byte;

  start_without_time (rig);
  lose_server (rig);
  pending_start (rig, &write, STORE_WRITE, 0, 0, 0xaa);
  assert_int_equal (pass_time_until_over (rig, &write), -EHOSTDOWN);
  nbd_rig_await_error (rig, "requests fail until");
  assert_int_equal (nbd_rig_read_start (rig, &byte), -EHOSTDOWN);
  changed = rig->changed;
  nbd_rig_serve_disk (rig, LOAD_DISK);
  rig->hasten = true;
  UNTIL (rig->changed > changed);
  assert_int_equal (nbd_rig_read_start (rig, &byte), 0);
  assert_int_equal (byte, 0);
}

NBD_TEST (without_retry_requests_fail_at_once)
{
  uint8_t byte;

  start (rig, 0);
  lose_server (rig);
  nbd_rig_await_error (rig, "requests fail until");
  assert_int_equal (nbd_rig_read_start (rig, &byte), -EHOSTDOWN);
}

/* A server that says ESHUTDOWN, as long as the disk's file is there. */
static void
start_shutting_down (struct nbd_rig *rig, uint64_t retry)
{
  char pread[400];
  const char *args[] = { "eval", "thread_model=echo parallel",
                         "get_size=echo 16M", pread, NULL };
  struct nbd_store_options o;

  snprintf (pread, sizeof pread,
            "pread=if [ -e %s ]; then echo ESHUTDOWN x >&2; exit 1; fi;"
            "dd if=/dev/zero bs=$3 count=1 2>/dev/null",
            rig->disk);
  nbd_rig_make_file (rig->disk, 0);
  nbd_rig_serve (rig, args);
  o = nbd_rig_options (rig);
  o.readonly = true;
  o.retry = retry;
  nbd_rig_open (rig, &o);
}

/* For as long as retry says, however often the server says so meanwhile. */
NBD_TEST (a_server_that_shuts_down_is_waited_for)
{
  struct pending read;

  nbd_rig_stop_clock (rig);
  rig->hasten = true;
  start_shutting_down (rig, 3600 * NSEC_PER_SEC);
  pending_start (rig, &read, STORE_READ, 0, 0, 0xee);
  UNTIL (rig->store->losses >= 20);
  assert_false (pending_over (&read));
  unlink (rig->disk);
  assert_int_equal (pending_wait (&read), 0);
  assert_int_equal (read.buf[0], 0);
}

NBD_TEST (a_server_that_shuts_down_for_too_long_is_an_outage)
{
  uint8_t byte;
  int r;

  nbd_rig_stop_clock (rig);
  rig->hasten = true;
  start_shutting_down (rig, 5 * NSEC_PER_SEC);
  assert_int_equal (nbd_rig_read_start (rig, &byte), -ESHUTDOWN);
  unlink (rig->disk);
  UNTIL ((r = nbd_rig_read_start (rig, &byte)) != -ESHUTDOWN);
  assert_int_equal (r, 0);
}

/* Stopped, it neither answers nor closes the connection. */
NBD_TEST (a_server_that_hangs_is_an_outage)
{
  struct pending write;
  unsigned changed;
  uint8_t byte;

  start_without_time (rig);
  assert_int_equal (nbd_rig_read_start (rig, &byte), 0);
  nbd_rig_freeze (rig);
  pending_start (rig, &write, STORE_WRITE, 0, 0, 0xaa);
  assert_int_equal (pass_time_until_over (rig, &write), -EHOSTDOWN);
  assert_int_equal (rig->store->losses, 1);
  nbd_rig_stand_still (rig, 16);
  nbd_rig_await_error (rig, "an old connection does not end");
  changed = rig->changed;
  assert_int_equal (kill (rig->server, SIGCONT), 0);
  rig->hasten = true;
  UNTIL (rig->changed > changed);
  UNTIL (nbd_rig_read_start (rig, &byte) == 0);
}

/* ------------------------------------------------------------- another export */

NBD_TEST (an_export_of_another_size_is_not_used)
{
  struct pending write;

  start (rig, 3600 * NSEC_PER_SEC);
  lose_server (rig);
  pending_start (rig, &write, STORE_WRITE, 0, 0, 0xaa);
  nbd_rig_serve_disk (rig, MIB);
  nbd_rig_await_error (rig, "it had 16777216 bytes, and now has 1048576");
  assert_false (pending_over (&write));
  nbd_rig_kill (rig, SIGKILL);
  nbd_rig_serve_disk (rig, LOAD_DISK);
  assert_int_equal (pending_wait (&write), 0);
}

NBD_TEST (an_export_with_other_flags_is_not_used)
{
  const char *args[] = { "-r", "file", NULL, NULL };
  struct pending write;

  start (rig, 3600 * NSEC_PER_SEC);
  lose_server (rig);
  pending_start (rig, &write, STORE_WRITE, 0, 0, 0xaa);
  args[2] = rig->disk;
  nbd_rig_serve (rig, args);
  nbd_rig_await_error (rig, "it was not read-only, and now is read-only");
  nbd_rig_kill (rig, SIGKILL);
  nbd_rig_serve_disk (rig, LOAD_DISK);
  assert_int_equal (pending_wait (&write), 0);
}

/* ------------------------------------------------------------------- the end */

NBD_TEST (a_store_that_is_down_can_be_closed)
{
  start (rig, 3600 * NSEC_PER_SEC);
  lose_server (rig);
}

/* The sockets do not end and the connector gets no answer. */
NBD_TEST (a_store_that_hangs_can_be_closed)
{
  struct pending read;
  uint8_t byte;

  start_without_time (rig);
  assert_int_equal (nbd_rig_read_start (rig, &byte), 0);
  nbd_rig_freeze (rig);
  pending_start (rig, &read, STORE_READ, 0, 0, 0);
  assert_int_equal (pass_time_until_over (rig, &read), -EHOSTDOWN);
  UNTIL (rig->store->losses == 1);
}

RUN_TESTS ()
