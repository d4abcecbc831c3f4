/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A store that is open, with a thread for its loop: requests can be waited for.
 */

#ifndef FOLIO_IMG_ATTACHED_H
#define FOLIO_IMG_ATTACHED_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <ev.h>

#include "fs/env.h"
#include "fs/store.h"

struct attached {
  struct env env;
  const char *name; /* as the user gave it */
  struct store *store;

  struct ev_loop *loop;
  ev_async stop;
  ev_timer timer; /* goes off now and then */
  ev_async bell;  /* the same, at once */
  pthread_t thread;
  bool running;

  /* Called now and then on the loop thread, and after attached_ring, if set. */
  void (*_Atomic tick) (void *opaque);
  void *opaque;

  char
    *part; /* the name of a file that was made and is not whole yet, or NULL */
};

/* Open a store that is there: PATH, file:PATH or the URI of an NBD server's disk.
 * Returns 0; or a negative errno, and has said why.
 */
extern int attached_open (struct attached *a, const char *name, bool readonly);

/* Open a store to be overwritten.  A file that is not there is made, sparse and of so
 * many bytes; it has another name until attached_keep, and is gone again if that is
 * not called.  What is there and holds something is refused unless force.  *blank: it
 * reads as zero.  Returns as attached_open.
 */
extern int attached_target (struct attached *a, const char *name, uint64_t size,
                            bool force, bool *blank);

/* What was made is whole, and flushed: give it its name, durably.  Of one that was
 * only opened nothing.  Returns as attached_open.
 */
extern int attached_keep (struct attached *a);

extern void attached_close (struct attached *a);

/* Have tick called soon.  Any thread. */
extern void attached_ring (struct attached *a);

/* One request, waited for, on memory if it has some.  Returns 0 or a negative
 * errno, without a word.
 */
extern int attached_io (struct attached *a, enum store_op op, unsigned flags,
                        uint64_t offset, void *buf, uint64_t length);

/* So many bytes, rounded up to whole units of the store's smallest read or write. */
static inline uint64_t
attached_units (const struct attached *a, uint64_t length)
{
  uint64_t unit = a->store->geo.min_io;

  return (length + unit - 1) / unit * unit;
}

/* A flush, waited for, that proves all durable which was written since the store's
 * losses were so many.  Returns 0; or a negative errno, and has said why.
 */
extern int attached_flush (struct attached *a, uint32_t losses);

/* Say that op of the store has failed.  Returns error. */
extern int attached_failed (const struct attached *a, const char *op,
                            int error);

#endif /* FOLIO_IMG_ATTACHED_H */
