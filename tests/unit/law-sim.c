/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A simulation of what the control law is for: see law-sim.h.
 */

#include <string.h>

#include "law-sim.h"

/* Requests that a connection can do in one step. */
#define BURST 128

uint32_t
sim_unsaved (const struct sim *sim)
{
  return sim->dirty + sim->unstable;
}

void
sim_init (struct sim *sim, uint32_t limit, uint32_t background,
          unsigned flush_target, double speed)
{
  memset (sim, 0, sizeof *sim);
  law_init (&sim->law, limit, background, flush_target * NSEC_PER_SEC);
  law_limits (&sim->law, &sim->limits);
  sim->now = 1000 * NSEC_PER_SEC;
  sim->speed = speed;
}

struct writer *
sim_add_writer (struct sim *sim, unsigned i, unsigned depth, unsigned period,
                unsigned pages)
{
  struct writer *w = &sim->writers[i];

  *w = (struct writer) {
    .depth = depth, .period = period, .pages = pages, .next = sim->now
  };
  return w;
}

/* The store: writes what is dirty in above the background threshold, and
 * flushes often enough.  A flush takes 10 ms.
 */
static void
step_store (struct sim *sim)
{
  uint32_t n;

  if (sim->flush_end && sim->now >= sim->flush_end) {
    sim->unstable -= sim->flushing;
    sim->flush_end = 0;
  }
  if (sim->flush_end == 0 &&
      (sim->unstable > sim->limits.unstable || sim->stuck)) {
    sim->stuck = false;
    sim->flushing = sim->unstable;
    sim->flush_end = sim->now + 10 * STEP;
  }
  if (sim->dirty > sim->limits.background || sim->flush_end)
    sim->sample.busy += STEP;
  if (sim->dirty <= sim->limits.background)
    return;
  sim->progress += sim->speed / STEPS_PER_SEC;
  if (sim->lump && sim->now / STEP % sim->lump)
    return;
  n = (uint32_t) sim->progress;
  n = n < sim->dirty ? n : sim->dirty;
  sim->progress -= (uint32_t) sim->progress;
  sim->dirty -= n;
  sim->unstable += n;
  sim->sample.written += n;
  sim->cleaned += n;
}

static uint32_t
count_writers (const struct sim *sim)
{
  uint32_t i, n = 0;

  for (i = 0; i < MAX_WRITERS; i++)
    n += sim->writers[i].depth > 0;
  return n;
}

static void
step_law (struct sim *sim)
{
  sim->sample.elapsed += STEP;
  if (sim->sample.elapsed < LAW_INTERVAL &&
      (sim->law.bandwidth > 0 || sim->sample.busy < 20 * STEP))
    return;
  sim->sample.unsaved = sim_unsaved (sim);
  sim->sample.saturated = sim->dirty > sim->limits.background ||
                          sim->sample.unsaved > sim->limits.freerun;
  sim->sample.conns = count_writers (sim);
  law_update (&sim->law, &sim->sample);
  law_limits (&sim->law, &sim->limits);
  memset (&sim->sample, 0, sizeof sim->sample);
}

/* As in balance.c. */
static uint32_t
hard_limit (const struct throttle_law *law)
{
  return (uint32_t) (law->limit > law->max_limit ? law->limit : law->max_limit);
}

/* Has the request to wait? */
static bool
must_wait (struct sim *sim, struct writer *w, unsigned slot)
{
  if (sim_unsaved (sim) > sim->limits.freerun) {
    if (w->awake[slot] == 0)
      w->awake[slot] =
        sim->now + law_pause (&sim->limits, w->clock, sim->now, 1);
    if (sim->now < w->awake[slot])
      return true;
  }
  if (sim_unsaved (sim) + w->pages <= hard_limit (&sim->law))
    return false;
  sim->stuck = true;
  return true;
}

static void
write_pages (struct sim *sim, struct writer *w)
{
  sim->dirty += w->pages;
  w->written += w->pages;
  if (sim_unsaved (sim) > sim->limits.freerun) {
    sim->sample.dirtied += w->pages;
    w->clock = law_charge (&sim->limits, sim_unsaved (sim), w->clock, sim->now,
                           w->pages);
  }
}

/* Returns whether the slot got a request done. */
static bool
step_slot (struct sim *sim, struct writer *w, unsigned slot)
{
  uint64_t wait;

  if (w->since[slot] == 0) {
    if (w->period && sim->now < w->next)
      return false;
    w->since[slot] = sim->now;
    w->next += w->period * STEP;
  }
  if (must_wait (sim, w, slot))
    return false;
  write_pages (sim, w);
  wait = sim->now - w->since[slot];
  w->since[slot] = w->awake[slot] = 0;
  w->waited += wait;
  w->requests++;
  w->slow += wait > 30 * STEP;
  w->longest = wait > w->longest ? wait : w->longest;
  return true;
}

static void
step_writers (struct sim *sim)
{
  unsigned i, j, slot, first = (unsigned) rng_below (&sim->rng, MAX_WRITERS);

  for (i = 0; i < MAX_WRITERS; i++) {
    struct writer *w = &sim->writers[(first + i) % MAX_WRITERS];

    for (slot = 0; slot < w->depth; slot++)
      for (j = 0; j < BURST / w->depth && step_slot (sim, w, slot); j++)
        ;
  }
}

void
sim_step (struct sim *sim)
{
  sim->now += STEP;
  step_store (sim);
  step_writers (sim);
  if (sim_unsaved (sim) > sim->most)
    sim->most = sim_unsaved (sim);
  step_law (sim);
}

void
sim_run (struct sim *sim, unsigned secs)
{
  unsigned i;

  for (i = 0; i < secs * STEPS_PER_SEC; i++)
    sim_step (sim);
}

void
sim_forget (struct sim *sim)
{
  unsigned i;

  sim->cleaned = 0;
  for (i = 0; i < MAX_WRITERS; i++) {
    struct writer *w = &sim->writers[i];

    w->written = w->longest = w->waited = w->requests = w->slow = 0;
  }
}
