/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Commands on threads of their own.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "cache/cache.h"
#include "fs/num.h"
#include "plugin/control/jobs.h"

/* Of a prefetch, what is read at once. */
#define CHUNK (UINT64_C (1) << 20)

struct job {
  struct control *control;
  const char *command;
  int (*run) (struct job *job);
  uint64_t offset, length; /* of a prefetch */
  pthread_t thread;
  int result;    /* the thread's, until it is over: 0 or a negative errno */
  uint64_t done; /* likewise: bytes, of those that tell */

  /* The control socket's thread's. */
  struct client *client; /* who waits for it, or NULL */
  json_t *id;            /* or NULL */

  pthread_mutex_t lock; /* of progress, told */
  struct sync_progress progress;
  bool told; /* it was sent */
  _Atomic bool over;
  _Atomic bool stop; /* nobody waits for it any more */
};

/* --- on a job's thread --- */

static void
note_progress (void *opaque, const struct sync_progress *p)
{
  struct job *job = opaque;

  pthread_mutex_lock (&job->lock);
  job->progress = *p;
  job->told = false;
  pthread_mutex_unlock (&job->lock);
  eventfd_write (job->control->wake, 1);
}

static struct mapping *
mapping_of (const struct job *job)
{
  return disk_mapping (job->control->disk);
}

static int
run_flush (struct job *job)
{
  return mapping_sync (mapping_of (job), note_progress, job);
}

static int
run_drop_clean (struct job *job)
{
  job->done = mapping_drop_clean (mapping_of (job));
  return 0;
}

static int
run_prefetch (struct job *job)
{
  struct env *env = job->control->env;
  struct sync_progress p = { .total_bytes = job->length };
  uint64_t since = env->now (env), next = since + NSEC_PER_SEC;
  struct conn *conn;
  int r = conn_create (mapping_of (job), &conn);

  if (r < 0)
    return r;
  while (r == 0 && p.done_bytes < job->length && !atomic_load (&job->stop)) {
    uint64_t count = min_u64 (job->length - p.done_bytes, CHUNK);

    r = cache_prefetch (conn, count, job->offset + p.done_bytes);
    p.done_bytes += count;
    p.elapsed = env->now (env) - since;
    if (since + p.elapsed >= next) {
      note_progress (job, &p);
      next += NSEC_PER_SEC;
    }
  }
  job->done = p.done_bytes;
  conn_destroy (conn);
  return r;
}

static void *
run (void *opaque)
{
  struct job *job = opaque;

  job->result = job->run (job);
  atomic_store (&job->over, true);
  eventfd_write (job->control->wake, 1);
  return NULL;
}

/* --- beginning --- */

static struct job **
free_place (struct control *control)
{
  unsigned i;

  for (i = 0; i < MAX_JOBS; i++)
    if (control->jobs[i] == NULL)
      return &control->jobs[i];
  return NULL;
}

static void
free_job (struct job *job)
{
  json_decref (job->id);
  pthread_mutex_destroy (&job->lock);
  free (job);
}

static json_t *
begin (struct call *call, const char *command, int (*run_job) (struct job *),
       uint64_t offset, uint64_t length)
{
  struct job **place = free_place (call->control), *job;

  if (place == NULL)
    return call_refuse (call, "GenericError",
                        "%d long commands are under way; try again later",
                        MAX_JOBS);
  job = calloc (1, sizeof *job);
  if (job == NULL)
    return call_refuse (call, "GenericError", "out of memory");
  job->control = call->control;
  job->command = command;
  job->run = run_job;
  job->offset = offset;
  job->length = length;
  job->client = call->client;
  job->id = json_incref (call->id);
  job->told = true;
  pthread_mutex_init (&job->lock, NULL);
  if (env_thread (&job->thread, 0, run, job) < 0) {
    free_job (job);
    return call_refuse (call, "GenericError", "cannot start a thread");
  }
  *place = job;
  call->client->waits++;
  call->later = true;
  return NULL;
}

json_t *
job_flush (struct call *call)
{
  return begin (call, "flush", run_flush, 0, 0);
}

json_t *
job_drop_clean (struct call *call)
{
  return begin (call, "drop-clean", run_drop_clean, 0, 0);
}

json_t *
job_prefetch (struct call *call)
{
  uint64_t size = disk_fs (call->control->disk)->size, offset, length;
  uint64_t most = call->control->config->cache_size / 2;

  if (!call_number (call, "offset", 0, size, &offset) ||
      !call_number (call, "length", 0, size, &length))
    return NULL;
  if (length > size - offset)
    return call_refuse (call, "GenericError",
                        "the range ends behind the disk, which has %llu bytes",
                        (unsigned long long) size);
  if (length > most)
    return call_refuse (call, "GenericError",
                        "length is more than half of the cache; allowed: up "
                        "to %llu",
                        (unsigned long long) most);
  return begin (call, "prefetch", run_prefetch, offset, length);
}

/* --- how far they are, and their end --- */

static void
detach (struct job *job)
{
  if (job->client)
    job->client->waits--;
  job->client = NULL;
  atomic_store (&job->stop, true);
}

static void
answer (struct job *job, json_t *object)
{
  struct client *client = job->client;

  if (job->id)
    json_object_set (object, "id", job->id);
  detach (job);
  client_send (client, object);
}

json_t *
job_cancel (struct call *call)
{
  json_t *id = json_object_get (call->arguments, "job");
  unsigned i;

  for (i = 0; i < MAX_JOBS; i++) {
    struct job *job = call->control->jobs[i];

    if (job && job->client == call->client && job->id && id &&
        json_equal (job->id, id)) {
      answer (job, client_error ("Cancelled", "it was cancelled"));
      return json_object ();
    }
  }
  return call_refuse (call, "GenericError",
                      "no long command of that id is under way here");
}

void
jobs_forget (struct control *control, const struct client *client)
{
  unsigned i;

  for (i = 0; i < MAX_JOBS; i++)
    if (control->jobs[i] && control->jobs[i]->client == client)
      detach (control->jobs[i]);
}

static void
send_progress (struct job *job)
{
  struct sync_progress p;
  bool told;
  json_t *data;

  pthread_mutex_lock (&job->lock);
  p = job->progress;
  told = job->told;
  job->told = true;
  pthread_mutex_unlock (&job->lock);
  if (told || job->client == NULL)
    return;
  data = json_pack ("{s:s,s:s,s:I,s:I,s:f}", "command", job->command, "disk",
                    DISK_NAME, "done", (json_int_t) p.done_bytes, "total",
                    (json_int_t) p.total_bytes, "seconds",
                    (double) p.elapsed / NSEC_PER_SEC);
  if (data && job->id)
    json_object_set (data, "job", job->id);
  client_send (job->client,
               json_pack ("{s:s,s:o}", "event", "progress", "data", data));
}

static void
finish (struct job *job)
{
  char why[CONFIG_ERROR_MAX];

  pthread_join (job->thread, NULL);
  if (job->client && job->result < 0) {
    errno = -job->result;
    snprintf (why, sizeof why, "%s: %m", job->command);
    answer (job, client_error ("GenericError", why));
  }
  else if (job->client)
    answer (job, json_pack ("{s:{s:s,s:I}}", "return", "disk", DISK_NAME,
                            "bytes", (json_int_t) job->done));
  free_job (job);
}

void
jobs_look (struct control *control)
{
  unsigned i;

  for (i = 0; i < MAX_JOBS; i++) {
    struct job *job = control->jobs[i];

    if (job && atomic_load (&job->over)) {
      control->jobs[i] = NULL;
      finish (job);
    }
    else if (job)
      send_progress (job);
  }
}

void
jobs_end (struct control *control)
{
  unsigned i;

  for (i = 0; i < MAX_JOBS; i++)
    if (control->jobs[i])
      detach (control->jobs[i]);
  for (i = 0; i < MAX_JOBS; i++)
    if (control->jobs[i])
      finish (control->jobs[i]);
}
