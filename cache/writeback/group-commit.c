/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Group commit.
 */

#include "fs/num.h"
#include "cache/writeback/group-commit.h"
#include "fs/env.h"

/* How many of those released now will be back, if it is as it was the last
 * time.
 */
static unsigned
expect (const struct group_commit *gc, unsigned released)
{
  if (gc->back >= gc->released)
    return gc->back > 0 ? released : 0;
  return (unsigned) ((uint64_t) released * gc->back / gc->released);
}

void
group_commit_flushed (struct group_commit *gc, uint64_t began, uint64_t now,
                      unsigned released)
{
  uint64_t wait = min_u64 ((now - began) / GROUP_COMMIT_PART, GROUP_COMMIT_MAX);

  if (wait < GROUP_COMMIT_MIN)
    wait = 0;
  gc->expected = expect (gc, released);
  gc->ended = now;
  gc->until = now + wait;
  gc->released = released;
  gc->back = 0;
}

void
group_commit_join (struct group_commit *gc, uint64_t asked)
{
  if (asked >= gc->ended && asked < gc->until)
    gc->back++;
}

bool
group_commit_expects (const struct group_commit *gc, uint64_t now)
{
  return gc->expected > 1 && now < gc->until;
}

bool
group_commit_hold (const struct group_commit *gc, uint64_t now)
{
  return gc->back < gc->expected && now < gc->until;
}

uint64_t
group_commit_last (const struct group_commit *gc)
{
  return gc->until + (gc->until - gc->ended);
}

bool
group_commit_in_time (const struct group_commit *gc, uint64_t asked)
{
  return gc->ended < gc->until && asked < gc->until;
}
