/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Write-back: the state machine that sends dirty data to the store, merged and
 * in order of place, and makes it durable.  Single-threaded: everything here
 * but what is marked otherwise runs on the loop thread (or a test's), in
 * steps that never wait.  flusher.c gives it a thread and a clock.
 *
 * Data is copied out of the folios, under the folio lock, into a bounce buffer
 * that the store then reads: what is being sent cannot change under way, a
 * sector is never torn between two writes, writers never wait for a store, and
 * the runs of many folios make one piece.
 *
 * Syncs (flush, FUA, write-through) are gathered into batches:
 *
 *   queued --> writing: dirty folios in the ranges are tagged TOWRITE and sent
 *
 * and then each goes on by itself:
 *
 *          --> draining: all that was in flight of its range is waited for
 *          --> ready: for the flush before to be over, for zeroes to be done again,
 *              or for others to share the next one with
 *          --> flushing: one store flush for all that are ready by then
 *          --> done
 *
 * So what comes while a flush is on is written meanwhile, and concurrent syncs
 * share store flushes (group commit; see group-commit.h for when a flush waits for
 * more of them).
 */

#ifndef FOLIO_WRITEBACK_H
#define FOLIO_WRITEBACK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "cache/writeback/failing.h"
#include "cache/writeback/group-commit.h"
#include "cache/folio/ranges.h"
#include "cache/post/sync-req.h"
#include "fs/iomap.h"
#include "fs/store.h"

struct folios;
struct fs;
struct inbox;
struct outbox;
struct stats;
struct throttle;
struct zeroes;

enum pass_kind {
  PASS_SYNC,       /* of what is tagged TOWRITE: someone waits for it */
  PASS_BACKGROUND, /* of what is dirty */
  PASS_RETRY,      /* of what is dirty in a bad range */
  NR_PASS_KINDS
};

/* A walk over dirty folios in the order of their place. */
struct wb_pass {
  bool active;
  enum pass_kind kind;
  uint64_t start, end; /* bytes; end 0: the disk's */
  uint64_t pos;        /* where it goes on */
  bool found;          /* something to be written */
  bool sent;           /* and at least some of it was sent */
  bool skipped;        /* something was in use and left behind */
};

/* Those that write-back makes by itself. */
struct wb_passes {
  struct wb_pass background; /* over DIRTY: there is too much of it */
  struct wb_pass expire;     /* over DIRTY: the old ones */
  struct wb_pass retry;      /* over a bad range */
  uint64_t next;             /* ns, when the next one over what is old is due */
};

/* One store write in flight: runs of what was dirty, one behind the other in the
 * buffer and on the store.
 */
struct ioend {
  struct store_req req; /* first */
  struct iovec iov;
  struct writeback *wb;
  struct folio *buffer;     /* of the bounce arena */
  struct range *ranges;     /* held: the runs in whole sectors, */
  struct iomap_run *runs;   /* and as far as the disk goes */
  unsigned nr_runs;         /* of either */
  uint64_t length;          /* of the runs together */
  struct iomap_place place; /* on the store */
  bool in_flight;
  uint64_t number;     /* in the order in which they are sent */
  unsigned doubts;     /* wb.doubts when it was sent */
  enum pass_kind kind; /* of the pass that made it */
  int error;
  struct ioend *next;
};

enum batch_state {
  BATCH_NONE,
  BATCH_TAGGING, /* its dirty folios are being tagged TOWRITE */
  BATCH_SENDING, /* they are being sent */
};

enum flush_state {
  FLUSH_IDLE,
  FLUSH_SENT,  /* the store is at it */
  FLUSH_SWEEP, /* turning unstable folios to clean, or to dirty */
};

struct writeback_config {
  uint64_t dirty_expire; /* ns after which dirty data is written back */
  uint64_t interval;     /* ns between periodic passes */
  unsigned io_depth;     /* store writes in flight at most */
};

struct writeback {
  /* Set before writeback_init, and fixed. */
  struct env *env;
  struct folios *folios;
  struct fs *fs;
  struct inbox *inbox;
  struct outbox *outbox;
  struct zeroes *zeroes;
  struct throttle *throttle;
  struct stats *stats;
  struct arena *bounce; /* copies that are being sent */
  struct writeback_config config;

  /* The loop thread's. */
  struct ioend *ioends; /* config.io_depth of them */
  struct ioend *free;
  unsigned in_flight;
  unsigned sent[NR_PASS_KINDS]; /* the same, by who sent them */
  uint64_t nr_sent;             /* ioends ever sent */
  uint32_t max_io;              /* bytes, of one ioend */

  enum batch_state batch_state;
  struct sync_list writing;  /* the batch whose data is being sent */
  struct sync_req *tag_req;  /* of them, the one being tagged for */
  uint64_t tag_page;         /* where that goes on */
  struct wb_pass sync_pass;  /* over TOWRITE */
  struct sync_list draining; /* what was sent is waited for */
  struct sync_list ready;    /* for a flush */
  struct sync_list again;    /* they begin anew */

  struct group_commit group_commit;
  uint64_t flush_at; /* ns, until when it is held, or ENV_FOREVER */
  enum flush_state flush_state;
  struct sync_list flushing; /* those whose flush is in flight */
  struct sync_list released; /* by a flush, and soon told */
  struct store_req flush_req;
  unsigned flush_doubts; /* doubts when it was sent */
  bool flush_direct;     /* direct writes are among what is being flushed; */
  uint32_t flush_direct_losses; /* direct_losses of these */
  bool sweep_lost;              /* the sweep makes dirty, not clean */
  uint64_t sweep_page;          /* where the sweep goes on */
  uint8_t gen;                  /* of sectors that become unstable now */
  unsigned doubts;              /* counts what may have undone writes */
  uint32_t losses;              /* of the store, as far as seen */
  bool settling; /* after a loss, until nothing is in flight or unstable;
                  * nothing is sent */

  struct sync_req own_sync; /* for want_clean */
  bool own_pending;

  struct wb_passes passes;
  struct failing failing;
};

extern int writeback_init (struct writeback *wb);
extern void writeback_destroy (struct writeback *wb);

/* Do a bounded amount of what there is to do.  Returns true if there is more
 * that can be done at once; else wait for the bell, or until
 * writeback_deadline (ns, or ENV_FOREVER).
 */
extern bool writeback_step (struct writeback *wb);
extern uint64_t writeback_deadline (struct writeback *wb);

/* Nothing is in flight, of the fs's own neither, and no sync is waiting or under
 * way.
 */
extern bool writeback_idle (struct writeback *wb);

#endif /* FOLIO_WRITEBACK_H */
