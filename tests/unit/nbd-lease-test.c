/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The NBD store when its lease has ended: what was under way is not sent again, and what
 * libnbd had not sent yet, before the lease is renewed.  The store's clock stands.
 */

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "tests/unit/nbd-server.h"
#include "tests/unit/test.h"

#define LEASE_TEST(name, choke)                                                \
  TEST_WITH (name, struct server *server, nbd_server_start (choke),            \
             nbd_server_finish)

static _Atomic unsigned asked;

static void
count_asked (void *opaque)
{
  (void) opaque;
  atomic_fetch_add (&asked, 1);
}

/* It ends so long (ns) from now. */
static void
lend (struct server *server, uint64_t ns)
{
  struct store_lease *lease = &server->rig.store->lease;
  struct env *env = &server->rig.env;

  lease->ask = count_asked;
  atomic_store (&lease->until, env->now (env) + ns);
}

static void
renew (struct server *server)
{
  struct store *store = server->rig.store;

  lend (server, 3600 * NSEC_PER_SEC);
  store->ops->resume (store, 0);
}

/* A write that the first client has sent, of a session that is lost after the lease's
 * end, and on whose connection it is not waited for any more.
 */
static void
lose_write (struct server *server, struct pending *write)
{
  atomic_store (&asked, 0);
  pending_start (&server->rig, write, STORE_WRITE, 0, 0, 0xaa);
  UNTIL (server->clients[0].writes == 1);
  lend (server, 0);
  nbd_rig_lose (&server->rig);
  nbd_server_answer (&server->clients[0]);
  UNTIL (asked > 0);
  assert_int_equal (server->clients[1].writes, 0);
  assert_false (pending_over (write));
}

LEASE_TEST (what_was_under_way_is_not_sent_again, false)
{
  struct pending write;

  lose_write (server, &write);
  renew (server);
  UNTIL (server->clients[1].writes == 1);
  nbd_server_answer (&server->clients[1]);
  assert_int_equal (pending_wait (&write), 0);
}

LEASE_TEST (it_fails_if_the_lease_is_lost, false)
{
  struct store *store = server->rig.store;
  struct pending write;

  lose_write (server, &write);
  store->ops->resume (store, -EBUSY);
  assert_int_equal (pending_wait (&write), -EBUSY);
  assert_int_equal (server->clients[1].writes, 0);
}

LEASE_TEST (what_comes_waits_for_the_lease, false)
{
  struct pending write;

  atomic_store (&asked, 0);
  lend (server, 0);
  pending_start (&server->rig, &write, STORE_WRITE, 0, 0, 0xaa);
  UNTIL (asked > 0); /* there is a session */
  assert_int_equal (server->clients[0].writes, 0);
  renew (server);
  UNTIL (server->clients[0].writes == 1);
  nbd_server_answer (&server->clients[0]);
  assert_int_equal (pending_wait (&write), 0);
}

/* A write of more than a socket takes. */
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

/* We are stopped for three seconds, and the lease ends in the first. */
LEASE_TEST (what_is_not_sent_yet_is_not_sent_after_its_end, true)
{
  struct client *old = &server->clients[0];
  struct pending write;
  struct much much;
  int unread;

  lend (server, NSEC_PER_SEC);
  pending_start (&server->rig, &write, STORE_WRITE, 0, 0, 0xaa);
  UNTIL (old->writes == 1);
  start_much (server, &much);
  nbd_rig_tick (&server->rig);
  nbd_rig_tick (&server->rig);
  nbd_rig_stand_still (&server->rig, 3 * NSEC_PER_SEC / server->rig.tick);
  nbd_rig_await_error (&server->rig, "connected again");
  atomic_store (&old->read_on, true);
  UNTIL (ioctl (old->fd, FIONREAD, &unread) == 0 && unread == 0);
  assert_int_equal (old->writes, 1);
  nbd_server_answer (old);
  nbd_rig_tick (&server->rig);
  nbd_rig_stand_still (&server->rig, 3 * NSEC_PER_SEC / server->rig.tick);
  renew (server);
  UNTIL (server->n == 2 && server->clients[1].writes == 2);
  nbd_server_answer (&server->clients[1]);
  assert_int_equal (pending_wait (&write), 0);
  UNTIL (much.over);
  assert_int_equal (server->too_early, 0);
  free (much.iov.iov_base);
}

RUN_TESTS ()
