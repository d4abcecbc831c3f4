/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The NBD store drains the connections of a session that was lost, of a server
 * that may close a connection as soon as it reads an end of file, with writes
 * still to be made.  It is a thread of the test's, which says when it answers.
 * The store's clock stands.
 */

#include <endian.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "fs/nbd/state.h"
#include "tests/unit/nbd-rig.h"
#include "tests/unit/test.h"

#define MAX_CLIENTS 4
#define MAX_HELD 4
#define DISK (16 * MIB)

/* More than a socket takes. */
#define MUCH (4 * MIB)

/* The protocol's. */
#define MAX_OPTION 4096u
#define OPTION_GO 7u
#define REPLY_ACK 1u
#define REPLY_INFO 3u
#define REPLY_UNSUPPORTED 0x80000001u
#define EXPORT_FLAGS 5u /* has flags, can flush */
#define REQUEST_MAGIC 0x25609513u
#define SIMPLE_MAGIC 0x67446698u

enum { READ, WRITE, DISCONNECT, FLUSH };

struct option {
  uint64_t magic;
  uint32_t option, length;
} __attribute__ ((packed));

struct option_reply {
  uint64_t magic;
  uint32_t option, type, length;
} __attribute__ ((packed));

struct export_info {
  uint16_t type;
  uint64_t size;
  uint16_t flags;
} __attribute__ ((packed));

struct request {
  uint32_t magic;
  uint16_t flags, command;
  uint64_t cookie, offset;
  uint32_t length;
} __attribute__ ((packed));

struct simple_reply {
  uint32_t magic, error;
  uint64_t cookie;
} __attribute__ ((packed));

struct client {
  struct server *server;
  int fd;
  pthread_t thread;
  char payload[MUCH];
  struct request write[MAX_HELD], read; /* held back */
  _Atomic unsigned writes, reads;
  _Atomic bool read_on; /* it is to be read from after the first write */
};

/* Writes are answered by answer () only, and so are reads but for those at the
 * start.
 */
struct server {
  struct nbd_rig rig; /* first */
  int fd;
  pthread_t thread;
  struct client clients[MAX_CLIENTS];
  _Atomic unsigned n;
  _Atomic bool busy;          /* a write of the first client is not answered */
  _Atomic unsigned too_early; /* writes of others meanwhile */
  bool choke;                 /* the first one is not read from for a while */
};

/* --------------------------------------------------------------- the protocol */

static bool
take (struct client *client, void *buf, size_t length)
{
  return length == 0 ||
         recv (client->fd, buf, length, MSG_WAITALL) == (ssize_t) length;
}

static void
give (struct client *client, const void *buf, size_t length)
{
  (void) !send (client->fd, buf, length, MSG_NOSIGNAL);
}

static void
reply_option (struct client *client, uint32_t option, uint32_t type,
              const void *payload, uint32_t length)
{
  struct option_reply reply = { htobe64 (0x3e889045565a9), htobe32 (option),
                                htobe32 (type), htobe32 (length) };

  give (client, &reply, sizeof reply);
  give (client, payload, length);
}

static bool
shake_hands (struct client *client)
{
  static const char greeting[18] = "NBDMAGICIHAVEOPT\0\3";
  const struct export_info info = { 0, htobe64 (DISK), htobe16 (EXPORT_FLAGS) };
  char buf[MAX_OPTION];
  struct option o;
  uint32_t flags, length;

  give (client, greeting, sizeof greeting);
  if (!take (client, &flags, sizeof flags))
    return false;
  while (take (client, &o, sizeof o)) {
    length = be32toh (o.length);
    o.option = be32toh (o.option);
    if (length > sizeof buf || !take (client, buf, length))
      return false;
    if (o.option == OPTION_GO) {
      reply_option (client, o.option, REPLY_INFO, &info, sizeof info);
      reply_option (client, o.option, REPLY_ACK, NULL, 0);
      return true;
    }
    reply_option (client, o.option, REPLY_UNSUPPORTED, NULL, 0);
  }
  return false;
}

static void
reply_to (struct client *client, const struct request *r, int byte)
{
  struct simple_reply reply = { htobe32 (SIMPLE_MAGIC), 0, r->cookie };
  char data[512];

  give (client, &reply, sizeof reply);
  memset (data, byte, sizeof data);
  if (be16toh (r->command) == READ)
    give (client, data, be32toh (r->length));
}

/* ------------------------------------------------------------------ the server */

static bool
is_first (const struct client *client)
{
  return client == &client->server->clients[0];
}

static void
on_write (struct client *client, const struct request *r)
{
  struct server *server = client->server;

  if (is_first (client))
    atomic_store (&server->busy, true);
  else if (atomic_load (&server->busy))
    atomic_fetch_add (&server->too_early, 1);
  client->write[client->writes] = *r;
  atomic_fetch_add (&client->writes, 1);
  while (is_first (client) && server->choke && !client->read_on)
    sched_yield ();
}

/* Returns false at the end. */
static bool
serve_one (struct client *client)
{
  struct request r;
  uint16_t command;

  if (!take (client, &r, sizeof r))
    return false;
  command = be16toh (r.command);
  if (be32toh (r.magic) != REQUEST_MAGIC || command == DISCONNECT)
    return false;
  if (command == WRITE) {
    if (be32toh (r.length) > MUCH || client->writes == MAX_HELD ||
        !take (client, client->payload, be32toh (r.length)))
      return false;
    on_write (client, &r);
  }
  else if (command == READ && r.offset != 0 && is_first (client)) {
    client->read = r;
    atomic_fetch_add (&client->reads, 1);
  }
  else
    reply_to (client, &r, 0);
  return true;
}

/* At the end it hangs up at once, whatever it has not done yet. */
static void *
serve_client (void *opaque)
{
  struct client *client = opaque;

  if (shake_hands (client))
    while (serve_one (client))
      ;
  shutdown (client->fd, SHUT_RDWR);
  return NULL;
}

static void *
serve (void *opaque)
{
  struct server *server = opaque;
  struct client *client;
  int fd;

  while (server->n < MAX_CLIENTS &&
         (fd = accept (server->fd, NULL, NULL)) >= 0) {
    client = &server->clients[server->n];
    client->server = server;
    client->fd = fd;
    atomic_fetch_add (&server->n, 1);
    pthread_create (&client->thread, NULL, serve_client, client);
  }
  return NULL;
}

/* The writes that are held back are made only now. */
static void
answer (struct client *client)
{
  unsigned i;

  if (is_first (client))
    atomic_store (&client->server->busy, false);
  for (i = 0; i < client->writes; i++)
    reply_to (client, &client->write[i], 0);
}

/* The client has not shut down its side: there could still be more to read. */
static bool
open_for_more (const struct client *client)
{
  char c;

  return recv (client->fd, &c, 1, MSG_PEEK | MSG_DONTWAIT) < 0 &&
         errno == EAGAIN;
}

static struct server *
start (bool choke)
{
  struct server *server = calloc (1, sizeof *server);
  struct sockaddr_un address = { .sun_family = AF_UNIX };
  struct nbd_store_options o;

  assert_non_null (server);
  nbd_rig_init (&server->rig);
  nbd_rig_stop_clock (&server->rig);
  server->choke = choke;
  server->fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  strcpy (address.sun_path, server->rig.socket);
  assert_int_equal (
    bind (server->fd, (struct sockaddr *) &address, sizeof address), 0);
  assert_int_equal (listen (server->fd, MAX_CLIENTS), 0);
  assert_int_equal (pthread_create (&server->thread, NULL, serve, server), 0);
  o = nbd_rig_options (&server->rig);
  o.retry = 40 * NSEC_PER_MSEC; /* the shortest ticks there are */
  nbd_rig_open (&server->rig, &o);
  return server;
}

static void
finish (struct server *server)
{
  unsigned i;

  nbd_rig_close (&server->rig);
  shutdown (server->fd, SHUT_RDWR);
  pthread_join (server->thread, NULL);
  for (i = 0; i < server->n; i++) {
    shutdown (server->clients[i].fd, SHUT_RDWR);
    pthread_join (server->clients[i].thread, NULL);
    close (server->clients[i].fd);
  }
  close (server->fd);
  nbd_rig_exit (&server->rig);
  free (server);
}

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
  answer (&server->clients[1]);
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
  TEST_WITH (name, struct server *server, start (false), finish)

DRAIN_TEST (an_old_write_is_waited_for_until_it_is_answered)
{
  struct pending write;

  start_write (server, &write);
  nbd_rig_lose (&server->rig);
  assert_true (open_for_more (&server->clients[0]));
  check_held (server, &write);
  assert_true (open_for_more (&server->clients[0]));
  answer (&server->clients[0]);
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
  assert_true (open_for_more (old));
  memset (read.buf, 0x77, sizeof read.buf);
  reply_to (old, &old->read, 0x55);
  answer (old);
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
           start (true), finish)
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
  assert_true (open_for_more (old));
  assert_int_equal (old->writes, 1);
  answer (old);
  check_held (server, &write);
  check_given_up (server);
  UNTIL (server->clients[1].writes == 2);
  answer (&server->clients[1]);
  assert_int_equal (pending_wait (&write), 0);
  UNTIL (much.over);
  assert_int_equal (server->too_early, 0);
  free (much.iov.iov_base);
}

RUN_TESTS ()
