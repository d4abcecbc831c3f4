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
 *              connector                   loop thread
 *               makes it      installs it               lost, and no thread
 *   (wanted) ------------> made ---------> session  ----> inside: ends it
 *       ^                                  UP | LOST             |
 *       |                                                        v
 *       +------------------------------------- its connections are drained
 *
 * A request's way:
 *
 *   submit -> queue -> in flight, as a command -> finished -> done
 *               ^        |  ^                        |
 *               |        |  +------ next piece ------+
 *               +--------+ lost: first in the queue again
 *
 * and, while connections are drained and it is no read, queue -> held -> queue.
 *
 * Locks.  `lock' protects what the comments say.  libnbd takes a lock of the
 * handle's in each of its calls, and calls back under it; there `lock' is
 * taken.  So libnbd is never called with `lock' held, nor is done.  A handle is
 * the loop thread's alone, to drain and to close, once its session is lost and no
 * thread is inside (session->users); or it is closed when the loop has ended.
 */

#ifndef FOLIO_NBD_IMPL_H
#define FOLIO_NBD_IMPL_H

#include <errno.h>
#include <pthread.h>

#include <ev.h>
#include <libnbd.h>

#include "fs/nbd/nbd.h"
#include "fs/store-queue.h"

/* An attempt to make a session may take as long as this. */
#define CONNECT_TIMEOUT (10 * NSEC_PER_SEC)

/* A block size may be as large as this, bytes. */
#define MAX_MIN_IO 4096u

/* Of one command at most, bytes: libnbd refuses larger ones. */
#define MAX_PAYLOAD (UINT32_C (32) << 20)

#define WHY_MAX 256

/* What an export says of itself. */
struct export_facts {
  uint64_t size;      /* bytes; of whole blocks */
  uint32_t tail;      /* bytes behind them, which no request can reach */
  uint32_t min_block; /* bytes, 1 or more */
  uint32_t max_block; /* bytes */
  bool readonly, flush, fua, zero, fast_zero, multi_conn;
  bool rotational;
  bool extents; /* base:allocation was granted */
};

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

  void *bounce; /* nbd->bounce_size bytes, always the same */

  /* Under the lock: */
  uint64_t weight;             /* counted for conn */
  uint64_t sent;               /* ns */
  bool slow;                   /* it may well take long */
  struct ticket *ticket;       /* NULL: libnbd has forgotten it */
  unsigned late;               /* see blame; a loss is its fault if not 0 */
  struct command *next, *prev; /* in flight, oldest first; or free */
  struct command *finished;    /* the next answered one */
};

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
  uint64_t logged;     /* ns: a server's error */
  unsigned unlogged;   /* further ones since */

  pthread_mutex_t lock;
  /* All under the lock: */
  struct session *session; /* set and cleared by the loop thread */
  struct session *made;    /* not yet installed */
  struct store_queue queue;
  struct store_list held; /* until the connections are drained */
  bool holding;
  struct command *oldest, *newest; /* in flight */
  struct command *free_slots;
  struct command *finished, **finished_tail;
  bool collecting;      /* the loop thread is about to look at finished */
  unsigned wanted;      /* requests not done yet */
  uint64_t quiet_since; /* ns: see outage_check */
  uint64_t slow_end;    /* ns: something slow took longer than retry; or 0 */
  int said;             /* the last answer, if -ESHUTDOWN, or 0 */
  bool given_up;
  int give_up_error;
  bool idle; /* the tick has stopped */
  bool stop; /* the connector is to end */
  bool connect_wanted;
  uint64_t connect_after; /* ns: not before */
  uint64_t backoff;       /* ns */
  char trouble[WHY_MAX];  /* why the last attempt failed */

  /* The connector's. */
  char refused[WHY_MAX]; /* the change that was told last */
  uint64_t told_size;    /* bytes: by how much more, likewise */
  bool told_fewer;       /* that connections are fewer than wished */
  unsigned most;         /* connections, of a session */
};

/* Of a read or write, bytes: whole blocks of any size there may be. */
static inline uint32_t
export_max_io (const struct export_facts *facts)
{
  return facts->max_block / MAX_MIN_IO * MAX_MIN_IO;
}

/* Is what the request changes to be durable at once?  Where there is no flush, all
 * of it is, as far as the server can do that.
 */
static inline bool
export_wants_fua (const struct export_facts *facts, const struct store_req *req)
{
  if (req->op == STORE_READ || req->op == STORE_FLUSH)
    return false;
  return facts->fua && ((req->flags & STORE_FUA) || !facts->flush);
}

static inline struct nbd_store *
nbd_store_of (struct store *store)
{
  return (struct nbd_store *) store; /* its first member */
}

/* Zeroes that are written where the server has no better, bytes at once. */
#define ZEROES_SIZE (UINT32_C (1) << 20)

/* Requests that are done, by req->next, the error in req->state. */
struct done_list {
  struct store_req *head, **tail;
};

/* ---- connect.c: one connection */

/* Connect and negotiate, until deadline (ns) or until cancel_fd (-1: none) is
 * readable.  Blocks.  Returns 0 and the handle, or a negative errno and in why
 * (WHY_MAX bytes) what was wrong.
 */
extern int handle_connect (const struct nbd_store *nbd, uint64_t deadline,
                           int cancel_fd, struct nbd_handle **handle,
                           char *why);

/* Learn the export's facts.  Returns 0 or a negative errno, and why. */
extern int export_learn (struct nbd_handle *handle, struct export_facts *facts,
                         char *why);

/* Can it take the place of the export that there was at the start: is it as large,
 * or larger, and does it do what is promised to clients by it?  What it does worse,
 * if it makes no more difference than time, it may.  If not, says in why what has
 * changed.
 */
extern bool export_fits (const struct nbd_store *nbd,
                         const struct export_facts *is, char *why);

/* What both of them have. */
extern void export_join (struct export_facts *facts,
                         const struct export_facts *other);

/* Say goodbye on all of these and close them; bounded in time. */
extern void handle_goodbye (struct env *env, struct nbd_handle **handles,
                            unsigned n);

/* What libnbd says of its last error in this thread, without the call's name,
 * into why; unless it says nothing, then def.
 */
extern void handle_explain (char *why, const char *def);

/* The errno of that error, negative; some errors have none, then -EIO. */
extern int handle_errno (void);

/* ---- session.c: the connector */

/* Start its thread, which makes a first session at once.  Returns 0 or a
 * negative errno.
 */
extern int connector_start (struct nbd_store *nbd);

/* End it.  It stops connecting and negotiating at once, but a resolver that is
 * looking for the host's address has to be waited for.
 */
extern void connector_stop (struct nbd_store *nbd);

/* Have a session made, after a pause if asked for.  The lock is held. */
extern void connector_want (struct nbd_store *nbd, bool pause);

/* Close its connections with a goodbye, and free it.  No thread is inside. */
extern void session_close (struct session *session);

/* ---- loss.c: the loop thread's, without the lock */

/* The session, if there is one, is of no use any more.  The lock is held, by
 * any thread.  why may be NULL; the first reason is the one that is told.
 */
extern void session_lose (struct session *session, const char *why);

/* Begin with a session that the connector has made, if there is one. */
extern void session_install (struct nbd_store *nbd);

/* End the session if it is lost and no thread is inside. */
extern void session_end (struct nbd_store *nbd);

/* Give up if nothing was heard for too long; lose the session if that is so of a
 * part of it.
 */
extern void outage_check (struct nbd_store *nbd, uint64_t now);

/* ---- drain.c: the loop thread's, without the lock */

/* Drain what was the session, of which all answers that have come are collected.
 * What is in flight is to be requeued.
 */
extern void drain_begin (struct nbd_store *nbd, struct session *session);

/* A command that was in flight when the session was lost is answered. */
extern void drain_answered (const struct ticket *ticket);

/* Forget sessions of which no connection is left; if there is none, writes may
 * go on.
 */
extern void drain_sweep (struct nbd_store *nbd);

/* Drop those that have been drained for too long. */
extern void drain_check (struct nbd_store *nbd, uint64_t now);

/* Drop all of them. */
extern void drain_stop (struct nbd_store *nbd);

/* ---- loop.c */

extern int nbd_store_attach (struct store *store, struct ev_loop *loop);
extern void nbd_store_detach (struct store *store);

/* Have the loop thread look at everything.  Any thread. */
extern void nbd_store_wake (struct nbd_store *nbd);

/* Watch a connection's socket as libnbd wants it.  The loop thread. */
extern void connection_watch (struct connection *conn);

/* ---- io.c: requests */

extern void nbd_store_submit (struct store *store, struct store_req **reqs,
                              unsigned n);

/* Send what can be sent.  The lock is held, but not all of the time. */
extern void requests_pump (struct nbd_store *nbd, struct done_list *done);

/* Take the answers that have come, and go on.  The loop thread, no lock. */
extern void requests_collect (struct nbd_store *nbd);

/* All that is in flight goes back to the queue, but flushes end with
 * -ECONNRESET.  The loop thread; the lock is held; no session.
 */
extern void requests_requeue (struct nbd_store *nbd, struct done_list *done);

/* All that waits ends with an error.  The lock is held. */
extern void requests_fail_waiting (struct nbd_store *nbd, int error,
                                   struct done_list *done);

/* What was held, because of connections to be drained, goes first in the queue
 * again.  The lock is held.
 */
extern void requests_unhold (struct nbd_store *nbd);

/* Call done of each.  No lock. */
extern void done_call (struct done_list *done);

/* A command can be the fault of so much of a loss, and a request of so much of
 * all its losses, in units of `retry'.
 */
#define MOST_LATE 4u
#define TOO_LATE 8

/* How much longer, in units of `retry', than others what is slow may take. */
#define SLOW_PATIENCE 8

/* ---- piece.c: the owner of the command, without the lock
 *
 * A request goes through prepare, send and advance in turn, as long as advance
 * says PIECE_AGAIN; 0 or a negative errno ends it.
 */

#define PIECE_AGAIN 1

/* Find the next piece. PIECE_AGAIN: it is to be sent. */
extern int piece_prepare (struct command *cmd);

/* Send it, with on_answer to be called with its ticket, which libnbd frees.
 * Returns 0 or a negative errno; of libnbd's own: the server was not asked.
 */
extern int piece_send (struct command *cmd,
                       int (*on_answer) (void *ticket, int *error));

/* Did the answer, without an error, bring all that was asked for?  libnbd says
 * so only to those who do not use its callback.
 */
extern bool piece_whole (const struct command *cmd);

/* It was answered (cmd->error). */
extern int piece_advance (struct command *cmd);

/* The session is lost: begin the request from its start, again.  Returns false
 * if that was so too often, not counting when the server said that it shuts down;
 * *losses is how often.  The lock is held.
 */
extern bool piece_reset (struct command *cmd, int *losses);

/* ---- status.c */

/* An internal request that asks for block status: a READ with this flag, its
 * iov_base a struct status_answer.
 */
#define STATUS_QUESTION 0x80000000u

struct status_run {
  uint32_t length, state;
};

struct status_answer {
  unsigned losses;        /* of sessions that were asked */
  size_t n, room;         /* of run */
  struct status_run *run; /* the asker's to free when he has his answer */
};

/* The session by which the request was sent is lost.  Should it be a question
 * for block status, and not the first session that ends so: is it to remain
 * without an answer?
 */
extern bool status_hopeless (struct store_req *req);

extern int nbd_store_block_status (struct store *store, uint64_t offset,
                                   uint64_t length, store_extent_fn *fn,
                                   void *opaque);

/* libnbd's callback for extents; opaque is the struct status_answer. */
extern int status_on_extents (void *opaque, const char *context,
                              uint64_t offset, uint32_t *entries, size_t n,
                              int *error);

#endif /* FOLIO_NBD_IMPL_H */
