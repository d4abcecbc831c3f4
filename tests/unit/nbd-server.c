/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * See nbd-server.h.
 */

#include <endian.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/unit/nbd-server.h"
#include "tests/unit/test.h"

/* The protocol's. */
#define MAX_OPTION 4096u
#define OPTION_GO 7u
#define REPLY_ACK 1u
#define REPLY_INFO 3u
#define REPLY_UNSUPPORTED 0x80000001u
#define EXPORT_FLAGS 5u /* has flags, can flush */
#define REQUEST_MAGIC 0x25609513u
#define SIMPLE_MAGIC 0x67446698u

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

struct simple_reply {
  uint32_t magic, error;
  uint64_t cookie;
} __attribute__ ((packed));

enum { READ, WRITE, DISCONNECT, FLUSH };

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

void
nbd_server_reply (struct client *client, const struct request *r, int byte)
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
    nbd_server_reply (client, &r, 0);
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
void
nbd_server_answer (struct client *client)
{
  unsigned i;

  if (is_first (client))
    atomic_store (&client->server->busy, false);
  for (i = 0; i < client->writes; i++)
    nbd_server_reply (client, &client->write[i], 0);
}

bool
nbd_server_open_for_more (const struct client *client)
{
  char c;

  return recv (client->fd, &c, 1, MSG_PEEK | MSG_DONTWAIT) < 0 &&
         errno == EAGAIN;
}

struct server *
nbd_server_start (bool choke)
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

void
nbd_server_finish (struct server *server)
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
