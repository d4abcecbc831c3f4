/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The NBD store's inside, for fs/nbd/ only.  Names with nbd_ are libnbd's, but for
 * nbd_store.
 *
 * Threads.  Any thread submits, and sends its requests itself.  The loop
 * thread receives, sees losses, and changes sessions.  The connector, a thread
 * of the store's own, makes connections, since that blocks.
 *
 * What a session, a request and the store go through stands in tables in session.c,
 * requests.c and outage.c.
 *
 * Locks.  `lock' protects what the comments say.  libnbd takes a lock of the
 * handle's in each of its calls, and calls back under it; there `lock' is
 * taken.  So libnbd is never called with `lock' held, nor is done.  A handle is
 * the loop thread's alone, to drain and to close, once its session is lost and no
 * thread is inside (session->users); or it is closed when the loop has ended.
 */

#ifndef FOLIO_NBD_STATE_H
#define FOLIO_NBD_STATE_H

#include <pthread.h>
#include <stdio.h>
#include <sys/queue.h>

#include <ev.h>
#include <libnbd.h>

#include "fs/nbd/export.h"
#include "fs/nbd/handle.h"
#include "fs/store-queue.h"

/* An attempt to make a session may take as long as this. */
#define CONNECT_TIMEOUT (10 * NSEC_PER_SEC)

/* In which line a request is: see lose_if_passed_over. */
enum line { LINE_READ, LINE_CHANGE, NR_LINES };

static inline enum line
line_of (const struct store_req *req)
{
  return req->op == STORE_READ ? LINE_READ : LINE_CHANGE;
}

struct connection {
  struct session *session;
  struct nbd_handle *handle;
  int fd;        /* the socket again: libnbd closes its own on an error */
  ev_io watcher; /* of fd; the loop thread's */
  /* Of a lost session, the loop thread's: */
  unsigned changes; /* not answered yet */
  bool receiving;   /* libnbd would still write to a request's memory */
  /* Under the lock: */
  uint64_t weight;      /* of the commands in flight */
  uint64_t quiet_since; /* ns: the last answer, or the first command since */
  /* ns: when the newest that is answered was sent, of reads and questions, and of
   * all else: either kind may legitimately overtake the other.
   */
  uint64_t answered_sent[NR_LINES];
};

struct session {
  struct nbd_store *nbd;
  struct session *next;      /* among those drained; the loop thread's */
  struct export_facts facts; /* what all of its connections have; fixed */
  uint64_t drain_until;      /* ns */

  /* Under the lock: */
  bool lost;
  bool heard;        /* it has answered something */
  bool shut_down;    /* the server said that it is shutting down */
  unsigned users;    /* threads that may call libnbd */
  char why[WHY_MAX]; /* it was lost */

  unsigned n;
  struct connection conns[];
};

enum command_kind {
  COMMAND_READ,
  COMMAND_WRITE,
  COMMAND_ZERO,
  COMMAND_FLUSH,
  COMMAND_STATUS,
};

/* What libnbd has of a command, until it forgets it.  A command that outlives its
 * session becomes another's, so cmd is NULL when that is lost.  Under the lock.
 */
struct ticket {
  struct command *cmd;
  struct connection *conn;
  bool change;
};

/* A request in flight, of which one piece at a time is a command.  Whoever
 * starts it has it to himself until it is sent, then libnbd until it is
 * finished, then the loop thread.
 */
struct command {
  struct nbd_store *nbd;
  struct store_req *req;
  struct connection *conn;

  /* The piece. */
  enum command_kind kind;
  uint64_t offset, length; /* bytes */
  uint32_t flags;          /* LIBNBD_CMD_FLAG_* */
  void *buf;               /* the request's memory, or bounce, or zeroes */
  int error;               /* the answer: errno, or 0 */
  uint64_t got;            /* of a read: bytes that have come */
  uint64_t reached;        /* the same: where the last of them ends, in buf */

  void *bounce; /* nbd->bounce_size bytes, always the same */

  /* Under the lock: */
  uint64_t weight;       /* counted for conn */
  uint64_t sent;         /* ns */
  bool slow;             /* it may well take long */
  struct ticket *ticket; /* NULL: libnbd has forgotten it */
  unsigned late;         /* see blame; a loss is its fault if not 0 */
  TAILQ_ENTRY (command) link;
  STAILQ_ENTRY (command) finished;
};

TAILQ_HEAD (commands, command);

struct nbd_store {
  struct store store;
  char *uri;
  unsigned connections;      /* at most; the connector's once it runs */
  uint64_t took;             /* ns: to make the latest first one of a session */
  uint64_t retry;            /* ns */
  struct export_facts facts; /* at the start; fixed */
  struct nbd_handle *probe;  /* not yet part of a session */
  void *zeroes;              /* ZEROES_SIZE bytes, read only */
  struct command *slots;     /* one for each request in flight */
  void *bounces;             /* their bounce buffers */
  size_t bounce_size, bounces_size; /* of one, of all, bytes */

  /* Attached only. */
  struct ev_loop *loop;
  ev_async wake;
  ev_timer tick;
  pthread_t connector;
  int cancel_fd;                /* readable: the connector is to end */
  _Atomic uint32_t connect_now; /* changes when it is to look around */

  /* The loop thread's. */
  struct session *draining;
  bool was_up;         /* a session, ever */
  uint64_t down_since; /* ns; 0: not down, or nobody was told */
  uint64_t loss_told;  /* ns; 0: never */
  uint64_t last_tick;  /* ns; 0: it has stopped */
  uint64_t awake;      /* ns of env_boottime, with a lease: when it last was */
  uint64_t logged;     /* ns: a server's error */
  unsigned unlogged;   /* further ones since */

  pthread_mutex_t lock;
  /* All under the lock: */
  struct session *session;   /* set and cleared by the loop thread */
  struct session *made;      /* not yet installed */
  struct store_queue queue;  /* holds until the connections are drained */
  struct commands in_flight; /* the oldest first */
  struct commands unused;    /* of slots */
  STAILQ_HEAD (, command) finished; /* answered, of those in flight */
  bool collecting;       /* the loop thread is about to look at finished */
  unsigned wanted;       /* requests not done yet */
  uint64_t quiet_since;  /* ns: see outage_check */
  uint64_t slow_end;     /* ns: something slow took longer than retry; or 0 */
  int said;              /* the last answer, if -ESHUTDOWN, or 0 */
  int given_up;          /* what all requests fail with, or 0 */
  bool idle;             /* the tick has stopped */
  bool stop;             /* the connector is to end */
  uint64_t connect_at;   /* ns: a session is to be made then; or ENV_FOREVER */
  uint64_t backoff;      /* ns */
  char trouble[WHY_MAX]; /* why the last attempt failed */

  /* The connector's. */
  char refused[WHY_MAX]; /* the change that was told last */
  uint64_t told_size;    /* bytes: by how much more, likewise */
  bool told_fewer;       /* that connections are fewer than wished */
  unsigned most;         /* connections, of a session */
};

static inline struct nbd_store *
nbd_store_of (struct store *store)
{
  return (struct nbd_store *) store; /* its first member */
}

/* Zeroes that are written where the server has no better, bytes at once. */
#define ZEROES_SIZE (UINT32_C (1) << 20)

/* Have the loop thread look at everything.  Any thread. */
static inline void
nbd_store_wake (struct nbd_store *nbd)
{
  ev_async_send (nbd->loop, &nbd->wake);
}

/* The session, if there is one, is of no use any more.  The lock is held, by
 * any thread.  why may be NULL; the first reason is the one that is told.
 */
static inline void
session_lose (struct session *session, const char *why)
{
  session->lost = true;
  if (why && session->why[0] == '\0')
    snprintf (session->why, WHY_MAX, "%s", why);
}

#endif /* FOLIO_NBD_STATE_H */
