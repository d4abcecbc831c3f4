/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Inside of fills: one fill, which reads what several folios miss.
 */

#ifndef FOLIO_FILL_BUILD_H
#define FOLIO_FILL_BUILD_H

#include <sys/uio.h>

#include "cache/request/fill.h"
#include "cache/request/mapping.h"

#define FILL_RUNS 256 /* 1 MiB, if all folios are single pages */
#define FILL_REQS 16
#define POOL_FILLS 32

/* A run of missing sectors of one folio. */
struct fill_run {
  struct folio *folio;
  unsigned first, last;
  int req; /* by which request it is read */
};

/* Fills that someone waits for together. */
struct fill_group {
  struct completion done;
  _Atomic unsigned pending; /* fills, and one while more may come */
  _Atomic int error;
};

struct fill {
  struct mapping *mapping;
  struct fill_pool *pool;   /* to go back to, or NULL */
  struct fill_group *group; /* NULL: nobody waits */
  struct fill *next;
  _Atomic unsigned pending; /* requests, and one while being built */
  unsigned counted;         /* of fs->readers */
  uint32_t losses;          /* the iomap's */
  struct watch watch;       /* of what it reads */
  unsigned nr_runs, nr_reqs;
  struct fill_run runs[FILL_RUNS]; /* those of a folio stand together */
  struct iovec iov[FILL_RUNS];     /* of the same run */
  struct fill_req {
    struct store_req req; /* first */
    struct fill *fill;
    int error;
  } reqs[FILL_REQS];
};

struct fill_pool {
  pthread_mutex_t lock; /* a leaf */
  struct env *env;
  struct fill *free;
  _Atomic uint32_t busy; /* futex word: fills of the pool in flight */
  struct fill all[POOL_FILLS];
};

/* A fill of the mapping's pool, NULL if none is free. */
extern struct fill *fill_pool_get (struct fill_pool *pool);

extern void fill_group_start (struct fill_group *group);

/* Wait for all fills of the group; returns 0 or an error that one had. */
extern int fill_group_wait (struct env *env, struct fill_group *group);

/* Begin to build a fill, of what the iterator has: of the pool, or NULL; of the
 * group, or NULL if nobody waits.  Must be submitted.
 */
extern void fill_start (struct fill *fill, struct mapping *mapping,
                        const struct iomap_iter *iter, struct fill_pool *pool,
                        struct fill_group *group);

/* Grab folios of pages [*page, last] and add what they miss, until the fill is
 * full or something would have to be waited for.  For that readahead never
 * waits, but goes on behind what is locked; others do once the fill is empty.
 * *page moves on.
 */
extern int fill_gather (struct fill *fill, const struct iomap_iter *iter,
                        uint64_t *page, uint64_t last, bool ahead);

/* What is sent will be waited for, and by then there is nothing else to do. */
extern void fill_await (struct fill *fill);

/* Send it.  A fill of the pool may be another's afterwards. */
extern void fill_submit (struct fill *fill);

#endif /* FOLIO_FILL_BUILD_H */
