/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The inside of the control socket, for plugin/control/ only.
 */

#ifndef FOLIO_CONTROL_SERVER_H
#define FOLIO_CONTROL_SERVER_H

#include <pthread.h>
#include <stdatomic.h>

#include "plugin/control/client.h"
#include "plugin/control/control.h"
#include "plugin/disk.h"

#define MAX_CLIENTS 16

struct control {
  int fd;   /* listens */
  int wake; /* an eventfd */
  struct env *env;
  struct config *config;
  struct disk *disk;
  pthread_t thread;
  _Atomic bool stop;

  /* The thread's. */
  struct client *clients[MAX_CLIENTS]; /* the first n */
  unsigned n;
  uint64_t started; /* ns */
};

/* One command being run. */
struct call {
  struct control *control;
  struct client *client;
  json_t *arguments; /* an object; or NULL, if there are none */
  json_t *id;        /* or NULL */
  json_t *error;     /* set instead of a result */
};

/* Have the call fail: returns NULL. */
extern json_t *call_refuse (struct call *call, const char *class,
                            const char *fmt, ...)
  __attribute__ ((format (printf, 3, 4)));

/* --- commands.c --- */

/* Run one line of a client's, and answer it. */
extern void command_line (struct control *control, struct client *client,
                          const char *line, size_t size);

/* --- query.c: what is now --- */

extern json_t *query_status (struct call *call);
extern json_t *query_disks (struct call *call);
extern json_t *query_stats (struct call *call);

#endif /* FOLIO_CONTROL_SERVER_H */
