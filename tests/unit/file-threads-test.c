/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The file store's threads: as many calls are under way as may be, though each of
 * them blocks and threads wake each other.  The C library's preadv is replaced by
 * one that does not return until all that should be under way are.
 */

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "fs/file/state.h"
#include "tests/unit/file-rig.h"
#include "tests/unit/test.h"

#define DEPTH 24u
#define PAGE 4096u
#define ROUNDS 50
#define PATIENCE 60 /* s, until a call that is alone gives up */

/* ------------------------------------------------------- calls that meet */

static struct {
  pthread_mutex_t lock;
  pthread_cond_t all;
  unsigned here, expected; /* expected 0: nobody waits */
  unsigned meetings;
  bool missed;
} gate = {
  .lock = PTHREAD_MUTEX_INITIALIZER,
  .all = PTHREAD_COND_INITIALIZER,
};

static void
expect (unsigned n)
{
  pthread_mutex_lock (&gate.lock);
  gate.here = 0;
  gate.expected = n;
  pthread_mutex_unlock (&gate.lock);
}

/* Return when so many calls are here as are expected. */
static void
meet (void)
{
  unsigned meeting;
  struct timespec until;

  clock_gettime (CLOCK_REALTIME, &until);
  until.tv_sec += PATIENCE;
  pthread_mutex_lock (&gate.lock);
  meeting = gate.meetings;
  if (++gate.here >= gate.expected) {
    gate.here = 0;
    gate.meetings++;
    pthread_cond_broadcast (&gate.all);
  }
  while (gate.meetings == meeting && !gate.missed)
    if (pthread_cond_timedwait (&gate.all, &gate.lock, &until) == ETIMEDOUT) {
      gate.missed = true;
      pthread_cond_broadcast (&gate.all);
    }
  pthread_mutex_unlock (&gate.lock);
}

ssize_t
preadv (int fd, const struct iovec *iov, int n, off_t offset)
{
  meet ();
  assert (n == 1);
  return pread (fd, iov->iov_base, iov->iov_len, offset);
}

/* ------------------------------------------------------------------ reads */

struct reads {
  struct rig rig;
  struct store_req req[DEPTH];
  struct iovec iov[DEPTH];
  _Atomic unsigned left;
  struct completion over;
  uint8_t *memory;
};

static struct reads reads;

static void
read_done (struct store_req *req, int error)
{
  (void) req;
  assert (error == 0);
  if (atomic_fetch_sub (&reads.left, 1) == 1)
    completion_signal (&reads.rig.env, &reads.over);
}

static void
begin_reads (const struct place *place)
{
  struct file_store_options o = options_for (place);

  o.io = FILE_IO_THREADS;
  o.io_depth = DEPTH;
  rig_open (&reads.rig, &o);
  expect (1);
  rig_start (&reads.rig);
  reads.memory = aligned_memory ((size_t) DEPTH * PAGE, 0);
}

static void
end_reads (void)
{
  rig_close (&reads.rig);
  free (reads.memory);
}

/* Read n pages, `together' of them submitted at once. */
static void
read_pages (unsigned n, unsigned together)
{
  struct store *store = reads.rig.store;
  struct store_req *reqs[DEPTH];
  unsigned i;

  memset (&reads.over, 0, sizeof reads.over);
  atomic_store (&reads.left, n);
  for (i = 0; i < n; i++) {
    reads.iov[i] = (struct iovec) { reads.memory + i * PAGE, PAGE };
    reads.req[i] = (struct store_req) {
      .op = STORE_READ,
      .offset = (uint64_t) i * PAGE,
      .length = PAGE,
      .iov = &reads.iov[i],
      .niov = 1,
      .done = read_done,
    };
    reqs[i] = &reads.req[i];
  }
  for (i = 0; i < n; i += together)
    store->ops->submit (store, &reqs[i], n - i < together ? n - i : together);
  completion_wait (&reads.rig.env, &reads.over);
}

/* All of a batch meet, whatever it is submitted as and whoever is awake then. */
TEST (all_are_under_way_at_once)
{
  static const unsigned together[] = { DEPTH, 1, 5 };
  unsigned i;

  begin_reads (first_place ());
  for (i = 0; i < 3 * ROUNDS && !gate.missed; i++) {
    unsigned n = i % 2 ? DEPTH : 1 + i % DEPTH;

    expect (n);
    read_pages (n, together[i % 3]);
  }
  assert_false (gate.missed);
  end_reads ();
}

RUN_GROUP (make_places, remove_places)
