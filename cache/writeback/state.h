/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The state of write-back, which its files share.  The loop thread's, but for what
 * says otherwise.
 */

#ifndef FOLIO_STATE_H
#define FOLIO_STATE_H

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

enum pass_kind {
  PASS_SYNC,       /* of what is tagged TOWRITE: someone waits for it */
  PASS_FUA,        /* of what is dirty or unstable: likewise, by FUA */
  PASS_BACKGROUND, /* of what is dirty */
  PASS_RETRY,      /* of what is dirty in a bad range */
  NR_PASS_KINDS
};

/* A walk over dirty folios in the order of their place. */
struct wb_pass {
  bool active;
  enum pass_kind kind;
  bool fua;            /* what it sends is to be durable when it is done */
  uint64_t start, end; /* bytes, whole blocks; end 0: the disk's */
  uint64_t pos;        /* where it goes on */
  bool found;          /* something to be written */
  bool sent;           /* and at least some of it was sent */
  bool skipped;        /* something was in use and left behind */
};

/* Does somebody wait for what a pass of this kind sends? */
static inline bool
pass_is_urgent (enum pass_kind kind)
{
  return kind == PASS_SYNC || kind == PASS_FUA;
}

/* Those that write-back makes by itself. */
struct wb_passes {
  struct wb_pass background; /* over DIRTY: there is too much of it */
  struct wb_pass expire;     /* over DIRTY: the old ones */
  struct wb_pass retry;      /* over a bad range */
  uint64_t next;             /* ns, when the next one over what is old is due */
  uint32_t most;             /* that expire has seen so far: see expired */
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
  uint32_t doubts;     /* sync.doubts when it was sent */
  enum pass_kind kind; /* of the pass that made it */
  bool fua;            /* it is durable when it is done */
  int error;
  struct ioend *next;
};

/* All ioends, and those that are in flight. */
struct ioends {
  struct ioend *all; /* nr of them: the first config.io_depth */
  unsigned nr;
  struct ioend *free;
  unsigned in_flight;
  unsigned sent[NR_PASS_KINDS]; /* the same, by who sent them */
  uint64_t nr_sent;             /* ioends ever sent */
  uint32_t max_io;              /* bytes, of one ioend */
};

/* The table of these is in sync-flush.c. */
enum flush_state {
  FLUSH_IDLE,
  FLUSH_SENT,
  FLUSH_VOID,
  FLUSH_CLEAN,
  FLUSH_DIRTY,
  FLUSH_LOST,
  FLUSH_SETTLE,
};

/* The files of syncs' own. */
struct wb_sync {
  struct sync_req *list; /* all syncs, the smallest ranges first */
  unsigned nr[NR_SYNC_STATES];
  unsigned alone;      /* so many, the last ones, found no other */
  struct sync_req own; /* for inbox.want_clean */
  bool own_pending;

  struct group_commit group_commit;
  uint64_t flush_at; /* ns, until when a flush is held, or ENV_FOREVER */
  enum flush_state flush_state;
  struct store_req flush_req;
  uint64_t flush_direct; /* inbox.direct_unflushed of what is being flushed */
  uint64_t sweep_page;   /* where the sweep goes on */
  uint8_t gen;           /* of sectors that become unstable now */
  uint32_t doubts;       /* counts what may have undone writes */
  uint32_t losses;       /* of the store, as far as seen */
};

/* A thread that waits for a sync and takes steps meanwhile: see help.c. */
struct wb_helper {
  bool here;             /* it takes this one */
  struct store_req *own; /* what it will submit, and wait for in the store */
};

struct writeback_config {
  uint64_t dirty_expire; /* ns after which dirty data is written back */
  uint64_t interval;     /* ns between periodic passes */
  unsigned io_depth;     /* store writes in flight at most */
};

struct writeback {
  /* Set before writeback_init, and fixed, but for the config, which is the loop
   * thread's to change.
   */
  struct env *env;
  struct folios *folios;
  struct fs *fs;
  struct inbox *inbox;
  struct outbox *outbox;
  struct throttle *throttle;
  struct stats *stats;
  struct arena *bounce; /* copies that are being sent */
  struct writeback_config config;

  /* The loop thread's. */
  struct ioends ioends;
  struct wb_sync sync;
  struct wb_passes passes;
  bool trimming; /* before what failed for lack of space is tried again */
  uint64_t trim_ticket;
  struct failing failing;
  struct wb_helper helper;
  bool told_paused; /* that somebody waits for the end of a pause */
};

/* Has the ioend anything of bytes [start, end)? */
static inline bool
ioend_touches (const struct ioend *ioend, uint64_t start, uint64_t end)
{
  unsigned i;

  for (i = 0; i < ioend->nr_runs; i++)
    if (ioend->ranges[i].start < end && start < ioend->ranges[i].end)
      return true;
  return false;
}

#endif /* FOLIO_STATE_H */
