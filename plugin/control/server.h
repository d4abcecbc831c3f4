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
#define MAX_JOBS 4

struct job;

/* Write-back is paused for a client, or (NULL) not, until then (ns). */
struct pause {
  struct client *client;
  uint64_t until;
};

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
  uint64_t started;           /* ns */
  uint64_t accept_at;         /* ns, not before then */
  struct job *jobs[MAX_JOBS]; /* or NULL */
  struct pause pause;
  uint64_t io_depth; /* that the server was started with */
};

/* One command being run. */
struct call {
  struct control *control;
  struct client *client;
  json_t *arguments; /* an object; or NULL, if there are none */
  json_t *id;        /* or NULL */
  json_t *error;     /* set instead of a result; */
  bool later;        /* or a long command has begun, which answers at its end */
};

/* Have the call fail: returns NULL. */
extern json_t *call_refuse (struct call *call, const char *class,
                            const char *fmt, ...)
  __attribute__ ((format (printf, 3, 4)));

/* An argument that must be there and be a whole number of that range; else the call
 * fails.
 */
extern bool call_number (struct call *call, const char *name, uint64_t min,
                         uint64_t max, uint64_t *number);

/* --- commands.c --- */

/* Run one line of a client's, and answer it. */
extern void command_line (struct control *control, struct client *client,
                          const char *line, size_t size);

/* --- query.c: what is now --- */

extern json_t *query_status (struct call *call);
extern json_t *query_disks (struct call *call);
extern json_t *query_stats (struct call *call);

/* --- settings.c: what can be changed --- */

extern json_t *settings_set (struct call *call);

/* Keys and values that are in force. */
extern json_t *settings_now (const struct config *config);

extern json_t *pause_begin (struct call *call);
extern json_t *pause_end (struct call *call);

/* The client is gone. */
extern void pause_forget (struct control *control, struct client *client);

/* Is the pause over? */
extern void pause_look (struct control *control);

#endif /* FOLIO_CONTROL_SERVER_H */
