/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A store that is open, with a thread for its loop.
 */

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/file/file.h"
#include "fs/nbd/nbd.h"
#include "fs/nbd/uri.h"
#include "img/attached.h"
#include "img/say.h"

#define IO_DEPTH 32
#define CONNECTIONS 4
#define RETRY (30 * NSEC_PER_SEC)
#define TICK 0.25       /* seconds */
#define LOOK (1u << 20) /* bytes at the start that are looked at */
#define ERROR_MAX 500

/* --- the loop --- */

static void
stop_loop (struct ev_loop *loop, ev_async *async, int revents)
{
  (void) async;
  (void) revents;
  ev_break (loop, EVBREAK_ALL);
}

static void
tick (struct attached *a)
{
  void (*fn) (void *opaque) = atomic_load (&a->tick);

  if (fn)
    fn (a->opaque);
}

static void
on_timer (struct ev_loop *loop, ev_timer *timer, int revents)
{
  (void) loop;
  (void) revents;
  tick (timer->data);
}

static void
on_bell (struct ev_loop *loop, ev_async *bell, int revents)
{
  (void) loop;
  (void) revents;
  tick (bell->data);
}

void
attached_ring (struct attached *a)
{
  ev_async_send (a->loop, &a->bell);
}

static void *
run_loop (void *opaque)
{
  struct attached *a = opaque;

  ev_run (a->loop, 0);
  return NULL;
}

static int
start_loop (struct attached *a)
{
  int r;

  a->loop = ev_loop_new (EVFLAG_AUTO);
  if (a->loop == NULL)
    return -ENOMEM;
  ev_async_init (&a->stop, stop_loop);
  ev_async_start (a->loop, &a->stop);
  ev_async_init (&a->bell, on_bell);
  a->bell.data = a;
  ev_async_start (a->loop, &a->bell);
  ev_timer_init (&a->timer, on_timer, TICK, TICK);
  a->timer.data = a;
  ev_timer_start (a->loop, &a->timer);
  r = a->store->ops->attach (a->store, a->loop);
  if (r < 0)
    return r;
  r = env_thread (&a->thread, 0, run_loop, a);
  if (r < 0)
    a->store->ops->detach (a->store);
  else
    a->running = true;
  return r;
}

/* --- opening --- */

static bool
has_prefix (const char *s, const char *prefix)
{
  return strncmp (s, prefix, strlen (prefix)) == 0;
}

static const char *
path_of (const char *name)
{
  return has_prefix (name, "file:") ? name + 5 : name;
}

/* Does it name a file?  An unknown kind of store is not to become one. */
static bool
is_path (const char *name)
{
  const char *colon = strstr (name, "://");

  return has_prefix (name, "file:") ||
         (!has_prefix (name, "nbd:") && !has_prefix (name, "rbd:") &&
          (colon == NULL || colon != name + strcspn (name, "/:")));
}

static int
open_nbd (struct attached *a, bool readonly, char *err)
{
#ifdef HAVE_LIBNBD
  struct nbd_store_options options = {
    .uri = a->name,
    .readonly = readonly,
    .connections = CONNECTIONS,
    .io_depth = IO_DEPTH,
    .retry = RETRY,
  };

  if (!nbd_store_check_uri (a->name, err, ERROR_MAX))
    return -EINVAL;
  return nbd_store_open (&a->env, &options, &a->store, err, ERROR_MAX);
#else
  (void) readonly;
  snprintf (err, ERROR_MAX, "%.200s: NBD stores are not in this build",
            a->name);
  return -ENOTSUP;
#endif
}

/* size: of a file to be made, or -1. */
static int
open_path (struct attached *a, const char *path, bool readonly, int64_t size,
           char *err)
{
  struct file_store_options options = {
    .path = path,
    .readonly = readonly,
    .create = size,
    .direct = DIRECT_AUTO,
    .io = FILE_IO_AUTO,
    .io_depth = IO_DEPTH,
  };

  return file_store_open (&a->env, &options, &a->store, err, ERROR_MAX);
}

static int
open_store (struct attached *a, const char *path, bool readonly, int64_t size)
{
  char err[ERROR_MAX] = "";
  int r;

  if (nbd_store_is_uri (a->name))
    r = open_nbd (a, readonly, err);
  else if (is_path (a->name))
    r = open_path (a, path, readonly, size, err);
  else {
    r = -EINVAL;
    snprintf (err, sizeof err,
              "%.200s: no such kind of store; allowed: PATH or file:PATH, "
              "nbd://HOST/EXPORT, nbds://, nbd+unix:// or nbds+unix://",
              a->name);
  }
  if (r == 0) {
    r = start_loop (a);
    if (r < 0)
      snprintf (err, sizeof err, "%.200s: cannot be used: %s", a->name,
                strerror (-r));
  }
  if (r < 0)
    say_error ("%s", err);
  return r;
}

static void
begin (struct attached *a, const char *name)
{
  *a = (struct attached) { .name = name };
  env_init (&a->env);
  a->env.log = say_log;
}

static bool
is_missing (const char *name)
{
  return !nbd_store_is_uri (name) && is_path (name) &&
         access (path_of (name), F_OK) < 0 && errno == ENOENT;
}

int
attached_open (struct attached *a, const char *name, bool readonly)
{
  int r;

  begin (a, name);
  if (is_missing (name)) {
    say_error ("%s: there is no such file", name);
    return -ENOENT;
  }
  r = open_store (a, path_of (name), readonly, -1);
  if (r < 0)
    attached_close (a);
  return r;
}

/* --- the end --- */

static int
sync_directory (const char *path)
{
  char *copy = strdup (path);
  int fd, r;

  if (copy == NULL)
    return -ENOMEM;
  fd = open (dirname (copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  free (copy);
  if (fd < 0)
    return -errno;
  r = fsync (fd) < 0 ? -errno : 0;
  close (fd);
  return r;
}

/* Not over one that somebody else has made meanwhile. */
static int
rename_part (const struct attached *a)
{
  const char *path = path_of (a->name);

  if (renameat2 (AT_FDCWD, a->part, AT_FDCWD, path, RENAME_NOREPLACE) == 0)
    return 0;
  if (errno != EINVAL && errno != ENOSYS)
    return -errno;
  if (access (path, F_OK) == 0) /* a filesystem that knows no such rename */
    return -EEXIST;
  return rename (a->part, path) < 0 ? -errno : 0;
}

int
attached_keep (struct attached *a)
{
  int r;

  if (a->part == NULL)
    return 0;
  r = rename_part (a);
  if (r < 0) {
    say_error ("%s: cannot be given its name: %s", a->name, strerror (-r));
    return r;
  }
  free (a->part);
  a->part = NULL;
  r = sync_directory (path_of (a->name));
  if (r < 0)
    say_error ("%s: its directory cannot be synced: %s", a->name,
               strerror (-r));
  return r;
}

void
attached_close (struct attached *a)
{
  if (a->running) {
    ev_async_send (a->loop, &a->stop);
    pthread_join (a->thread, NULL);
    a->store->ops->detach (a->store);
  }
  if (a->store)
    a->store->ops->close (a->store);
  if (a->loop)
    ev_loop_destroy (a->loop);
  if (a->part) {
    unlink (a->part);
    free (a->part);
  }
  *a = (struct attached) { 0 };
}

/* --- requests --- */

int
attached_io (struct attached *a, enum store_op op, unsigned flags,
             uint64_t offset, void *buf, uint64_t length)
{
  struct iovec iov = { buf, length };
  struct store_req req = {
    .op = op,
    .flags = flags,
    .offset = offset,
    .length = length,
    .iov = buf ? &iov : NULL,
    .niov = buf ? 1 : 0,
  };

  return store_submit_wait (a->store, &req);
}

int
attached_failed (const struct attached *a, const char *op, int error)
{
  say_error ("%s: %s: %s", a->name, op, strerror (-error));
  return error;
}

int
attached_flush (struct attached *a, uint32_t losses)
{
  int r = attached_io (a, STORE_FLUSH, 0, 0, NULL, 0);

  if (r < 0)
    return attached_failed (a, "cannot be flushed", r);
  if (store_losses (a->store) == losses)
    return 0;
  say_error ("%s: its server was restarted meanwhile, and may have lost what "
             "was written; begin again",
             a->name);
  return -ECONNRESET;
}

/* --- what is to be overwritten --- */

static void
note_data (void *opaque, uint64_t offset, uint64_t length,
           enum store_extent type)
{
  uint64_t *seen = opaque;

  if (offset == seen[0]) /* in order */
    seen[0] += length;
  seen[1] |= type == STORE_DATA;
}

/* Does the store say that there is data anywhere? */
static int
has_data (struct attached *a)
{
  const struct store_geometry *geo = &a->store->geo;
  uint64_t seen[2] = { 0, 0 }, before;
  int r;

  while (geo->can_extents && seen[0] < geo->size && !seen[1]) {
    before = seen[0];
    r = a->store->ops->block_status (a->store, before, geo->size - before,
                                     note_data, seen);
    if (r < 0)
      return attached_failed (a, "cannot be asked for holes", r);
    if (seen[0] == before)
      return 1;
  }
  return seen[1] != 0;
}

/* Is there nothing on the store but holes and zeroes, as far as a quick look tells: at
 * its start, and where it says that it has data?  1, 0 or a negative errno.
 */
static int
is_blank (struct attached *a)
{
  const struct store_geometry *geo = &a->store->geo;
  uint64_t length = geo->size < LOOK ? geo->size : LOOK;
  char *buf = NULL;
  int r;

  length = attached_units (a, length);
  if (posix_memalign ((void **) &buf, 4096, length ? length : 4096) != 0)
    return attached_failed (a, "out of memory", -ENOMEM);
  r = length ? attached_io (a, STORE_READ, 0, 0, buf, length) : 0;
  if (r < 0)
    attached_failed (a, "cannot be read", r);
  else if (length == 0 ||
           (buf[0] == 0 && memcmp (buf, buf + 1, length - 1) == 0)) {
    r = has_data (a);
    r = r < 0 ? r : !r;
  }
  free (buf);
  return r;
}

static int
make (struct attached *a, const char *name, uint64_t size)
{
  int r;

  begin (a, name);
  if (asprintf (&a->part, "%s.part-%ld", path_of (name), (long) getpid ()) <
      0) {
    a->part = NULL;
    say_error ("out of memory");
    return -ENOMEM;
  }
  r = open_store (a, a->part, false, (int64_t) size);
  if (r < 0)
    attached_close (a);
  return r;
}

int
attached_target (struct attached *a, const char *name, uint64_t size,
                 bool force, bool *blank)
{
  int r;

  *blank = true;
  if (is_missing (name))
    return make (a, name, size);
  r = attached_open (a, name, false);
  if (r < 0)
    return r;
  r = is_blank (a);
  *blank = r == 1;
  if (r == 0 && !force) {
    say_error ("%s: it holds something already; with --force that is "
               "overwritten",
               name);
    r = -EEXIST;
  }
  if (r < 0)
    attached_close (a);
  return r < 0 ? r : 0;
}
