/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What is the same for all stores.
 */

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "fs/store.h"

struct waited {
  struct store_req req;
  struct store *store;
  struct completion completion;
  int error;
};

static void
wake_waiter (struct store_req *req, int error)
{
  struct waited *w =
    (struct waited *) ((char *) req - offsetof (struct waited, req));

  w->error = error;
  store_note_flush (w->store, req->op, error);
  completion_signal (w->store->env, &w->completion);
}

int
store_submit_wait (struct store *store, struct store_req *req)
{
  struct waited w = { .req = *req, .store = store };
  struct store_req *reqs[1] = { &w.req };

  w.req.done = wake_waiter;
  store->ops->submit (store, reqs, 1);
  completion_wait (store->env, &w.completion);
  return w.error;
}

void
store_req_clear_rest (const struct store_req *req)
{
  uint64_t skip;
  const struct iovec *iov = store_req_iov (req, &skip);

  for (; iov < req->iov + req->niov; iov++, skip = 0)
    memset ((char *) iov->iov_base + skip, 0, iov->iov_len - skip);
}

void *
store_map (size_t size, int protection)
{
  void *p = mmap (NULL, size, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

  return p == MAP_FAILED ? NULL : p;
}

int
store_refuse (const struct store_message *m, int error, const char *fmt, ...)
{
  va_list args;
  char *s;

  va_start (args, fmt);
  if (vsnprintf (m->text, m->size, fmt, args) < 0 && m->size > 0)
    m->text[0] = '\0';
  va_end (args);
  for (s = m->text; m->size > 0 && *s; s++) /* it may hold anything */
    if ((unsigned char) *s < ' ' || *s == 0x7f)
      *s = '?';
  return error;
}
