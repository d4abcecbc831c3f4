/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A server of NBD, a thread of the test's, that answers writes when it is told to.  The
 * store that it serves has a clock that stands.
 */

#ifndef NBD_SERVER_H
#define NBD_SERVER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "tests/unit/nbd-rig.h"

#define MAX_CLIENTS 4
#define MAX_HELD 4
#define DISK (16 * MIB)

/* More than a socket takes. */
#define MUCH (4 * MIB)

struct request {
  uint32_t magic;
  uint16_t flags, command;
  uint64_t cookie, offset;
  uint32_t length;
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

/* Writes are answered by nbd_server_answer () only, and so are reads but for those at the
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

/* Serve, and open a store on that, with a clock that stands and the shortest patience
 * there is.  choke: the first client is not read from after its first write.
 */
extern struct server *nbd_server_start (bool choke);
extern void nbd_server_finish (struct server *server);

/* Answer the writes that are held back. */
extern void nbd_server_answer (struct client *client);

/* Answer a request, a read with memory full of that byte. */
extern void nbd_server_reply (struct client *client, const struct request *r,
                              int byte);

/* The client has not shut down its side: there could still be more to read. */
extern bool nbd_server_open_for_more (const struct client *client);

#endif /* NBD_SERVER_H */
