/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The NBD store drains the connections of a session that was lost, of a server
 * that may close a connection as soon as it reads an end of file, with writes
 * still to be made.  It is a thread of the test's, which says when it answers.
 * The store's clock stands.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "fs/nbd/state.h"
#include "tests/unit/nbd-server.h"
#include "tests/unit/test.h"

/* -------------------------------------------------------------------- the tests */

/* A write that the first client of the server has sent. */
static void
start_write (struct server *server, struct pending *write)
{
  pending_start (&server->rig, write, STORE_WRITE, 0, 0, 0xaa);
  UNTIL (server->clients[0].writes == 1);
}

/* Nothing is written by the new connection, but it is there and answers. */
static void
check_held (struct server *server, struct pending *write)
{
  uint8_t byte;
  int i;

  for (i = 0; i < 3; i++)
    assert_int_equal (nbd_rig_read_start (&server->rig, &byte), 0);
  assert_int_equal (server->n, 2);
  assert_int_equal (server->clients[1].writes, 0);
  assert_false (pending_over (write));
}

/* It goes again, by the new connection, and that answer counts. */
static void
check_goes (struct server *server, struct pending *write)
{
  UNTIL (server->clients[1].writes == 1);
  assert_false (pending_over (write));
  nbd_server_answer (&server->clients[1]);
  assert_int_equal (pending_wait (write), 0);
  assert_int_equal (server->too_early, 0);
}

/* A second, the shortest patience there is, passes.  Only a store that has had a
 * tick before notices that nothing moved.
 */
static void
check_given_up (struct server *server)
{
  nbd_rig_tick (&server->rig);
  nbd_rig_tick (&server->rig);
  nbd_rig_stand_still (&server->rig, 200);
  nbd_rig_await_error (&server->rig, "an old connection does not end");
}

#define DRAIN_TEST(name)                                                       \
  TEST_WITH (name, struct server *server, nbd_server_start (false),            \
             nbd_server_finish)

DRAIN_TEST (an_old_write_is_waited_for_until_it_is_answered)
{
  struct pending write;

  start_write (server, &write);
  nbd_rig_lose (&server->rig);
  assert_true (nbd_server_open_for_more (&server->clients[0]));
  check_held (server, &write);
  assert_true (nbd_server_open_for_more (&server->clients[0]));
  nbd_server_answer (&server->clients[0]);
  check_goes (server, &write);
}

DRAIN_TEST (an_old_write_is_waited_for_until_the_server_hangs_up)
{
  struct pending write;

  start_write (server, &write);
  nbd_rig_lose (&server->rig);
  check_held (server, &write);
  atomic_store (&server->busy, false);
  shutdown (server->clients[0].fd, SHUT_RDWR);
  check_goes (server, &write);
}

/* Or for so long. */
DRAIN_TEST (an_old_write_that_is_not_answered_is_told_of)
{
  struct pending write;

  start_write (server, &write);
  nbd_rig_lose (&server->rig);
  check_held (server, &write);
  atomic_store (&server->busy, false);
  check_given_up (server);
  check_goes (server, &write);
}

/* The read goes again at once.  What the old connection brings for it comes too
 * late, and its memory may be another's.
 */
DRAIN_TEST (an_old_answer_to_a_read_is_thrown_away)
{
  struct client *old = &server->clients[0];
  struct pending write, read;

  start_write (server, &write);
  pending_start (&server->rig, &read, STORE_READ, 0, MIB, 0xee);
  UNTIL (old->reads == 1);
  nbd_rig_lose (&server->rig);
  assert_int_equal (pending_wait (&read), 0);
  assert_true (nbd_server_open_for_more (old));
  memset (read.buf, 0x77, sizeof read.buf);
  nbd_server_reply (old, &old->read, 0x55);
  nbd_server_answer (old);
  check_held (server, &write);
  shutdown (old->fd, SHUT_RDWR);
  check_goes (server, &write);
  assert_int_equal (read.buf[0], 0x77);
}

DRAIN_TEST (old_reads_are_not_waited_for)
{
  struct pending write, read;

  pending_start (&server->rig, &read, STORE_READ, 0, MIB, 0xee);
  UNTIL (server->clients[0].reads == 1);
  nbd_rig_lose (&server->rig);
  assert_int_equal (pending_wait (&read), 0);
  pending_start (&server->rig, &write, STORE_WRITE, 0, 0, 0xaa);
  check_goes (server, &write);
}

struct much {
  struct store_req req; /* first */
  struct iovec iov;
  _Atomic bool over;
};

static void
much_done (struct store_req *req, int error)
{
  struct much *much = (struct much *) req;

  assert_int_equal (error, 0);
  atomic_store (&much->over, true);
}

static void
start_much (struct server *server, struct much *much)
{
  struct store_req *reqs[] = { &much->req };

  *much = (struct much) { .iov = { calloc (1, MUCH), MUCH } };
  much->req = (struct store_req) { .op = STORE_WRITE,
                                   .offset = MIB,
                                   .length = MUCH,
                                   .iov = &much->iov,
                                   .niov = 1,
                                   .done = much_done };
  assert_non_null (much->iov.iov_base);
  server->rig.store->ops->submit (server->rig.store, reqs, 1);
}

/* The message that was cut is never complete; but the one before it was, and the
 * end of a message that is cut would have the server close the connection.
 */
TEST_WITH (a_message_that_is_cut_has_no_end, struct server *server,
           nbd_server_start (true), nbd_server_finish)
{
  struct client *old = &server->clients[0];
  struct much much;
  struct pending write;
  int unread;

  start_write (server, &write);
  start_much (server, &much);
  nbd_rig_lose (&server->rig);
  atomic_store (&old->read_on, true);
  UNTIL (ioctl (old->fd, FIONREAD, &unread) == 0 && unread == 0);
  assert_true (nbd_server_open_for_more (old));
  assert_int_equal (old->writes, 1);
  nbd_server_answer (old);
  check_held (server, &write);
  check_given_up (server);
  UNTIL (server->clients[1].writes == 2);
  nbd_server_answer (&server->clients[1]);
  assert_int_equal (pending_wait (&write), 0);
  UNTIL (much.over);
  assert_int_equal (server->too_early, 0);
  free (much.iov.iov_base);
}

RUN_TESTS ()
