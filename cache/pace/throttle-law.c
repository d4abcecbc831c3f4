/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The control law of write-back.
 */

#include "cache/pace/throttle-law.h"
#include "fs/env.h"

/* Seconds over which bandwidth is smoothed. */
#define BANDWIDTH_PERIOD 3.0
#define RECENT_PERIOD 1.0

/* Requests that a slow store does side by side may all end at once, and late;
 * but one that is quiet for longer than this has rather stopped.
 */
#define QUIET_PERIOD 10.0

/* What a store wrote recently may be less by so much by chance. */
#define RECENT_MARGIN 1.25

/* Seconds in which a limit that rises gets most of the way. */
#define RISE_PERIOD 1.5

/* A limit that falls while writers are paced is to slow them down, but never to
 * stop them.  It falls by this part of the store's bandwidth;
 */
#define FALL_SHARE 0.5
/* stays this far above what is unsaved, where the position ratio is about 1/4;
 * while its setpoint need not be further above that than SETPOINT_ROOM;
 */
#define FALL_ROOM 1.02
#define SETPOINT_ROOM 1.05
/* and what is unsaved follows within so many seconds, but leaves writers this
 * part of the bandwidth.
 */
#define FALL_PERIOD 5.0
#define FALL_LEAST 0.25

/* A flush target never takes the limit below this, in pages. */
#define LIMIT_FLOOR 64.0

/* Seconds that the room above freerun should last until the first measurement,
 * which takes less.
 */
#define FIRST_PERIOD 0.5

/* With a smaller limit than this, in pages, there is nothing to be smooth about:
 * who finds no room waits until there is some.
 */
#define PACED_MIN 256

/* Seconds between store flushes that are made only so that written pages become
 * clean; pages, fewer are not worth one; and the part of the limit that waits
 * for one at most.
 */
#define FLUSH_PERIOD 0.5
#define FLUSH_MIN 256.0
#define UNSTABLE_SHARE 0.125

/* In a pause the store gets through at most such a part of the limit, lest it
 * runs out of work.
 */
#define PAUSES 8

/* The part of the way that the base rate goes at each update. */
#define BASE_STEP 0.125

/* The flush target limits, or no longer does, only when the difference is more
 * than this part.
 */
#define BOUND_MARGIN 0.1

static double
min (double a, double b)
{
  return a < b ? a : b;
}

static double
max (double a, double b)
{
  return a > b ? a : b;
}

static double
seconds (uint64_t ns)
{
  return (double) ns / (double) NSEC_PER_SEC;
}

void
law_init (struct throttle_law *law, uint32_t limit, uint32_t background,
          uint64_t flush_target)
{
  *law = (struct throttle_law) {
    .max_limit = limit,
    .max_background = background,
    .flush_target = seconds (flush_target),
    .limit = limit,
    .position = 1,
  };
}

void
law_limits (const struct throttle_law *law, struct law_limits *limits)
{
  double background = law->max_background * law->limit / law->max_limit;
  double freerun = (background + law->limit) / 2;
  double unstable = law->limit * UNSTABLE_SHARE;
  double pause = seconds (LAW_PAUSE_MAX);

  if (law->bandwidth > 0) {
    unstable = min (unstable, max (FLUSH_MIN, law->bandwidth * FLUSH_PERIOD));
    pause = min (pause, law->limit / law->bandwidth / PAUSES);
  }
  limits->background = (uint32_t) background;
  limits->freerun =
    (uint32_t) (law->max_limit < PACED_MIN ? law->limit : freerun);
  limits->limit = (uint32_t) law->limit;
  limits->unstable = (uint32_t) unstable;
  limits->base =
    law->base == 0 ? 0 : (uint32_t) min (law->base + 1, UINT32_MAX);
  limits->bandwidth = (uint32_t) min (law->bandwidth, UINT32_MAX);
  limits->pause_max = (uint64_t) (pause * (double) NSEC_PER_SEC);
}

uint32_t
law_setpoint (const struct law_limits *limits)
{
  return (uint32_t) (((uint64_t) limits->freerun + limits->limit) / 2);
}

double
law_position (const struct law_limits *limits, uint32_t unsaved)
{
  double setpoint = ((double) limits->freerun + limits->limit) / 2;
  double room = max (limits->limit - setpoint, 1);
  double x = (setpoint - unsaved) / room;

  return max (0, min (2, 1 + x * x * x));
}

/* Pages a second for one connection. */
static double
rate_at (const struct law_limits *limits, uint32_t unsaved)
{
  double base = limits->base;

  if (base == 0)
    base = ((double) limits->limit - limits->freerun) / FIRST_PERIOD;

  return base * law_position (limits, unsaved);
}

/* The integer root. */
static uint32_t
root (uint32_t n)
{
  uint32_t r = 0, bit;

  for (bit = 1u << 15; bit; bit >>= 1)
    if ((uint64_t) (r | bit) * (r | bit) <= n)
      r |= bit;
  return r;
}

uint32_t
law_poll (const struct law_limits *limits, uint32_t unsaved)
{
  double pause = rate_at (limits, unsaved) * seconds (LAW_PAUSE) / 4;
  uint32_t limit = limits->limit;
  uint32_t room = limit > unsaved ? root (limit - unsaved) : 0;

  return (uint32_t) max (1, min (room, pause));
}

uint64_t
law_pause_most (uint64_t pause, uint64_t pages)
{
  uint64_t times = (pages + LAW_PAGES - 1) / LAW_PAGES;

  return pause * (times > LAW_PAUSES ? LAW_PAUSES : times > 1 ? times : 1);
}

uint64_t
law_charge (const struct law_limits *limits, uint32_t unsaved, uint64_t clock,
            uint64_t now, uint32_t pages)
{
  uint64_t latest = now + law_pause_most (limits->pause_max, pages);
  double rate = rate_at (limits, unsaved);

  if (clock + LAW_CREDIT < now)
    clock = now - LAW_CREDIT;
  if (clock >= latest)
    return clock;
  if (pages >= rate * seconds (latest - clock))
    return latest;
  return clock + (uint64_t) (pages / rate * (double) NSEC_PER_SEC);
}

uint64_t
law_pause (const struct law_limits *limits, uint64_t clock, uint64_t now,
           uint32_t pages)
{
  uint64_t most = law_pause_most (limits->pause_max, pages);
  uint64_t least = LAW_PAUSE;

  if (least > limits->pause_max / 2)
    least = limits->pause_max / 2;
  if (clock < now + least)
    return 0;
  return clock - now < most ? clock - now : most;
}

/* --- learning --- */

static void
smooth (double *average, double value, double weight)
{
  *average += (value - *average) * min (1, weight);
}

/* Bandwidth is what was written in the time in which something was being
 * written: a store that had nothing to do says nothing of its speed.  One that
 * had some, but could have done more, was at least so fast.
 */
static void
measure (struct throttle_law *law, const struct law_sample *sample)
{
  double speed;

  law->busy += seconds (sample->busy);
  law->written += sample->written;
  if (law->written == 0) {
    /* One that has just begun says nothing. */
    law->busy = law->bandwidth == 0 ? 0 : min (law->busy, QUIET_PERIOD);
    return;
  }
  speed = law->written / max (law->busy, 1e-6);
  if (law->bandwidth == 0) {
    if (sample->saturated)
      law->bandwidth = law->recent = speed;
  }
  else {
    if (sample->saturated || speed > law->bandwidth)
      smooth (&law->bandwidth, speed, law->busy / BANDWIDTH_PERIOD);
    if (sample->saturated || speed > law->recent)
      smooth (&law->recent, speed, law->busy / RECENT_PERIOD);
  }
  law->busy = law->written = 0;
}

/* Bad news counts sooner than good news. */
static double
cautious_bandwidth (const struct throttle_law *law)
{
  return min (law->bandwidth, law->recent * RECENT_MARGIN);
}

/* What the store writes in the flush target; and whether that is what limits. */
static double
flush_limit (struct throttle_law *law)
{
  double speed = cautious_bandwidth (law), limit = speed * law->flush_target;

  if (law->flush_target == 0 || speed == 0)
    return law->max_limit;
  if (limit < law->max_limit * (1 - BOUND_MARGIN))
    law->bound = true;
  else if (limit > law->max_limit * (1 + BOUND_MARGIN))
    law->bound = false;
  return max (LIMIT_FLOOR, limit);
}

/* The part of the limit that is the setpoint. */
static double
setpoint_share (const struct throttle_law *law)
{
  return (3 + law->max_background / law->max_limit) / 4;
}

/* A limit that falls while writers are paced. */
static void
lower_limit (struct throttle_law *law, const struct law_sample *sample,
             double wanted)
{
  double elapsed = seconds (sample->elapsed);
  double lowest = min (law->limit, sample->unsaved * FALL_ROOM);
  double near =
    min (law->limit, sample->unsaved * SETPOINT_ROOM / setpoint_share (law));
  double next = near - cautious_bandwidth (law) * FALL_SHARE * elapsed;

  law->limit = max (wanted, max (lowest, next));
  law->falling = max (0, near - law->limit) / elapsed;
}

/* The limit, and where writers begin to be paced with it, that are wished for. */
static double
wanted_limit (struct throttle_law *law, double *freerun)
{
  double wanted = min (law->max_limit, flush_limit (law));

  *freerun = wanted * (2 * setpoint_share (law) - 1);
  return wanted;
}

void
law_configure (struct throttle_law *law, uint32_t limit, uint32_t background,
               uint64_t flush_target, uint32_t unsaved)
{
  double wanted, freerun;

  law->max_limit = limit;
  law->max_background = background;
  law->flush_target = seconds (flush_target);
  if (flush_target == 0)
    law->bound = false;
  wanted = wanted_limit (law, &freerun);
  if (unsaved <= freerun)
    law->limit = wanted; /* nobody notices */
}

static void
move_limit (struct throttle_law *law, const struct law_sample *sample)
{
  double freerun, wanted = wanted_limit (law, &freerun);

  law->falling = 0;
  if (wanted > law->limit)
    smooth (&law->limit, wanted, seconds (sample->elapsed) / RISE_PERIOD);
  else if (sample->unsaved <= freerun)
    law->limit = wanted; /* nobody notices */
  else
    lower_limit (law, sample, wanted);
}

/* At what rate pages should become dirty altogether.  While the limit falls,
 * what is unsaved is to go down with the setpoint, and to it if it is above.
 */
static double
wanted_inflow (const struct throttle_law *law, uint32_t unsaved)
{
  double speed = cautious_bandwidth (law);
  double setpoint = law->limit * setpoint_share (law);
  double above = max (0, unsaved - setpoint);

  if (law->falling == 0)
    return speed;
  return max (speed * FALL_LEAST, speed - law->falling * setpoint_share (law) -
                                    above / FALL_PERIOD);
}

/* Move the base rate towards what would balance, but only where the position
 * agrees: while there is little it goes up, while there is much it goes down.
 */
static void
adjust_base (struct throttle_law *law, const struct law_sample *sample)
{
  struct law_limits limits;
  double position, dirtied, balanced, inflow, fair;

  if (law->bandwidth == 0)
    return;
  law_limits (law, &limits);
  inflow = wanted_inflow (law, sample->unsaved);
  fair = inflow / max (1, sample->conns);
  law->base = max (fair, min (inflow, law->base));
  position = law->position;
  law->position = law_position (&limits, sample->unsaved);
  if (sample->dirtied == 0 && sample->unsaved <= limits.freerun)
    return; /* nobody was paced */

  position = (position + law->position) / 2;
  dirtied = max (1, sample->dirtied / seconds (sample->elapsed));
  balanced = law->base * position * inflow / dirtied;
  balanced = max (fair, min (inflow, balanced));
  if ((balanced > law->base) == (sample->unsaved < law_setpoint (&limits)))
    smooth (&law->base, balanced, BASE_STEP);
}

void
law_update (struct throttle_law *law, const struct law_sample *sample)
{
  if (sample->elapsed == 0)
    return;
  measure (law, sample);
  move_limit (law, sample);
  adjust_base (law, sample);
}
