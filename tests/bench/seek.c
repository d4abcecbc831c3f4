/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * An nbdkit filter for benchmarks: a disk with one head. A request that does not begin
 * where the last one ended waits for a seek, and all for the bytes going by; one at a
 * time. Of those that wait, the one that needs no seek comes first, else the oldest.
 *
 *   seek-time=MS         of a seek (8)
 *   seek-bandwidth=MB    megabytes a second (100)
 *
 * A flush costs nothing, since nothing is answered before it is on the disk. Zeroes are
 * written like all else, and of holes it knows nothing.
 */

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <nbdkit-filter.h>

#define SECOND UINT64_C (1000000000)

/* The oldest is passed over so often at most. */
#define PATIENCE 32

struct waiting {
  uint64_t offset;
  unsigned passed;
  struct waiting *next;
};

static unsigned seek_ms = 8, bandwidth = 100;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of all below */
static pthread_cond_t moved = PTHREAD_COND_INITIALIZER;
static struct waiting *first, **last = &first;
static uint64_t at;    /* where the head is */
static uint64_t until; /* ns: so long it has been busy, or is */
static bool busy;

static uint64_t
now_ns (void)
{
  struct timespec t;

  clock_gettime (CLOCK_MONOTONIC, &t);
  return (uint64_t) t.tv_sec * SECOND + (uint64_t) t.tv_nsec;
}

static void
sleep_until (uint64_t when)
{
  struct timespec t = { .tv_sec = (time_t) (when / SECOND),
                        .tv_nsec = (long) (when % SECOND) };

  while (clock_nanosleep (CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
    ;
}

/* Whose turn is it? */
static struct waiting **
choose (void)
{
  struct waiting **p;

  if (first->passed < PATIENCE)
    for (p = &first; *p; p = &(*p)->next)
      if ((*p)->offset == at)
        return p;
  return &first;
}

/* The head passes over the bytes; a seek that is late makes up for it. */
static void
pass_over (uint64_t offset, uint64_t count)
{
  struct waiting me = { .offset = offset }, **turn;
  uint64_t came = now_ns (), done;

  pthread_mutex_lock (&lock);
  *last = &me;
  last = &me.next;
  while (busy || *(turn = choose ()) != &me)
    pthread_cond_wait (&moved, &lock);
  if (first != &me)
    first->passed++;
  *turn = me.next;
  if (me.next == NULL)
    last = turn;
  busy = true;
  until = came > until ? came : until;
  until += count * 1000 / bandwidth;
  nbdkit_debug ("%s %" PRIu64 " + %" PRIu64, offset != at ? "seek" : "go on",
                offset, count);
  if (offset != at)
    until += seek_ms * (SECOND / 1000);
  at = offset + count;
  done = until;
  pthread_mutex_unlock (&lock);
  sleep_until (done);
  pthread_mutex_lock (&lock);
  busy = false;
  pthread_cond_broadcast (&moved);
  pthread_mutex_unlock (&lock);
}

static int
seek_config (nbdkit_next_config *next, nbdkit_backend *nxdata, const char *key,
             const char *value)
{
  if (strcmp (key, "seek-time") == 0)
    return nbdkit_parse_unsigned (key, value, &seek_ms);
  if (strcmp (key, "seek-bandwidth") != 0)
    return next (nxdata, key, value);
  if (nbdkit_parse_unsigned (key, value, &bandwidth) < 0)
    return -1;
  if (bandwidth > 0)
    return 0;
  nbdkit_error ("%s: not 0", key);
  return -1;
}

static int
seek_can_extents (nbdkit_next *next, void *handle)
{
  (void) next;
  (void) handle;
  return 0;
}

static int
seek_can_fast_zero (nbdkit_next *next, void *handle)
{
  (void) next;
  (void) handle;
  return 0;
}

static int
seek_is_rotational (nbdkit_next *next, void *handle)
{
  (void) next;
  (void) handle;
  return 1;
}

static int
seek_can_fua (nbdkit_next *next, void *handle)
{
  (void) next;
  (void) handle;
  return NBDKIT_FUA_NATIVE;
}

static int
seek_pread (nbdkit_next *next, void *handle, void *buf, uint32_t count,
            uint64_t offset, uint32_t flags, int *err)
{
  (void) handle;
  pass_over (offset, count);
  return next->pread (next, buf, count, offset, flags, err);
}

static int
seek_pwrite (nbdkit_next *next, void *handle, const void *buf, uint32_t count,
             uint64_t offset, uint32_t flags, int *err)
{
  (void) handle;
  (void) flags;
  pass_over (offset, count);
  return next->pwrite (next, buf, count, offset, 0, err);
}

static int
seek_zero (nbdkit_next *next, void *handle, uint32_t count, uint64_t offset,
           uint32_t flags, int *err)
{
  (void) handle;
  pass_over (offset, count);
  return next->zero (next, count, offset, flags & ~NBDKIT_FLAG_FUA, err);
}

static int
seek_can_trim (nbdkit_next *next, void *handle)
{
  (void) next;
  (void) handle;
  return 0;
}

static struct nbdkit_filter filter = {
  .name = "seek",
  .longname = "a disk that has to seek",
  .config = seek_config,
  .config_help = "seek-time=MS, seek-bandwidth=MB",
  .can_extents = seek_can_extents,
  .can_trim = seek_can_trim,
  .can_fast_zero = seek_can_fast_zero,
  .can_fua = seek_can_fua,
  .is_rotational = seek_is_rotational,
  .pread = seek_pread,
  .pwrite = seek_pwrite,
  .zero = seek_zero,
};

NBDKIT_REGISTER_FILTER (filter)
