/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The NBD store's connections: which export is taken for the same as before, and
 * for how long a server is listened to.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fs/nbd/export.h"
#include "fs/nbd/handle.h"
#include "fs/nbd/state.h"
#include "tests/unit/nbd-rig.h"
#include "tests/unit/test.h"

/* ------------------------------------------------------- an export comes back */

static const struct export_facts all = {
  .size = MIB,
  .min_block = 1,
  .max_block = MAX_PAYLOAD,
  .flush = true,
  .fua = true,
  .zero = true,
  .multi_conn = true,
  .extents = true,
};
static const struct export_facts least = {
  .size = MIB,
  .min_block = 512,
  .max_block = MIB,
  .readonly = true,
};

static void
taken (const struct nbd_store *nbd, struct export_facts now)
{
  char why[WHY_MAX] = "";

  if (!export_fits (&nbd->facts, nbd->store.geo.readonly, &now, why))
    fail_msg ("%s", why);
}

static void
refused (const struct nbd_store *nbd, struct export_facts now,
         const char *reason)
{
  char why[WHY_MAX] = "";

  assert_false (export_fits (&nbd->facts, nbd->store.geo.readonly, &now, why));
  if (strstr (why, reason) == NULL)
    fail_msg ("%s", why);
}

TEST (more_than_before_is_no_obstacle)
{
  struct nbd_store nbd = { .facts = least, .connections = 1 };

  taken (&nbd, least);
  taken (&nbd, all);
  nbd.store.geo.readonly = true;
  taken (&nbd, all);
}

TEST (less_than_before_is_refused)
{
  const struct nbd_store nbd = { .facts = all, .connections = 4 };
  struct export_facts now;

  taken (&nbd, all);
#define REFUSED(field, value, reason)                                          \
  (now = all, now.field = (value), refused (&nbd, now, reason))
  REFUSED (readonly, true, "read-only");
  REFUSED (flush, false, "flush");
  REFUSED (zero, false, "able to zero");
  REFUSED (size, MIB / 2, "had 1048576 bytes, and now has 524288");
  REFUSED (min_block, 1024, "requests of 1 bytes or multiples, and now takes");
  REFUSED (max_block, 2048, "now takes up to 2048; at least 4096");
}

/* It is asked for less, then, or in another way. */
TEST (what_makes_no_more_difference_than_time_may_be_lost)
{
  struct nbd_store nbd = { .facts = all, .connections = 4 };
  struct export_facts now;

#define TAKEN(field, value) (now = all, now.field = (value), taken (&nbd, now))
  TAKEN (fua, false);
  TAKEN (multi_conn, false);
  TAKEN (extents, false);
  TAKEN (rotational, true);
  TAKEN (max_block, 4096);
  TAKEN (min_block, 512);
  /* One that cannot flush is written to with FUA. */
  nbd.facts.flush = false;
  TAKEN (fua, false);
  now.flush = false;
  refused (&nbd, now, "able to do FUA");
}

TEST (what_is_not_used_may_be_lost)
{
  struct nbd_store nbd = { .facts = all, .connections = 1 };
  struct export_facts now = all;

  now = least;
  now.max_block = MAX_PAYLOAD;
  refused (&nbd, now, "read-only");
  nbd.store.geo.readonly = true;
  taken (&nbd, now);
}

/* What is behind what it was is not used. */
TEST (a_larger_one_is_taken)
{
  struct nbd_store nbd = { .facts = all, .connections = 1 };
  struct export_facts now = all;

  now.size = MIB + 512;
  taken (&nbd, now);
  nbd.facts.min_block = 4096;
  now.size = MIB + 100;
  taken (&nbd, now);
  nbd.store.geo.readonly = true;
  now.size = MIB + 4096;
  taken (&nbd, now);
  now.size = MIB - 1;
  refused (&nbd, now, "had 1048576 bytes, and now has 1048575");
}

/* Its last part could not be written. */
TEST (larger_blocks_have_to_fit_the_size)
{
  struct nbd_store nbd = { .facts = all, .connections = 1 };
  struct export_facts now = all;

  nbd.facts.size = MIB + 100;
  now.size = 2 * MIB;
  now.min_block = 4;
  taken (&nbd, now);
  now.min_block = 512;
  refused (&nbd, now, "512 or multiples");
}

TEST (two_connections_have_what_both_have)
{
  struct export_facts facts = all;

  export_join (&facts, &least);
  assert_memory_equal (
    &facts,
    (&(struct export_facts) {
      .size = MIB, .min_block = 512, .max_block = MIB, .readonly = true }),
    sizeof facts);
  facts = least;
  facts.size = MIB / 2;
  facts.tail = 100;
  export_join (&facts, &all);
  assert_true (facts.size == MIB / 2 && facts.tail == 100);
  assert_false (facts.flush || facts.zero || facts.multi_conn);
}

/* ------------------------------------------------------------- a server of ours */

/* It takes one client, on 127.0.0.1. */
struct server {
  int listener;
  bool early;        /* it answers all before it is asked */
  _Atomic bool talk; /* it may begin to */
  _Atomic bool said; /* it has */
  pthread_t thread;
};

static void
send_all (int fd, const void *data, size_t length)
{
  const char *p = data;
  ssize_t n;

  for (; length; p += n, length -= n) {
    n = send (fd, p, length, MSG_NOSIGNAL);
    if (n <= 0)
      return;
  }
}

static void
send_reply (int fd, uint32_t option, uint32_t type, const void *data,
            uint32_t length)
{
  uint32_t head[5] = { htonl (0x0003e889), htonl (0x045565a9), htonl (option),
                       htonl (type), htonl (length) };

  send_all (fd, head, sizeof head);
  send_all (fd, data, length);
}

static bool
receive (int fd, void *data, size_t length)
{
  return length == 0 ||
         recv (fd, data, length, MSG_WAITALL) == (ssize_t) length;
}

#define OPT_GO 7
#define OPT_STRUCTURED_REPLY 8
#define REP_ACK 1
#define REP_INFO 3
#define REP_UNSUP 0x80000001

static void
answer (int fd, uint32_t option)
{
  static const uint8_t export[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 1 };

  if (option != OPT_GO) {
    send_reply (fd, option, REP_UNSUP, NULL, 0);
    return;
  }
  send_reply (fd, OPT_GO, REP_INFO, export, sizeof export);
  send_reply (fd, OPT_GO, REP_ACK, NULL, 0);
}

static void *
serve (void *opaque)
{
  static const char greeting[18] = "NBDMAGICIHAVEOPT\0\3";
  struct server *server = opaque;
  int fd = accept (server->listener, NULL, NULL);
  uint8_t flags[4], data[4096];
  uint32_t head[4];

  if (server->early)
    UNTIL (atomic_load (&server->talk));
  send_all (fd, greeting, sizeof greeting);
  if (server->early) {
    answer (fd, OPT_STRUCTURED_REPLY);
    answer (fd, OPT_GO);
    atomic_store (&server->said, true);
  }
  if (receive (fd, flags, sizeof flags)) {
    while (receive (fd, head, sizeof head) &&
           receive (fd, data, ntohl (head[3]))) {
      if (!server->early)
        answer (fd, ntohl (head[2]));
    }
  }
  close (fd);
  return NULL;
}

static void
start_server (struct server *server, struct nbd_rig *rig)
{
  struct sockaddr_in sin = { .sin_family = AF_INET,
                             .sin_addr.s_addr = htonl (INADDR_LOOPBACK) };
  socklen_t len = sizeof sin;

  server->listener = socket (AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_true (server->listener >= 0);
  assert_int_equal (
    bind (server->listener, (struct sockaddr *) &sin, sizeof sin), 0);
  assert_int_equal (listen (server->listener, 1), 0);
  assert_int_equal (
    getsockname (server->listener, (struct sockaddr *) &sin, &len), 0);
  snprintf (rig->uri, sizeof rig->uri, "nbd://127.0.0.1:%u",
            ntohs (sin.sin_port));
  assert_int_equal (pthread_create (&server->thread, NULL, serve, server), 0);
}

static void
end_server (struct server *server)
{
  pthread_join (server->thread, NULL);
  close (server->listener);
}

static int
option_of (int fd, int level, int name)
{
  int value = -1;
  socklen_t len = sizeof value;

  assert_int_equal (getsockopt (fd, level, name, &value, &len), 0);
  return value;
}

/* A dead host is; a live one that does not read for long keeps its connection. */
NBD_TEST (a_silent_host_is_asked_whether_it_lives)
{
  struct server server = { .early = false };
  struct nbd_handle *handle;
  char why[WHY_MAX] = "";
  int fd;

  nbd_rig_stop_clock (rig);
  start_server (&server, rig);
  if (handle_connect (&rig->env, rig->uri,
                      rig->env.now (&rig->env) + CONNECT_TIMEOUT, -1, &handle,
                      why) < 0)
    fail_msg ("%s", why);
  fd = nbd_aio_get_fd (handle);
  assert_true (option_of (fd, SOL_SOCKET, SO_KEEPALIVE));
  assert_true (option_of (fd, IPPROTO_TCP, TCP_KEEPIDLE) +
                 option_of (fd, IPPROTO_TCP, TCP_KEEPCNT) *
                   option_of (fd, IPPROTO_TCP, TCP_KEEPINTVL) <=
               30);
  assert_int_equal (option_of (fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 0);
  nbd_close (handle);
  end_server (&server);
}

static struct server *talker;

/* It is too late from the second time on that it is asked, when all comes at once:
 * not before, or libnbd would have read it as it connected.
 */
static uint64_t
late_now (struct env *env)
{
  struct nbd_rig *rig = (struct nbd_rig *) env;
  uint64_t now = atomic_fetch_add (&rig->clock, NSEC_PER_SEC);

  if (now > 0) {
    atomic_store (&talker->talk, true);
    UNTIL (atomic_load (&talker->said));
  }
  return now;
}

NBD_TEST (a_server_that_talks_is_not_listened_to_for_ever)
{
  struct server server = { .early = true };
  struct nbd_handle *handle;
  char why[WHY_MAX] = "";

  talker = &server;
  start_server (&server, rig);
  rig->env.now = late_now;
  assert_int_equal (
    handle_connect (&rig->env, rig->uri, NSEC_PER_SEC, -1, &handle, why),
    -ETIMEDOUT);
  assert_string_equal (why, "no answer within 1 seconds");
  end_server (&server);
}

RUN_TESTS ()
