/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The counting store, see counting-store.h.
 */

#include <stddef.h>

#include "tests/bench/counting-store.h"

static int
attach (struct store *store, struct ev_loop *loop)
{
  (void) store;
  (void) loop;
  return 0;
}

static void
nothing (struct store *store)
{
  (void) store;
}

static void
submit (struct store *store, struct store_req **reqs, unsigned n)
{
  struct counting_store *counting = (struct counting_store *) store;

  for (unsigned i = 0; i < n; ++i) {
    atomic_fetch_add (&counting->requests[reqs[i]->op], 1);
    atomic_fetch_add (&counting->bytes[reqs[i]->op], reqs[i]->length);
    reqs[i]->done (reqs[i], 0);
  }
}

static int
block_status (struct store *store, uint64_t offset, uint64_t length,
              store_extent_fn *fn, void *opaque)
{
  (void) store;
  fn (opaque, offset, length, STORE_DATA);
  return 0;
}

static const struct store_ops ops = {
  .name = "counting",
  .attach = attach,
  .detach = nothing,
  .submit = submit,
  .block_status = block_status,
  .close = nothing,
};

void
counting_store_init (struct counting_store *counting, struct env *env,
                     uint64_t size)
{
  *counting = (struct counting_store) {
    .store = {
      .ops = &ops,
      .env = env,
      .geo = {
        .size = size,
        .min_io = 512,
        .best_io = 1 << 20,
        .max_io = 2 << 20,
        .can_zero = true,
        .can_trim = true,
      },
    },
  };
}
