/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Requests that are under way together.
 */

#include <stddef.h>

#include "img/batch.h"

/* So that the count does not fall to 0 while more are added. */
#define BATCH_OPEN 1u

void
batch_begin (struct batch *b, struct env *env)
{
  b->env = env;
  atomic_init (&b->left, BATCH_OPEN);
  atomic_init (&b->error, 0);
}

static void
leave (struct batch *b)
{
  struct env *env = b->env; /* the waiter may be gone as soon as it is 0 */

  if (atomic_fetch_sub (&b->left, 1) == 1)
    env->wake (env, &b->left);
}

static void
req_done (struct store_req *req, int error)
{
  struct batch_req *r =
    (struct batch_req *) ((char *) req - offsetof (struct batch_req, req));
  int none = 0;

  if (error)
    atomic_compare_exchange_strong (&r->batch->error, &none, error);
  leave (r->batch);
}

void
batch_add (struct batch *b, struct batch_req *r, struct attached *a,
           enum store_op op, uint64_t offset, void *buf, uint64_t length)
{
  struct store_req *reqs[] = { &r->req };

  *r = (struct batch_req) {
    .iov = { buf, length },
    .batch = b,
    .req = { .op = op,
             .offset = offset,
             .length = length,
             .iov = &r->iov,
             .niov = 1,
             .done = req_done },
  };
  atomic_fetch_add (&b->left, 1);
  a->store->ops->submit (a->store, reqs, 1);
}

int
batch_wait (struct batch *b)
{
  uint32_t left;
  int error;

  leave (b);
  while ((left = atomic_load (&b->left)) > 0)
    b->env->wait (b->env, &b->left, left, ENV_FOREVER);
  error = atomic_load (&b->error);
  batch_begin (b, b->env);
  return error;
}
