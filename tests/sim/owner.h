/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Servers that want one thin image, their machines, and the store that they share.
 */

#ifndef SIM_OWNER_H
#define SIM_OWNER_H

#include "fs/store-queue.h"
#include "fs/thin/owner.h"
#include "model-world.h"

#define SERVERS 3

struct server;

/* A server from its start to its end; its store. */
struct life {
  struct store store; /* first */
  struct server *server;
  struct store_queue queue;
  struct thin_owner owner;
  _Atomic uint32_t bell;
  bool over; /* nothing is asked of it any more */
  bool dead; /* it has crashed */
  bool has;  /* it has taken it */
  bool lost; /* another has taken it since */
  bool loop_running;
};

/* A machine, with its clock. */
struct server {
  struct env env; /* first */
  struct round *round;
  struct life life;
  uint64_t until;     /* it stands still */
  uint64_t suspended; /* ns: by which its clock is late */
  unsigned taken, refused, lost;
};

struct round {
  struct world *world;
  struct server servers[SERVERS];
  struct life *owner;
  uint8_t owner_block[THIN_BLOCK];
  bool calm;        /* nobody is stopped, and none crashes */
  uint64_t latency; /* ns, the usual one */
  unsigned running; /* servers */
};

/* Up to half a minute, ns. */
extern uint64_t owner_time (struct world *w);

/* The clock of a machine, and the store's operations; the rest of both is set. */
extern void owner_env_init (struct env *env);
extern void owner_store_init (struct life *life);

/* What is not sent yet never is. */
extern void owner_crash (struct life *life);

#endif /* SIM_OWNER_H */
