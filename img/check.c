/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * folio-img check: is all of a thin image as it has to be?  Exit statuses are those of
 * fsck(8).
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/thin/io.h"
#include "fs/thin/offline.h"
#include "fs/thin/repair.h"
#include "img/args.h"
#include "img/image.h"
#include "img/progress.h"
#include "img/say.h"
#include "img/stop.h"

enum {
  CHECK_CLEAN = 0,
  CHECK_REPAIRED = 1,
  CHECK_WRONG = 4,
  CHECK_FAILED = 8,
  CHECK_USAGE = 16, /* main returns it */
  CHECK_STOPPED = 32,
};

struct checking {
  struct image image;
  bool repair, quiet;
  uint64_t repairable; /* superblocks that --repair mends */
  bool repaired;       /* all that was wrong beyond them */
  struct thin_check check;
};

static void
print_problem (void *opaque, const char *message)
{
  (void) opaque;
  progress_clear ();
  puts (message);
}

static int
show_progress (void *opaque, uint64_t done, uint64_t total)
{
  (void) opaque;
  progress_total (total * THIN_BLOCK);
  progress_show (done * THIN_BLOCK);
  return stop_wanted ();
}

/* --- superblocks --- */

/* Say what is wrong with one of the two; 0: nothing. */
static int
look_at_super (struct checking *c, uint64_t address, struct thin_super *super)
{
  void *block = thin_io_alloc (1);
  int r = block ? thin_io_read (c->image.at.store, address, block, 1) : -ENOMEM;

  if (r < 0) {
    free (block);
    return attached_failed (&c->image.at, "a superblock cannot be read", r);
  }
  r = thin_super_decode (block, address, super);
  free (block);
  if (r < 0)
    printf ("the superblock at block %" PRIu64 " is %s\n", address,
            r == -EINVAL ? "none"
            : r == -EIO  ? "bad"
                         : "a newer version's");
  return r;
}

static bool
has_uuid (const struct thin_super *a, const struct thin_super *b)
{
  return memcmp (a->uuid, b->uuid, sizeof a->uuid) == 0;
}

/* One that is bad is mended from the other; one that is behind by whoever writes next. */
static void
check_supers (struct checking *c)
{
  struct thin_super a, b;
  int ra = look_at_super (c, THIN_SUPER_A, &a);
  int rb = look_at_super (c, THIN_SUPER_B, &b);

  if (ra == 0 && rb == 0 &&
      (!has_uuid (&a, &b) || a.generation != b.generation)) {
    printf ("the superblocks are of different generations, %" PRIu64
            " and %" PRIu64 ", as after a crash: the newer one counts\n",
            a.generation, b.generation);
    c->repairable += !has_uuid (&a, &b);
  }
  else if ((ra < 0) != (rb < 0))
    c->repairable++;
}

/* --- all of it --- */

static int
walk (struct checking *c)
{
  int r;

  c->check.problem = print_problem;
  c->check.progress = show_progress;
  progress_begin (0, c->quiet);
  r = thin_check (c->image.meta, &c->check);
  progress_end ();
  if (c->image.log_gaps > 0) {
    print_problem (NULL, "the log is damaged");
    c->check.problems++;
  }
  /* Which is held against what has just been found to be right. */
  if (r == 0 && c->check.problems == 0) {
    r = thin_log_check (c->image.meta, &c->image.log, &c->check);
    c->check.problems += r > 0 ? (uint64_t) r : 0;
  }
  if (r < 0 && r != -ECANCELED)
    image_failed (&c->image, "checked", r);
  return r < 0 ? r : 0;
}

/* Then all is looked at again. */
static int
repair (struct checking *c)
{
  int r;

  if (c->image.log_gaps > 0) /* what it has given out is not known */
    return 0;
  print_problem (NULL, "free space and references are made anew");
  progress_begin (0, c->quiet);
  r = thin_repair (c->image.meta, &c->image.log, &c->check);
  progress_end ();
  if (r == -EUCLEAN) {
    puts ("it cannot be told what is right: nothing was changed");
    return 0;
  }
  if (r < 0 && r != -ECANCELED)
    image_failed (&c->image, "repaired", r);
  if (r < 0)
    return r;
  r = walk (c);
  c->repaired = r == 0 && c->check.problems == 0;
  return r;
}

/* What a writer does before all else: the log is in the trees, the superblocks are the
 * same.
 */
static int
mend (struct checking *c)
{
  struct thin_txn *t;
  int r = image_settle (&c->image);

  if (r < 0 || c->repairable == 0)
    return r;
  r = thin_txn_begin (c->image.meta, &t);
  if (r == 0)
    r = thin_txn_commit (t, NULL, NULL, NULL);
  if (r < 0)
    return image_failed (&c->image, "repaired", r);
  c->repaired = true;
  return 0;
}

static int
report (struct checking *c)
{
  uint64_t problems = c->check.problems;

  if (!c->quiet)
    printf ("%" PRIu64 " extents, %" PRIu64 " nodes, %" PRIu64
            " changes in the log: %s\n",
            c->check.extents, c->check.nodes, c->image.log_entries,
            problems            ? "problems"
            : c->repaired       ? "repaired"
            : c->repairable > 0 ? "to be repaired (--repair)"
                                : "clean");
  return problems             ? CHECK_WRONG
         : c->repaired        ? CHECK_REPAIRED
         : c->repairable == 0 ? CHECK_CLEAN
                              : CHECK_WRONG;
}

static int
check (struct checking *c)
{
  int r;

  check_supers (c);
  r = image_begin_as_is (&c->image, c->repair);
  if (r < 0)
    return r == -EIO ? CHECK_WRONG : CHECK_FAILED;
  r = walk (c);
  if (r == 0 && c->repair && c->check.problems > 0)
    r = repair (c);
  if (r == -ECANCELED)
    return CHECK_STOPPED;
  if (r == 0 && c->repair && c->check.problems == 0)
    r = mend (c);
  if (r == 0)
    r = image_still (&c->image);
  return r < 0 ? CHECK_FAILED : report (c);
}

int
img_check (const struct img_args *args)
{
  struct checking c = {
    .repair = args_given (args, OPT_REPAIR),
    .quiet = args_given (args, OPT_QUIET),
  };
  int r;

  if (attached_open (&c.image.at, args->operand[0], !c.repair) < 0)
    return CHECK_FAILED;
  r = check (&c);
  image_close (&c.image);
  return r;
}
