/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The fake store's inside, shared by its own files only: see fake-store.h.
 * All of struct fake_state is under its lock, which is never held while a
 * request's done is called.
 */

#ifndef FAKE_STORE_STATE_H
#define FAKE_STORE_STATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "fake-store.h"

#define SECTOR 512u
#define MAX_RULES 64

struct fifo {
  struct store_req *head, *tail;
  unsigned count;
};

/* A request that takes its time. */
struct timed {
  struct timed *next;
  struct store_req *req;
  uint64_t due;
};

struct fake_state {
  pthread_mutex_t lock;
  pthread_cond_t changed;

  bool holding[FAKE_OPS];
  struct fifo held[FAKE_OPS];

  struct fake_rule rules[MAX_RULES];
  unsigned nrules;

  struct fake_record *records;
  size_t nrecords, room;
  uint64_t first; /* sequence number of records[0] */
  unsigned status_count;

  uint8_t *status; /* a byte per FAKE_STATUS_GRAIN: STORE_DATA - type */
  int status_error;

  uint8_t *durable;   /* NULL: what is written is durable at once */
  uint8_t *unstable;  /* a byte per sector: differs from durable? */
  bool lossy;         /* a flush that fails loses what is unstable ... */
  uint64_t loss_seed; /* ... as fake_lose with this */

  uint64_t latency[FAKE_OPS];
  bool serial[FAKE_OPS];
  uint64_t last_due[FAKE_OPS];
  struct timed *timed; /* by due time */
  pthread_t thread;
  bool running, stopping;
};

static inline uint64_t
units (uint64_t size, uint64_t grain)
{
  return (size + grain - 1) / grain;
}

/* p, or the end of the program if there was no memory. */
extern void *fake_must (void *p);

/* Memory full of zeroes that costs nothing until touched. */
extern uint8_t *fake_map_zeroes (uint64_t size);
extern void fake_unmap (uint8_t *p, uint64_t size);

/* The part of [offset, offset+length) that is inside the store. */
extern uint64_t fake_inside (const struct fake_store *fake, uint64_t offset,
                             uint64_t length);

/* The next five need the lock. */
extern void fake_set_status (struct fake_store *fake, uint64_t offset,
                             uint64_t length, enum store_extent type);
/* What is not durable is lost, or becomes durable, as the seed says; 0: all is
 * lost.
 */
extern void fake_lose (struct fake_store *fake, uint64_t *seed);
extern void fake_mark_unstable (struct fake_state *s, uint64_t offset,
                                uint64_t length);
extern void fake_record_start (struct fake_store *fake, struct store_req *req);
extern void fake_fifo_push (struct fifo *f, struct store_req *req);
extern struct store_req *fake_fifo_pop (struct fifo *f);

/* Carry out the request, or fail it as the rules say, and call its done.
 * Takes the lock.
 */
extern void fake_finish (struct fake_store *fake, struct store_req *req);

#endif /* FAKE_STORE_STATE_H */
