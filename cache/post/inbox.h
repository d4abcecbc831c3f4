/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The inbox of a disk's loop thread: what other threads leave for it.  All of
 * this is for any thread.
 */

#ifndef FOLIO_INBOX_H
#define FOLIO_INBOX_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "fs/bell.h"
#include "cache/post/sync-req.h"

struct ioend;

/* What of the configuration is the loop thread's, and may change while it runs. */
struct inbox_settings {
  uint64_t limit, background; /* bytes; see throttle.h */
  uint64_t flush_target;      /* ns; 0: off */
  uint64_t dirty_expire;      /* ns after which dirty data is written back */
  uint64_t interval;          /* ns between periodic passes */
  unsigned io_depth;          /* store writes in flight at most */
};

struct inbox {
  struct env *env;
  const struct bell *bell;

  pthread_mutex_t lock;   /* protects queue, done, held, settings; a leaf */
  struct sync_list queue; /* syncs that are asked for */
  struct ioend *done;     /* store writes that are over, not yet noticed */
  struct ioend *held;     /* that one a thread is about to wait for, in the
                           * store, and will notice itself: see help.c */

  _Atomic bool flush_done; /* the store flush is over ... */
  int flush_error;         /* ... with this */

  _Atomic bool want_clean;    /* memory is short, or the last client left */
  _Atomic bool store_changed; /* so the store said */
  _Atomic bool unflushed;     /* the store has done something since the last
                               * flush began */

  /* Among that are direct writes, of which there is no copy: 0, or the store's
   * losses when the oldest of them began, plus 1.
   */
  _Atomic uint64_t direct_unflushed;
  _Atomic bool no_fua; /* the store can't do it, though it said so */

  struct inbox_settings settings; /* new ones, if */
  _Atomic bool configured;        /* they have been left here */

  /* Nothing is to be sent to the store, but for the last save. */
  _Atomic bool paused;
};

extern void inbox_init (struct inbox *inbox, struct env *env,
                        const struct bell *bell);
extern void inbox_destroy (struct inbox *inbox);

/* Have everything written back and flushed in the background. */
extern void inbox_kick (struct inbox *inbox);

/* The store has changed (see store.h): what it has lost is to be written again,
 * and what it failed to write is to be tried again, at once.
 */
extern void inbox_store_changed (struct inbox *inbox);

/* From the next step on other settings are in force. */
extern void inbox_configure (struct inbox *inbox,
                             const struct inbox_settings *settings);

/* Have write-back pause, or go on. */
extern void inbox_pause (struct inbox *inbox, bool paused);

/* The store has done something that only a flush makes durable. */
extern void inbox_note_unflushed (struct inbox *inbox);

/* Queue a sync; its done is signalled when it is over. */
extern void inbox_queue (struct inbox *inbox, struct sync_req *req);

/* Have bytes [start, end) synced; waits.  Returns 0 or a negative errno, for which
 * blocks that hold none of these bytes are no reason.  Not on the loop thread, no
 * lock held.
 */
extern int inbox_sync (struct inbox *inbox, uint64_t start, uint64_t end,
                       enum sync_kind kind);

/* A write with FUA has ended with this.  True: it is to be done again without, see
 * store.h.
 */
extern bool inbox_lost_fua (struct inbox *inbox, int error);

#endif /* FOLIO_INBOX_H */
