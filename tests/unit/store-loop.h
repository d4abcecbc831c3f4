/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A loop for a real store, on a thread of its own, and requests that are waited for.
 */

#ifndef STORE_LOOP_H
#define STORE_LOOP_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <ev.h>

#include "fs/store.h"

struct store_loop {
  struct ev_loop *ev;
  ev_async stop;
  pthread_t thread;
  bool running;
};

/* Make one, which does not run. */
extern void store_loop_make (struct store_loop *loop);

/* Attach the store and run the loop. */
extern void store_loop_start (struct store_loop *loop, struct store *store);

/* Stop it and detach the store, if it runs; close the store, free the loop. */
extern void store_loop_end (struct store_loop *loop, struct store *store);

/* One request, waited for.  Without a buf it has no memory. */
extern int store_io (struct store *store, enum store_op op, unsigned flags,
                     uint64_t offset, void *buf, uint64_t length);

#endif /* STORE_LOOP_H */
