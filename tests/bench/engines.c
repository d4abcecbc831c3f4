/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * engines FILE [ROUNDS [MILLISECONDS [DEPTH]]]: the file store's two engines
 * against each other, with O_DIRECT: 4 KiB at random and 1 MiB sequentially, reads
 * and writes, DEPTH (32) in flight.  The file is made, 1 GiB, and removed.  In
 * each round each of them is measured once; told are the medians, in MiB/s, and
 * the median of the rounds' ratios; and what processor time a request took, in us,
 * which a busy machine changes less.  Budget: threads at least 0.75.
 */

#include <err.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/tools/util.h"
#include "tests/unit/file-rig.h"

#define FILE_SIZE (1024 * MIB)
#define MAX_ROUNDS 99u
#define MAX_DEPTH 256u

static const struct load {
  const char *name;
  enum store_op op;
  uint64_t size; /* of a request, bytes */
  bool random;
} loads[] = {
  { "random reads, 4 KiB", STORE_READ, 4096, true },
  { "random writes, 4 KiB", STORE_WRITE, 4096, true },
  { "sequential reads, 1 MiB", STORE_READ, MIB, false },
  { "sequential writes, 1 MiB", STORE_WRITE, MIB, false },
};

struct run;

struct slot {
  struct store_req req; /* first */
  struct iovec iov;
  struct run *run;
};

/* One measurement.  Until `end' each request is submitted again when it is
 * done, by the loop thread.
 */
struct run {
  const struct load *load;
  struct rig rig;
  struct rng rng;
  uint64_t pos, end, bytes;
  unsigned left;
  struct completion over;
  struct slot slots[MAX_DEPTH];
};

static void
submit_next (struct slot *slot)
{
  struct run *run = slot->run;
  struct store_req *req = &slot->req;
  uint64_t n = FILE_SIZE / run->load->size;
  uint64_t i = run->load->random ? rng_below (&run->rng, n) : run->pos++ % n;

  req->offset = i * run->load->size;
  run->rig.store->ops->submit (run->rig.store, &req, 1);
}

static void
slot_done (struct store_req *req, int error)
{
  struct slot *slot = (struct slot *) req;
  struct run *run = slot->run;
  struct env *env = &run->rig.env;

  if (error)
    errx (EXIT_FAILURE, "%s: error %d", run->load->name, error);
  run->bytes += req->length;
  if (env->now (env) < run->end)
    submit_next (slot);
  else if (--run->left == 0)
    completion_signal (env, &run->over);
}

/* Submitted in this way, the first ones too come from the loop thread. */
static void
begin (struct ev_loop *loop, ev_timer *timer, int revents)
{
  struct run *run = timer->data;
  unsigned i, depth = run->left;

  (void) loop;
  (void) revents;
  for (i = 0; i < depth; i++)
    submit_next (&run->slots[i]);
}

static void
fill_slots (struct run *run, unsigned depth, uint8_t *memory)
{
  unsigned i;

  run->left = depth;
  for (i = 0; i < depth; i++) {
    struct slot *slot = &run->slots[i];

    slot->run = run;
    slot->iov = (struct iovec) { memory + i * MIB, run->load->size };
    slot->req = (struct store_req) {
      .op = run->load->op,
      .length = run->load->size,
      .iov = &slot->iov,
      .niov = 1,
      .done = slot_done,
    };
  }
}

static const char *path;
static unsigned depth = 32, milliseconds = 1000;
static uint8_t *memory;

static void
open_store (struct rig *rig, enum file_io io)
{
  const struct file_store_options o = {
    .path = path,
    .create = (int64_t) FILE_SIZE,
    .direct = DIRECT_ON,
    .io = io,
    .io_depth = depth,
  };

  rig_open (rig, &o);
}

/* Of this process so far, in us. */
static double
processor_time (void)
{
  struct rusage u;

  getrusage (RUSAGE_SELF, &u);
  return (double) (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e6 +
         (double) (u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

/* Returns MiB/s, and the processor time of a request. */
static double
measure (const struct load *load, enum file_io io, double *cost)
{
  struct run *run = xcalloc (1, sizeof *run);
  struct env *env = &run->rig.env;
  uint64_t start;
  ev_timer timer;
  double rate, before;

  run->load = load;
  run->rng = (struct rng) { 1 };
  open_store (&run->rig, io);
  fill_slots (run, depth, memory);
  ev_timer_init (&timer, begin, 0, 0);
  timer.data = run;
  ev_timer_start (run->rig.on.ev, &timer);
  start = env->now (env);
  run->end = start + milliseconds * NSEC_PER_MSEC;
  before = processor_time ();
  rig_start (&run->rig);
  completion_wait (env, &run->over);
  *cost =
    (processor_time () - before) / ((double) run->bytes / (double) load->size);
  rate = (double) run->bytes / (double) MIB /
         ((double) (env->now (env) - start) / (double) NSEC_PER_SEC);
  rig_close (&run->rig);
  free (run);
  return rate;
}

static int
compare (const void *a, const void *b)
{
  double x = *(const double *) a, y = *(const double *) b;

  return (x > y) - (x < y);
}

static double
median (double *values, unsigned n)
{
  qsort (values, n, sizeof *values, compare);
  return values[n / 2];
}

static void
compare_engines (const struct load *load, unsigned rounds)
{
  double rate[2][MAX_ROUNDS], cost[2][MAX_ROUNDS], ratio[MAX_ROUNDS], middle;
  static const enum file_io engines[2] = { FILE_IO_URING, FILE_IO_THREADS };
  unsigned i, k, e;

  for (i = 0; i < rounds; i++) {
    for (k = 0; k < 2; k++) {
      e = (i + k) % 2; /* they begin in turn */
      rate[e][i] = measure (load, engines[e], &cost[e][i]);
    }
    ratio[i] = rate[1][i] / rate[0][i];
  }
  middle = median (ratio, rounds);
  printf ("%-24s uring %7.1f (%.0f us), threads %7.1f (%.0f us), "
          "ratio %.2f (%.2f to %.2f)\n",
          load->name, median (rate[0], rounds), median (cost[0], rounds),
          median (rate[1], rounds), median (cost[1], rounds), middle, ratio[0],
          ratio[rounds - 1]);
}

static void
fill_file (void)
{
  struct rig rig;
  uint64_t at;

  open_store (&rig, FILE_IO_URING);
  rig_start (&rig);
  memset (memory, 0xaa, depth * MIB);
  for (at = 0; at < FILE_SIZE; at += MIB)
    if (store_io (rig.store, STORE_WRITE, 0, at, memory, MIB) < 0)
      errx (EXIT_FAILURE, "%s cannot be filled", path);
  rig_close (&rig);
}

static unsigned
number (const char *arg, unsigned max)
{
  unsigned long n = strtoul (arg, NULL, 10);

  if (n < 1 || n > max)
    errx (EXIT_FAILURE, "%s: from 1 to %u", arg, max);
  return (unsigned) n;
}

int
main (int argc, char **argv)
{
  unsigned rounds = 7;
  size_t i;

  if (argc < 2)
    errx (EXIT_FAILURE, "usage: %s FILE [ROUNDS [MILLISECONDS [DEPTH]]]",
          argv[0]);
  path = argv[1];
  if (access (path, F_OK) == 0)
    errx (EXIT_FAILURE, "%s is there already", path);
  if (argc > 2)
    rounds = number (argv[2], MAX_ROUNDS);
  if (argc > 3)
    milliseconds = number (argv[3], 600000);
  if (argc > 4)
    depth = number (argv[4], MAX_DEPTH);
  setlinebuf (stdout);
  memory = aligned_memory (depth * MIB, 0xaa);
  fill_file ();
  for (i = 0; i < sizeof loads / sizeof loads[0]; i++)
    compare_engines (&loads[i], rounds);
  unlink (path);
  free (memory);
  return EXIT_SUCCESS;
}
