/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What the watcher of nbdkit's shutdown has around it: a server, a store and a
 * clock that do as they are told.  It stands in for nbdkit and for the mapping.
 */

#ifndef SHUTDOWN_WORLD_H
#define SHUTDOWN_WORLD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "plugin/shutdown.h"

/* The world of one test. */
extern struct shutdown_world {
  pthread_mutex_t lock; /* protects all here, and is what cond waits with */
  pthread_cond_t cond;  /* something has changed */
  uint64_t now;         /* the clock: runs when someone waits for it */
  bool sleeping;        /* the watcher is in signals_wait for good */
  bool woken;           /* signals_wake was called */
  bool stopping;        /* nbdkit was told to stop */
  int releases;         /* calls of abort_saved so far */
  bool bypass;          /* log_bypass was called */
  bool aborts;          /* the next mapping_sync is overtaken by an abort */
  int early_returns;    /* of signals_wait to come, for no reason */
  int timeouts;         /* then time-outs, after the time that was asked for */
  int failures;         /* of mapping_sync to come; -1: for ever */
  int syncs;            /* calls of mapping_sync so far */
  int shutdowns;        /* calls of mapping_shutdown so far */
  bool works;           /* each mapping_sync that fails gets a page done */
  uint64_t left;        /* mapping_work_left */
  uint64_t hangs;       /* ns that the next mapping_sync takes */
  int ranges;           /* what is unsaved: that many, of two adjacent parts */
  bool progress;        /* mapping_sync reports once */
  bool untold;          /* mapping_lost_untold */
  char log[1 << 20];
  int errors; /* of the lines in it */
} world;

/* Make it anew: cmocka's setup. */
extern int world_reset (void **state);

/* Start a watcher that gives up after so long (ns; 0: never), and wait until it
 * sleeps; start: after TIMEOUT.
 */
#define TIMEOUT (30 * NSEC_PER_SEC)
extern struct watcher *start_patient (uint64_t timeout);
extern struct watcher *start (void);

/* How often the log says this. */
extern int logged (const char *words);

extern void wait_for_log (const char *words);
extern void wait_for_syncs (int n);
extern void wait_for_release (void);

/* What a signal does, and an abort. */
extern void tell_to_stop (void);
extern void do_abort (void);

#endif /* SHUTDOWN_WORLD_H */
