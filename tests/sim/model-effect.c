/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A store in a model world: what a request does to its medium.
 */

#include <errno.h>

#include "model-store-impl.h"

static bool
changes (const struct store_req *req)
{
  return req->op != STORE_READ && req->op != STORE_FLUSH;
}

static void
read_medium (struct model_store *s, const struct store_req *req)
{
  uint64_t pos = req->offset;
  int i;

  for (i = 0; i < req->niov; i++) {
    medium_read (s->medium, pos, req->iov[i].iov_base, req->iov[i].iov_len);
    pos += req->iov[i].iov_len;
  }
}

static void
take_effect (struct model_store *s, const struct model_job *job)
{
  const struct store_req *req = job->req;

  if (req->op == STORE_READ)
    read_medium (s, req);
  else if (req->op == STORE_FLUSH)
    medium_flush (s->medium, job->seq, 0, UINT64_MAX);
  else {
    medium_apply (s->medium, req, 100);
    if (req->flags & STORE_FUA)
      medium_flush (s->medium, UINT64_MAX, req->offset, req->length);
  }
}

void
model_take_some_effect (struct model_store *s, const struct store_req *req)
{
  static const unsigned percents[] = { 0, 10, 50, 90, 100 };

  if (changes (req))
    medium_apply (s->medium, req, percents[world_below (s->world, 5)]);
}

/* Of what is under way, some is done, though not yet told to be: what happens
 * to the medium now happens to it, too; but with FUA it is durable when it is done.
 */
static void
do_early (struct model_store *s)
{
  struct model_job *job;

  for (job = s->running; job; job = job->next)
    if (changes (job->req) && !(job->req->flags & STORE_FUA) &&
        world_chance (s->world, 50)) {
      medium_apply (s->medium, job->req, 100);
      job->spent = true;
    }
}

static void
fail_flush (struct model_store *s)
{
  if (s->config.flush_failure == MODEL_KEEPS)
    return;
  do_early (s);
  if (s->config.flush_failure == MODEL_DOOMS)
    medium_doom (s->medium);
  else
    medium_cut (s->medium);
}

static int
try_to (struct model_store *s, const struct model_job *job)
{
  int error;

  if (s->medium == NULL)
    return -EIO;
  if (s->given_up)
    return -EHOSTDOWN;
  if (job->spent)
    return 0;
  if ((job->req->flags & STORE_FAST_ZERO) && world_chance (s->world, 20))
    return -ENOTSUP;
  error = faults_strike (&s->faults, s->world, job->req);
  if (error == 0)
    take_effect (s, job);
  else if (job->req->op == STORE_FLUSH)
    fail_flush (s);
  else
    model_take_some_effect (s, job->req);
  return error;
}

int
model_carry_out (struct model_store *s, const struct model_job *job)
{
  int error = try_to (s, job);

  s->lost += error && s->config.losing & 1u << job->req->op;
  return error;
}
