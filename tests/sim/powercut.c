/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Power cuts, thousands of them: clients write, flush, zero, trim and read
 * through the cache on a model store (model-world.h), which fails and forgets;
 * power is cut at any moment; and what is left must be what flushes and FUA
 * have promised.
 *
 *   powercut [--trace] [--shuffle | --thin] [SEED [CUTS]]
 *
 * Runs CUTS power cuts from SEED on, CUTS_A_SEED under each seed.  What fails
 * is told with its seed, which does it again; --trace prints all that happens;
 * --shuffle and --thin have other formats than raw (shuffle.h, fs/thin/).
 * By default the first seeds are run twice, to see that they do.
 */

#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "powercut.h"

#define CUTS_A_SEED 5u
#define REPLAYED 10u /* seeds run twice */
#define PROGRESS 10  /* seconds between lines that tell how far it is */
#define WORKERS 4    /* processes: a seed often waits for a grace period */

#ifdef __SANITIZE_ADDRESS__
#define DEFAULT_CUTS 300u
#else
#define DEFAULT_CUTS 2000u
#endif

struct task {
  uint64_t seed; /* the first */
  uint64_t seeds;
  uint64_t replayed; /* of them, twice */
  bool trace;
  enum run_format format;
};

/* Say now and then how far the first worker is, and so, more or less, all are. */
static void
show_progress (const struct task *task, uint64_t done)
{
  static time_t last;
  time_t now = time (NULL);

  if (last == 0)
    last = now;
  if (now - last < PROGRESS)
    return;
  last = now;
  printf ("%" PRIu64 " of %" PRIu64 " power cuts\n", done * CUTS_A_SEED,
          task->seeds * CUTS_A_SEED);
  fflush (stdout);
}

/* Do every WORKERS'th seed of the task, from number `first' on.  Returns the
 * sum of their hashes.
 */
static uint64_t
work (const struct task *task, uint64_t first)
{
  uint64_t i, hash, sum = 0;

  for (i = first; i < task->seeds; i += WORKERS) {
    hash = run_seed (task->seed + i, CUTS_A_SEED, task->trace, task->format);
    if (i < task->replayed &&
        run_seed (task->seed + i, CUTS_A_SEED, false, task->format) != hash)
      die ("seed %" PRIu64 " does something else the second time",
           task->seed + i);
    sum += hash;
    if (first == 0)
      show_progress (task, i + 1);
  }
  fiber_free_stacks ();
  return sum;
}

/* In a process of its own, which sends its result through the pipe. */
static void
start_worker (const struct task *task, uint64_t first, int fd)
{
  uint64_t sum;
  pid_t pid = fork ();

  if (pid < 0)
    die ("fork failed");
  if (pid > 0)
    return;
  /* A test that is killed leaves nothing running. */
  prctl (PR_SET_PDEATHSIG, SIGKILL);
  sum = work (task, first);
  write_all (fd, "pipe", &sum, sizeof sum);
  exit (0);
}

/* Returns the sum of all hashes. */
static uint64_t
work_together (const struct task *task)
{
  uint64_t sum, all = 0;
  int i, status, fds[2], failed = 0;

  if (pipe (fds) < 0)
    die ("pipe failed");
  for (i = 0; i < WORKERS; i++)
    start_worker (task, (uint64_t) i, fds[1]);
  for (i = 0; i < WORKERS; i++)
    if (wait (&status) < 0 || status != 0)
      failed++;
  if (failed)
    exit (1);
  for (i = 0; i < WORKERS; i++) {
    read_all (fds[0], "pipe", &sum, sizeof sum);
    all += sum;
  }
  return all;
}

int
main (int argc, char **argv)
{
  struct task task = { .seed = 1 };
  uint64_t cuts, sum;

  for (; argc > 1 && argv[1][0] == '-'; argc--, argv++)
    if (strcmp (argv[1], "--trace") == 0)
      task.trace = true;
    else if (strcmp (argv[1], "--shuffle") == 0)
      task.format = RUN_SHUFFLE;
    else if (strcmp (argv[1], "--thin") == 0)
      task.format = RUN_THIN;
    else
      die ("what is %s?", argv[1]);
  if (argc > 1)
    task.seed = strtoull (argv[1], NULL, 0);
  cuts = argc > 2   ? strtoull (argv[2], NULL, 0)
         : argc > 1 ? CUTS_A_SEED
                    : DEFAULT_CUTS;
  task.seeds = (cuts + CUTS_A_SEED - 1) / CUTS_A_SEED;
  task.replayed = argc > 1 ? 0 : REPLAYED;

  printf ("powercut: seeds %" PRIu64 " to %" PRIu64 ", %u power cuts each\n",
          task.seed, task.seed + task.seeds - 1, CUTS_A_SEED);
  fflush (stdout);
  sum = task.seeds == 1 ? work (&task, 0) : work_together (&task);
  printf ("%" PRIu64 " power cuts, nothing lost; hash %016" PRIx64 "\n",
          task.seeds * CUTS_A_SEED, sum);
  return 0;
}
