/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A whole cache over a fake store, for the unit tests of cache/: environment,
 * store, raw fs, cache, mapping with its loop thread, and connections.
 *
 *   CACHE_TEST (what_must_hold, .cache_size = 1 * MiB)
 *   {
 *     ... cache_write (f->conn, ...), fake_store_hold (f->fake, ...) ...
 *   }
 *
 * By default nothing is written back unless asked for: limits are far away and
 * so are the timers.  Requests that will block run as jobs, on threads of their
 * own; fixture_until_asleep tells that they have gone to sleep.
 */

#ifndef CACHE_FIXTURE_H
#define CACHE_FIXTURE_H

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cache/cache.h"
#include "cache/request/fill.h"
#include "cache/request/grab.h"
#include "cache/request/mapping.h"
#include "cache/pace/balance.h"
#include "cache/life/snapshot.h"
#include "fake-store.h"
#include "test.h"

#define KiB UINT64_C (1024)
#define MiB (UINT64_C (1) << 20)
#define PAGE ((uint64_t) PAGE_SIZE)
#define TiB (UINT64_C (1) << 40)

#define NR_CONNS 4

struct fixture;

/* Zero members stand for the defaults in brackets. */
struct fixture_config {
  uint64_t disk_size;        /* [16 MiB] */
  uint64_t cache_size;       /* [32 MiB] */
  uint64_t dirty_limit;      /* [the cache's size] */
  uint64_t dirty_background; /* [half the limit] */
  uint32_t min_io;           /* [512] */
  uint32_t best_io;          /* [1 MiB] */
  uint64_t readahead, sequential_cutoff;
  enum cache_mode mode;
  unsigned max_order; /* [9; the cache takes less if it is small] */
  bool small_folios;  /* max_order 0 */
  unsigned io_depth;  /* [16] */
  unsigned max_runs;  /* [1] that the fs says it can place together */
  bool fake_clock;    /* waiting with a deadline moves the clock there */
  bool readonly;
  bool fua;              /* the store has it */
  bool no_zero;          /* the store can only write them */
  bool doubt_zero;       /* or that is to be found out */
  bool no_loop;          /* no loop thread: the test makes write-back's steps */
  uint64_t flush_target; /* [off] */
  void (*tick) (struct fixture *f); /* called whenever the clock is read */
  /* Waits instead of the fixture, or returns false. */
  bool (*wait) (struct fixture *f, _Atomic uint32_t *word, uint32_t value,
                uint64_t deadline);
};

/* Stops a thread when it wakes up from waiting for what it waited for. */
struct gate {
  _Atomic uint32_t arrived, open;
};

struct fixture {
  struct env env; /* first */
  struct env real;
  struct fixture_config config;
  struct fake_store *fake;
  struct fs *fs;
  struct iomap_ops ops; /* fs's; a test may replace some */
  const struct iomap_ops *raw_ops;
  struct cache *cache;
  struct mapping *mapping;
  struct conn *conns[NR_CONNS];
  struct conn *conn;       /* the first */
  _Atomic uint64_t clock;  /* ns, if fake_clock */
  _Atomic unsigned asleep; /* jobs in env->wait */
  _Atomic unsigned errors; /* messages of LOG_ERROR */
  pthread_mutex_t log_lock;
  char log[8192]; /* these messages, a line each, as far as there is room */
};

extern struct fixture *fixture_start (const struct fixture_config *config);

/* How many of the messages of LOG_ERROR contain these words. */
extern unsigned fixture_logged (struct fixture *f, const char *words);

/* Let everything go, stop and free.  No jobs are left. */
extern void fixture_stop (struct fixture *f);

/* A test with a fixture, f, that this expression starts. */
#define FIXTURE_TEST(name, start)                                              \
  TEST_WITH (name, struct fixture *f, start, fixture_stop)

/* A test with one of this configuration. */
#define CACHE_TEST(name, ...)                                                  \
  FIXTURE_TEST (name, fixture_start (&(struct fixture_config) { __VA_ARGS__ }))

/* --- jobs --- */

enum job_op { JOB_READ, JOB_WRITE, JOB_FLUSH, JOB_ZERO, JOB_TRIM };

struct job {
  enum job_op op;
  void *buf;
  uint64_t count, offset;
  unsigned flags;
  struct gate *gate; /* may be NULL */

  struct fixture *f;
  struct conn *conn;
  pthread_t thread;
  int result;
  _Atomic bool done;
};

/* Start job, whose first members are set, on a connection. */
extern void job_start (struct fixture *f, unsigned conn, struct job *job);

/* Wait for its end; returns the request's result. */
extern int job_join (struct job *job);

/* Start it, and wait until the store holds a request of this kind, from now on. */
extern void job_start_held (struct fixture *f, unsigned conn, struct job *job,
                            enum store_op op);

/* The store holds them no more; the job ends and succeeds. */
extern void job_let_go (struct fixture *f, struct job *job, enum store_op op);

/* Yield until `jobs' jobs are asleep. */
extern void fixture_until_asleep (struct fixture *f, unsigned jobs);

/* Yield until the condition holds (or run-one.sh loses patience). */
#define UNTIL(condition)                                                       \
  do {                                                                         \
    while (!(condition))                                                       \
      sched_yield ();                                                          \
  } while (0)

extern void gate_await (struct gate *gate);
extern void gate_open (struct fixture *f, struct gate *gate);

/* --- data --- */

/* n bytes at a place of the disk, of a version: each differs from others. */
extern void fill_pattern (void *buf, size_t n, uint64_t offset,
                          unsigned version);

/* A flush on that connection; it succeeds. */
extern void flush_ok (struct fixture *f, unsigned conn);

/* Write the pattern of a version; returns what cache_write does. */
extern int put_flags (struct fixture *f, unsigned conn, uint64_t offset,
                      uint64_t n, unsigned version, unsigned flags);

/* Write, or expect to read, the pattern of a version. */
extern void put (struct fixture *f, uint64_t offset, uint64_t n,
                 unsigned version);
extern void expect (struct fixture *f, uint64_t offset, uint64_t n,
                    unsigned version);
extern void expect_zero (struct fixture *f, uint64_t offset, uint64_t n);

/* The same of the store's content. */
extern void store_put (struct fixture *f, uint64_t offset, uint64_t n,
                       unsigned version);
extern void store_expect (struct fixture *f, uint64_t offset, uint64_t n,
                          unsigned version);
extern void store_expect_zero (struct fixture *f, uint64_t offset, uint64_t n);

/* Have the fs ask the store where its holes are. */
extern void learn_extents (struct fixture *f);

/* The i-th request of op since the record was cleared; fails if it is not
 * there.
 */
extern struct fake_record nth_request (struct fixture *f, enum store_op op,
                                       unsigned i);

/* --- state --- */

/* The masks of the page (see folio.h), 0 if it is not there. */
extern uint32_t page_masks (struct fixture *f, uint64_t page);

/* Go over the whole index: do counters and tags match the masks?  Fails if not.
 * Nothing runs meanwhile.
 */
extern void check_state (struct fixture *f);

/* The same after a flush that succeeded, once the loop thread has taken note of
 * all that is clean now.
 */
extern void check_flushed (struct fixture *f);

#endif /* CACHE_FIXTURE_H */
