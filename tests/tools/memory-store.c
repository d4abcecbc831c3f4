/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A store in memory.
 */

#include <errno.h>
#include <string.h>

#include "memory-store.h"

static struct memory_store *
memory_of (struct store *store)
{
  return (struct memory_store *) store; /* its first member */
}

static void
transfer (struct memory_store *m, const struct store_req *req)
{
  uint64_t pos = req->offset, n, size = m->store.geo.size;
  int i;

  for (i = 0; i < req->niov; i++, pos += n) {
    char *buf = req->iov[i].iov_base;
    uint64_t inside = pos >= size ? 0 : size - pos;

    n = req->iov[i].iov_len;
    if (inside > n)
      inside = n;
    if (req->op == STORE_WRITE)
      memcpy (m->content + pos, buf, inside);
    else {
      memcpy (buf, m->content + pos, inside);
      memset (buf + inside, 0, n - inside);
    }
  }
}

static void
submit (struct store *store, struct store_req **reqs, unsigned n)
{
  struct memory_store *m = memory_of (store);
  unsigned i;

  for (i = 0; i < n; i++) {
    struct store_req *req = reqs[i];
    uint64_t end = store_req_end (store, req);

    if (req->op == STORE_READ || req->op == STORE_WRITE)
      transfer (m, req);
    else if (req->op != STORE_FLUSH && end > req->offset)
      memset (m->content + req->offset, 0, end - req->offset);
    req->done (req, 0);
  }
}

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

static const struct store_ops memory_ops = {
  .name = "memory",
  .attach = attach,
  .detach = nothing,
  .submit = submit,
  .close = nothing,
};

static void
count_message (struct env *env, enum log_level level, const char *message)
{
  struct memory_store *m =
    (struct memory_store *) ((char *) env -
                             offsetof (struct memory_store, env));

  (void) level;
  (void) message;
  m->logged++;
}

void
memory_store_init (struct memory_store *m, uint8_t *content, uint64_t size)
{
  *m = (struct memory_store) {
    .store = { .ops = &memory_ops,
               .env = &m->env,
               .geo = { .size = size,
                        .min_io = 512,
                        .best_io = 1 << 20,
                        .max_io = 2 << 20,
                        .can_zero = true,
                        .can_trim = true } },
    .content = content,
  };
  env_init (&m->env);
  m->env.log = count_message;
}
