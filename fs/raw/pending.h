/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Zeroes and trims that are not durable yet: disjoint ranges, each in a state.
 *
 *   (none)   -- pending_add -->                          UNSENT
 *   UNSENT   -- pending_next: it goes to the store -->   SENT
 *   SENT     -- pending_sent, no error -->               DONE
 *   SENT     -- failed, or what came of it is in doubt, or it is to be of another
 *               kind by now -->                          UNSENT
 *   UNSENT, DONE -- pending_map: data goes there in its place --> COVERED
 *   COVERED  -- pending_written -->                      (none), but see `written'
 *   COVERED  -- failed, in doubt, or zeroed again since --> UNSENT
 *   DONE     -- pending_flush_end, no error -->          (none)
 *   DONE     -- that failed, or pending_lost -->         UNSENT
 *
 * What is in there, and not in memory, reads as zero, whatever the store says.
 * Nothing is forgotten: when there is no room, it is the one who adds that has to
 * wait.  (Data in a zero's place makes what lay under both of no account when it is
 * durable, and is in memory until then; so no zero is sent after it any more.)
 *
 * Each range has an order, that of the oldest zero in it.  Those up to an order
 * that somebody waits for are wanted: to be sent, and no data over them before.
 * (Who waits for a zero to be durable has not asked for the data that was written
 * there since, and may not find what was there before both.)  What has failed is
 * not wanted any more until it is to be tried again.
 *
 * Knows no clock and no store.  No locks: the caller's.
 */

#ifndef FOLIO_PENDING_H
#define FOLIO_PENDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include <bsd/sys/tree.h>

#include "fs/iomap.h"

enum pending_state {
  PENDING_UNSENT,
  PENDING_SENT,
  PENDING_COVERED,
  PENDING_DONE,
};

/* A range of zeroes. */
struct pending_zero {
  RB_ENTRY (pending_zero) link; /* by place */
  TAILQ_ENTRY (pending_zero) entry;
  struct pending_queue *queue; /* where that is */
  uint64_t start, end;         /* bytes */
  uint64_t order;              /* 0: older than all */
  uint64_t since;              /* ns: when the oldest zero in it came */
  enum pending_state state;
  bool keep;    /* space is not to be given back */
  bool again;   /* COVERED: it has been zeroed since */
  bool awaited; /* COVERED: somebody waits for what becomes of it */
  int error; /* UNSENT: how it failed last; 0: it has not, or is to be tried */
  uint64_t failed; /* when it failed last, by order; 0: never */
  int why;         /* and how */
};

/* Data that the store is at. */
struct pending_write {
  uint64_t start, end;
  unsigned doubts; /* when it was mapped */
  bool taken;
  struct pending_write *next;
};

/* Bytes: it matters from here on whether they are zeroed fast.  A power of two. */
#define PENDING_LARGE (UINT64_C (1) << 20)

#define PENDING_ADDED 32

RB_HEAD (pending_tree, pending_zero);
TAILQ_HEAD (pending_queue, pending_zero);

struct pending {
  struct pending_tree tree;
  struct pending_queue
    active; /* UNSENT without error, SENT, COVERED; by order */
  struct pending_zero *unwanted; /* the first of these that is not; or NULL */
  struct pending_queue failed;   /* UNSENT with an error */
  struct pending_queue done;     /* DONE since the last flush began, */
  struct pending_queue flushed;  /* and before */
  struct pending_queue unused;
  struct pending_zero *nodes;
  size_t count, max; /* of nodes */
  uint64_t bytes;    /* in all */
  size_t nr_done;    /* of count, DONE */
  uint64_t done_bytes;
  uint64_t order;  /* a clock: of the last zero that came, or failure */
  uint64_t wanted; /* up to this order */
  uint64_t newest; /* ns: when the last zero came */
  int flush_error; /* of the last flush; 0: none, or a loss */

  struct iomap_range *zeroing; /* what was there may still be in memory */
  struct pending_write *writing, *spare;
  unsigned doubts; /* counts what may have undone what the store was at */
  bool written,
    flushing;   /* past memory, over what was DONE; since the last flush
                           * began, and before */
  bool refused; /* pending_map, for what is in zeroing */
  bool full;    /* pending_map, for lack of room: when some is flushed, or as in
                   * pending_stuck */
  bool starved; /* pending_map, for lack of memory */
  bool
    overtaken; /* pending_map, by what is zeroed by now, or for that, and more can be
                   * done now: try again */

  /* Zeroes that were added since data began to be taken, if it is. */
  bool taking;
  unsigned nr_added; /* more than there is room for: who knows where */
  struct pending_added {
    uint64_t start, end;
  } added[PENDING_ADDED];
};

/* max: ranges.  False without memory. */
extern bool pending_init (struct pending *p, size_t max);
extern void pending_destroy (struct pending *p);

/* --- zeroes --- */

/* [zeroing->start, zeroing->end) is zero, as of now (ns).  What is written there
 * is not to be mapped until pending_added.  False, with nothing done, if there is
 * no room.
 */
extern bool pending_add (struct pending *p, struct iomap_range *zeroing,
                         bool keep, uint64_t now);

/* What was there is no longer in memory.  Returns true if somebody was refused
 * meanwhile, and should be told.
 */
extern bool pending_added (struct pending *p, struct iomap_range *zeroing);

/* Is pos in one?  Clips *length, from pos on, to where that changes, or where *keep
 * does.
 */
extern bool pending_at (struct pending *p, uint64_t pos, uint64_t *length,
                        bool *keep);

/* Is there any in [start, end), or was there one anywhere that needs a flush still? */
extern bool pending_in (struct pending *p, uint64_t start, uint64_t end);

/* --- data --- */

/* Data is about to be taken from memory, to be written. */
extern void pending_take (struct pending *p);

/* The store is about to write [start, end), and what is pending there makes way.
 * False, with nothing done, if it can't now: some of it is SENT or wanted; or, of
 * what was taken, is being zeroed, or was zeroed since pending_take; or, `full', there
 * is no room to tell it apart; or `starved'.  taken: it was; else nothing may be
 * UNSENT there.
 */
extern bool pending_map (struct pending *p, uint64_t start, uint64_t end,
                         bool taken);

/* Why there may be no room for long: something of what takes it has failed; 0: has
 * not.
 */
extern int pending_stuck (const struct pending *p);

/* The store is through with what was mapped so.  Returns true if what made way for it
 * is to be zeroed after all: as it failed, what came of it is in doubt, or it has been
 * zeroed again.
 */
extern bool pending_written (struct pending *p, uint64_t start, uint64_t end,
                             int error);

/* --- the store --- */

/* Those in [start, end) are wanted; what is COVERED, if it is UNSENT again.  Returns a
 * ticket for pending_settled.
 */
extern uint64_t pending_want (struct pending *p, uint64_t start, uint64_t end);

/* The same, but what has failed waits on. */
extern void pending_want_all (struct pending *p);

/* Are those in [start, end) that were there when the ticket was given done, or
 * have made way?  0; -EAGAIN: not yet; or an error, when all others have been tried
 * since: that they are tried again, for others, is no reason to wait.  Ticket 0,
 * for all: those that anybody wants.
 */
extern int pending_settled (struct pending *p, uint64_t start, uint64_t end,
                            uint64_t ticket);

/* The next that is wanted and can be sent, of max bytes at most (or more, where there
 * is no room for a part of it), is SENT.  False: there is none.
 */
extern bool pending_next (struct pending *p, uint64_t max, uint64_t *start,
                          uint64_t *end, bool *keep);

/* [start, end), which was sent with this keep, is over.  error: a negative errno;
 * -EAGAIN: as if it had not been sent.
 */
extern void pending_sent (struct pending *p, uint64_t start, uint64_t end,
                          bool keep, int error);

/* All that are wanted fail with this error. */
extern void pending_fail (struct pending *p, int error);

/* What has failed is wanted again. */
extern void pending_retry (struct pending *p);

/* A flush of the store begins; it is over. */
extern void pending_flush_begin (struct pending *p);
extern void pending_flush_end (struct pending *p, int error);

/* All that was done may not be.  (What is SENT is the caller's to judge, by
 * doubts.)
 */
extern void pending_lost (struct pending *p);

/* When the oldest came that is not wanted yet, ns; UINT64_MAX: there is none. */
extern uint64_t pending_since (struct pending *p);

/* The first at pos or behind it: what is left to be done; NULL: none. */
extern const struct pending_zero *pending_from (struct pending *p,
                                                uint64_t pos);

#endif /* FOLIO_PENDING_H */
