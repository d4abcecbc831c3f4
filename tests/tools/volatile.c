/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * An nbdkit plugin for tests: a server that loses what was not flushed.
 * Writes, zeroes and trims stay in memory; only a flush, or FUA, takes
 * them to the file.  Of what is not flushed single sectors, at random, get
 * there early.  However the server ends, the rest is gone.
 *
 *   file=PATH        the disk
 *   seed=N           of the choices it makes
 *   leak=PERCENT     of the sectors written reach the file early (10)
 *   kill-after=N     SIGKILL itself at the Nth step of its work: before, in
 *                    the middle of or after a request (0: never)
 *   kill-in=KIND     where only steps of such requests count: zero (trims too),
 *                    write or flush
 *   flush-delay=MS   how long a flush takes, in which others go on (0)
 */

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "util.h"

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL
#define SECTOR 512
/* What extents are told apart by. */
#define BLOCK 4096

/* Steps of its work, by what it is at. */
enum work {
  WORK_ANY,
  WORK_ZERO,
  WORK_WRITE,
  WORK_FLUSH,
  WORK_OTHER,
};
static const char *const work_names[] = { "any", "zero", "write", "flush" };

static char *path;
static enum work kill_in = WORK_ANY;
static uint64_t seed, leak = 10, kill_after, flush_delay;

static int fd = -1;
static uint64_t size, sectors;

/* One flush at a time; taken before lock, which guards all that follows. */
static pthread_mutex_t flushing = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct rng rng;
static uint64_t steps;
static uint8_t *disk; /* what clients see */
static bool *dirty;   /* a sector: not in the file */
static bool *flushed; /* that the flush at work takes to the file */

/* One more step; the last one is never answered. */
static void
step (enum work work)
{
  if ((kill_in == WORK_ANY || kill_in == work) && ++steps == kill_after)
    kill (getpid (), SIGKILL);
}

/* --- start --- */

static int
parse_work (const char *name)
{
  for (kill_in = WORK_ANY; kill_in < WORK_OTHER; kill_in++)
    if (strcmp (name, work_names[kill_in]) == 0)
      return 0;
  nbdkit_error ("unknown kind %s", name);
  return -1;
}

static int
volatile_config (const char *key, const char *value)
{
  if (strcmp (key, "file") == 0)
    path = nbdkit_absolute_path (value);
  else if (strcmp (key, "seed") == 0)
    seed = size_option (key, value);
  else if (strcmp (key, "leak") == 0)
    leak = size_option (key, value);
  else if (strcmp (key, "kill-after") == 0)
    kill_after = size_option (key, value);
  else if (strcmp (key, "kill-in") == 0)
    return parse_work (value);
  else if (strcmp (key, "flush-delay") == 0)
    flush_delay = size_option (key, value);
  else {
    nbdkit_error ("unknown parameter %s", key);
    return -1;
  }
  return 0;
}

static int
volatile_config_complete (void)
{
  if (path)
    return 0;
  nbdkit_error ("file= is missing");
  return -1;
}

static int
volatile_get_ready (void)
{
  struct stat st;

  fd = open (path, O_RDWR | O_CLOEXEC);
  if (fd < 0 || fstat (fd, &st) < 0) {
    nbdkit_error ("%s: %m", path);
    return -1;
  }
  size = (uint64_t) st.st_size;
  sectors = (size + SECTOR - 1) / SECTOR;
  dirty = xcalloc (sectors, sizeof *dirty);
  flushed = xcalloc (sectors, sizeof *flushed);
  disk = mmap (NULL, sectors * SECTOR, PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (disk == MAP_FAILED)
    die ("no memory for the disk");
  read_all (fd, path, disk, size);
  rng.state = mix64 (seed);
  return 0;
}

/* --- requests; lock is held below --- */

static int
put (uint64_t sector)
{
  uint64_t at = sector * SECTOR;
  uint64_t n = size - at < SECTOR ? size - at : SECTOR;

  return pwrite (fd, disk + at, n, (off_t) at) == (ssize_t) n ? 0 : -1;
}

/* Take the sectors that set marks, in [first, end), to the file; those that
 * meanwhile were written once more go as they are now.
 */
static int
save (enum work work, const bool *set, uint64_t first, uint64_t end)
{
  for (; first < end; first++) {
    if (!set[first])
      continue;
    step (work);
    if (put (first) < 0)
      return -1;
  }
  return 0;
}

static void
changed (uint64_t first, uint64_t end)
{
  for (; first < end; first++)
    dirty[first] = !rng_chance (&rng, (unsigned) leak) || put (first) < 0;
}

static int
change (const void *buf, uint64_t count, uint64_t offset, uint32_t flags)
{
  uint64_t first = offset / SECTOR;
  uint64_t end = (offset + count + SECTOR - 1) / SECTOR;
  enum work work = buf ? WORK_WRITE : WORK_ZERO;
  int r = 0;

  pthread_mutex_lock (&lock);
  step (work);
  if (buf)
    memcpy (disk + offset, buf, count);
  else
    memset (disk + offset, 0, count);
  changed (first, end);
  if (flags & NBDKIT_FLAG_FUA) {
    r = save (work, dirty, first, end);
    memset (dirty + first, 0, (end - first) * sizeof *dirty);
  }
  step (work);
  pthread_mutex_unlock (&lock);
  if (r < 0)
    nbdkit_error ("%s: %m", path);
  return r;
}

/* --- nbdkit's callbacks --- */

static void *
volatile_open (int readonly)
{
  (void) readonly;
  return NBDKIT_HANDLE_NOT_NEEDED;
}

static int64_t
volatile_get_size (void *handle)
{
  (void) handle;
  return (int64_t) size;
}

static int
yes (void *handle)
{
  (void) handle;
  return 1;
}

static int
volatile_can_fua (void *handle)
{
  (void) handle;
  return NBDKIT_FUA_NATIVE;
}

static int
volatile_pread (void *handle, void *buf, uint32_t count, uint64_t offset,
                uint32_t flags)
{
  (void) handle;
  (void) flags;
  pthread_mutex_lock (&lock);
  step (WORK_OTHER);
  memcpy (buf, disk + offset, count);
  pthread_mutex_unlock (&lock);
  return 0;
}

static int
volatile_pwrite (void *handle, const void *buf, uint32_t count, uint64_t offset,
                 uint32_t flags)
{
  (void) handle;
  return change (buf, count, offset, flags);
}

static int
volatile_zero (void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
  (void) handle;
  return change (NULL, count, offset, flags);
}

/* A flush covers what was written before it, not while it is at work. */
static int
volatile_flush (void *handle, uint32_t flags)
{
  struct timespec delay = { .tv_sec = (time_t) (flush_delay / 1000),
                            .tv_nsec = (long) (flush_delay % 1000) * 1000000 };
  int r;

  (void) handle;
  (void) flags;
  pthread_mutex_lock (&flushing);
  pthread_mutex_lock (&lock);
  step (WORK_FLUSH);
  memcpy (flushed, dirty, sectors * sizeof *dirty);
  memset (dirty, 0, sectors * sizeof *dirty);
  pthread_mutex_unlock (&lock);
  if (flush_delay)
    nanosleep (&delay, NULL);
  pthread_mutex_lock (&lock);
  r = save (WORK_FLUSH, flushed, 0, sectors);
  step (WORK_FLUSH);
  pthread_mutex_unlock (&lock);
  pthread_mutex_unlock (&flushing);
  if (r < 0)
    nbdkit_error ("%s: %m", path);
  return r;
}

static bool
is_zero (uint64_t offset, uint64_t length)
{
  return disk[offset] == 0 &&
         memcmp (disk + offset, disk + offset + 1, length - 1) == 0;
}

static int
volatile_extents (void *handle, uint32_t count, uint64_t offset, uint32_t flags,
                  struct nbdkit_extents *extents)
{
  uint64_t at = offset - offset % BLOCK, end = offset + count;
  int r = 0;

  (void) handle;
  (void) flags;
  pthread_mutex_lock (&lock);
  step (WORK_OTHER);
  for (; r == 0 && at < end; at += BLOCK) {
    uint64_t n = size - at < BLOCK ? size - at : BLOCK;
    bool hole = is_zero (at, n);

    r = nbdkit_add_extent (extents, at, n,
                           hole ? NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO : 0);
  }
  pthread_mutex_unlock (&lock);
  return r;
}

static struct nbdkit_plugin plugin = {
  .name = "volatile",
  .config = volatile_config,
  .config_complete = volatile_config_complete,
  .get_ready = volatile_get_ready,
  .open = volatile_open,
  .get_size = volatile_get_size,
  .can_multi_conn = yes,
  .can_fua = volatile_can_fua,
  .can_fast_zero = yes,
  .pread = volatile_pread,
  .pwrite = volatile_pwrite,
  .zero = volatile_zero,
  .trim = volatile_zero,
  .flush = volatile_flush,
  .extents = volatile_extents,
};

/* The entry point, which the macro defines; nbdkit's header declares it not. */
NBDKIT_DLL_PUBLIC struct nbdkit_plugin *plugin_init (void);

NBDKIT_REGISTER_PLUGIN (plugin)
