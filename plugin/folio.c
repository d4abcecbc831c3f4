/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * nbdkit's callbacks: what nbdkit says, translated for the disk and its cache.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "cache/cache.h"
#include "fs/nbd/uri.h"
#include "plugin/abort.h"
#include "plugin/answer.h"
#include "plugin/cmdline.h"
#include "plugin/config.h"
#include "plugin/disk.h"
#include "plugin/exit.h"
#include "plugin/log.h"
#include "plugin/memory.h"
#include "plugin/services.h"
#include "plugin/signals.h"

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

/* nbdkit hands its callbacks nothing of ours before a client comes, so these
 * are where the rest begins.  Written before the first client and after
 * the last one only.
 */
static struct config config;
static struct cmdline cmdline;
static struct disk *disk;
static struct services *services;

/* --- start and end --- */

static void
folio_load (void)
{
  config_init (&config);
}

static void
folio_unload (void)
{
  config_free (&config);
}

static int
folio_config (const char *key, const char *value)
{
  char err[CONFIG_ERROR_MAX];

  if (config_set (&config, key, value, err) == 0)
    return 0;
  nbdkit_error ("%s", err);
  return -1;
}

/* nbdkit goes to / when it forks: what is opened again later must still be
 * found, and messages should still name the file.
 */
static int
make_absolute (void)
{
  char *absolute;

  if (config.nbd) {
    absolute = nbd_store_absolute_uri (config.store);
    if (absolute == NULL)
      nbdkit_error ("store=%s: cannot make its paths absolute: %m",
                    config.store);
  }
  else
    absolute = nbdkit_absolute_path (config.store);
  if (absolute == NULL)
    return -1;
  free (config.store);
  config.store = absolute;
  return 0;
}

static int
folio_config_complete (void)
{
  char err[CONFIG_ERROR_MAX];

  if (config_check (&config, err) == 0)
    return make_absolute ();
  nbdkit_error ("%s", err);
  return -1;
}

static void
folio_dump_plugin (void)
{
  config_dump (stdout);
}

/* Undo what was made.  Returns as disk_close. */
static int
undo (void)
{
  int r = disk_save (disk);

  services_close (services);
  services = NULL;
  disk_close (disk);
  disk = NULL;
  return r;
}

/* nbdkit refuses to start, as when its port is in use, and tells no plugin: what
 * was made for the start is undone.  Not when it has forked and leaves the disk to
 * its child.
 */
static void
undo_at_exit (void)
{
  ABORT_INSIDE;

  if (!signals_is_parent ())
    undo ();
}

static int
folio_get_ready (void)
{
  ABORT_INSIDE;
  char err[CONFIG_ERROR_MAX];
  int r;

  cmdline_read (&cmdline);
  if (disk_open (&config, &cmdline, &disk, err) < 0) {
    nbdkit_error ("%s", err);
    return -1;
  }
  if (services_open (&config, &services, err) < 0) {
    nbdkit_error ("%s", err);
    undo ();
    return -1;
  }
  r = signals_prepare ();
  if (r == 0)
    r = exit_prepare ();
  if (r == 0) {
    exit_call (undo_at_exit);
    return 0;
  }
  undo ();
  errno = -r;
  nbdkit_error ("cannot start: %m");
  return -1;
}

/* nbdkit ends without calling cleanup, as when it finds no memory to take a
 * connection.
 */
static void
save_at_exit (void)
{
  ABORT_INSIDE;

  abort_refuse ();
  if (disk_save (disk) < 0)
    exit_data_lost ();
}

static int
start (char *err)
{
  int r = config.preallocate ? memory_lock (err, CONFIG_ERROR_MAX) : 0;

  if (r < 0)
    return r;
  r = disk_start (disk);
  if (r == 0)
    r = services_start (services, disk);
  errno = -r;
  if (r < 0)
    snprintf (err, CONFIG_ERROR_MAX, "cannot start: %m");
  return r;
}

static int
folio_after_fork (void)
{
  ABORT_INSIDE;
  char err[CONFIG_ERROR_MAX];

  signals_start ();
  log_start (cmdline.log, signals_forked () && !cmdline.run);
  if (start (err) == 0) {
    abort_start (ABORT_SECONDS);
    exit_call (save_at_exit);
    return 0;
  }
  exit_call (NULL);
  signals_stop ();
  undo ();
  nbdkit_error ("%s", err);
  return -1;
}

static void
folio_cleanup (void)
{
  ABORT_INSIDE;
  exit_call (NULL);
  if (disk && undo () < 0)
    exit_data_lost ();
  abort_stop ();
  signals_stop ();
}

/* --- connections --- */

static void *
folio_open (int readonly)
{
  ABORT_INSIDE;
  struct conn *conn;
  int r = disk_connect (disk, &conn);

  (void) readonly; /* nbdkit refuses writes itself */
  if (r == 0)
    return conn;
  errno = -r;
  nbdkit_error ("cannot take one more connection: %m");
  return NULL;
}

static void
folio_close (void *handle)
{
  ABORT_INSIDE;
  disk_disconnect (disk, handle);
}

static int64_t
folio_get_size (void *handle)
{
  (void) handle;
  return (int64_t) disk_fs (disk)->size;
}

/* Any request is possible, whole pages are best.  32 MiB is what clients take
 * for the largest request when they are told nothing.
 */
static int
folio_block_size (void *handle, uint32_t *minimum, uint32_t *preferred,
                  uint32_t *maximum)
{
  (void) handle;
  *minimum = 1;
  *preferred = 4096;
  *maximum = 32 << 20;
  return 0;
}

static int
yes (void *handle)
{
  (void) handle;
  return 1;
}

static int
folio_can_write (void *handle)
{
  (void) handle;
  return !disk_fs (disk)->readonly;
}

static int
folio_is_rotational (void *handle)
{
  (void) handle;
  return disk_fs (disk)->rotational;
}

/* A trimmed range reads as zeroes at once, so that must not cost writing them
 * all to a store that has no better way.
 */
static int
folio_can_trim (void *handle)
{
  (void) handle;
  return disk_fs (disk)->can_trim;
}

static int
folio_can_fua (void *handle)
{
  (void) handle;
  return NBDKIT_FUA_NATIVE;
}

static int
folio_can_cache (void *handle)
{
  (void) handle;
  return NBDKIT_CACHE_NATIVE;
}

/* --- requests --- */

/* A request failed with a negative errno.  Returns -1. */
static int
failed (int r, const char *what, uint32_t count, uint64_t offset)
{
  char request[80];

  snprintf (request, sizeof request, "%s of %" PRIu32 " bytes at %" PRIu64,
            what, count, offset);
  return answer_error (disk, r, request);
}

/* What was done in memory only, and too late to be saved with the rest, was not
 * done.
 */
static int
if_in_time (int r)
{
  return r == 0 && !abort_may_acknowledge () ? -ESHUTDOWN : r;
}

static unsigned
cache_flags (uint32_t flags)
{
  return (flags & NBDKIT_FLAG_FUA ? CACHE_FUA : 0) |
         (flags & NBDKIT_FLAG_MAY_TRIM ? CACHE_MAY_TRIM : 0) |
         (flags & NBDKIT_FLAG_FAST_ZERO ? CACHE_FAST_ZERO : 0);
}

static int
folio_pread (void *handle, void *buf, uint32_t count, uint64_t offset,
             uint32_t flags)
{
  ABORT_INSIDE;
  int r = cache_read (handle, buf, count, offset);

  (void) flags;
  return r < 0 ? failed (r, "read", count, offset) : 0;
}

static int
folio_pwrite (void *handle, const void *buf, uint32_t count, uint64_t offset,
              uint32_t flags)
{
  ABORT_INSIDE;
  int r =
    if_in_time (cache_write (handle, buf, count, offset, cache_flags (flags)));

  return r < 0 ? failed (r, "write", count, offset) : 0;
}

static int
folio_flush (void *handle, uint32_t flags)
{
  ABORT_INSIDE;
  int r = cache_flush (handle);

  (void) flags;
  return r < 0 ? answer_error (disk, r, "flush") : 0;
}

static int
folio_zero (void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
  ABORT_INSIDE;
  int r = if_in_time (cache_zero (handle, count, offset, cache_flags (flags)));

  if (r == -ENOTSUP && flags & NBDKIT_FLAG_FAST_ZERO) {
    nbdkit_set_error (EOPNOTSUPP); /* that was the question */
    return -1;
  }
  return r < 0 ? failed (r, "zero", count, offset) : 0;
}

static int
folio_trim (void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
  ABORT_INSIDE;
  int r = if_in_time (cache_trim (handle, count, offset, cache_flags (flags)));

  return r < 0 ? failed (r, "trim", count, offset) : 0;
}

static int
folio_cache (void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
  ABORT_INSIDE;
  int r = cache_prefetch (handle, count, offset);

  (void) flags;
  return r < 0 ? failed (r, "cache", count, offset) : 0;
}

struct extents_request {
  struct nbdkit_extents *extents;
  bool one;   /* stop after the first extent */
  bool begun; /* type is set */
  uint32_t type;
  int error; /* errno of nbdkit_add_extent */
};

static bool
add_extent (void *opaque, uint64_t offset, uint64_t length, bool hole,
            bool zero)
{
  struct extents_request *req = opaque;
  uint32_t type =
    (hole ? NBDKIT_EXTENT_HOLE : 0) | (zero ? NBDKIT_EXTENT_ZERO : 0);

  if (req->one && req->begun && type != req->type)
    return false;
  req->begun = true;
  req->type = type;
  if (nbdkit_add_extent (req->extents, offset, length, type) == 0)
    return true;
  req->error = errno;
  return false;
}

static int
folio_extents (void *handle, uint32_t count, uint64_t offset, uint32_t flags,
               struct nbdkit_extents *extents)
{
  ABORT_INSIDE;
  struct extents_request req = {
    .extents = extents,
    .one = flags & NBDKIT_FLAG_REQ_ONE,
  };
  int r = cache_extents (handle, count, offset, add_extent, &req);

  if (r == 0)
    r = -req.error;
  return r < 0 ? failed (r, "block status", count, offset) : 0;
}

static struct nbdkit_plugin plugin = {
  .name = "folio",
  .longname = "nbdkit folio plugin",
  .version = PACKAGE_VERSION,
  .description = "Serve a disk from a file, a block device or an NBD server "
                 "through\na page cache with write-back.",
  .load = folio_load,
  .unload = folio_unload,
  .config = folio_config,
  .config_complete = folio_config_complete,
  .config_help = config_help,
  .magic_config_key = "store",
  .dump_plugin = folio_dump_plugin,
  .get_ready = folio_get_ready,
  .after_fork = folio_after_fork,
  .cleanup = folio_cleanup,
  .open = folio_open,
  .close = folio_close,
  .get_size = folio_get_size,
  .block_size = folio_block_size,
  .can_write = folio_can_write,
  .can_flush = yes,
  .can_fua = folio_can_fua,
  .can_multi_conn = yes,
  .can_trim = folio_can_trim,
  .can_zero = yes,
  /* Each request gets its answer, which may always be ENOTSUP; so the protocol
   * has it.  A client may send one that was not offered, and nbdkit aborts then.
   */
  .can_fast_zero = yes,
  .can_cache = folio_can_cache,
  .can_extents = yes,
  .is_rotational = folio_is_rotational,
  .pread = folio_pread,
  .pwrite = folio_pwrite,
  .flush = folio_flush,
  .trim = folio_trim,
  .zero = folio_zero,
  .cache = folio_cache,
  .extents = folio_extents,
  .errno_is_preserved = 1,
};

/* The entry point, which the macro defines; nbdkit's header declares it not. */
NBDKIT_DLL_PUBLIC struct nbdkit_plugin *plugin_init (void);

NBDKIT_REGISTER_PLUGIN (plugin)
