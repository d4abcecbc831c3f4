/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The clock, the scheduler and the record of what happened.
 */

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model-fiber.h"

#define TURN_NS 2000     /* a turn takes up to so long */
#define SPURIOUS 2       /* percent of waits that end for no reason */
#define SHOWN_EVENTS 400 /* of the record, in a report */
#define SECTOR_BYTES 512u

/* --- the record --- */

static void
add_hash (struct world *w, uint64_t x)
{
  w->hash = mix64 (w->hash ^ x) + UINT64_C (0x9e3779b97f4a7c15);
}

static void
add_hash_text (struct world *w, const char *s)
{
  for (; *s; s++)
    add_hash (w, (uint8_t) *s);
}

static void
print_event (FILE *fp, const struct model_event *e)
{
  fprintf (fp, "%12.6f  %s", (double) e->time / NSEC_PER_SEC, e->what);
  if (e->text)
    fprintf (fp, " %s", e->text);
  if (e->length)
    fprintf (fp, " [%" PRIu64 ", %" PRIu64 ")", e->offset,
             e->offset + e->length);
  fprintf (fp, " %" PRId64 "\n", e->value);
}

static void
record (struct world *w, const struct model_event *e)
{
  if (w->nr_events == w->room) {
    w->room = w->room ? w->room * 2 : 1024;
    w->events = realloc (w->events, w->room * sizeof *w->events);
    if (w->events == NULL)
      die ("out of memory");
  }
  w->events[w->nr_events++] = *e;
  add_hash (w, e->time);
  add_hash_text (w, e->what);
  if (e->text)
    add_hash_text (w, e->text);
  add_hash (w, e->offset);
  add_hash (w, e->length);
  add_hash (w, (uint64_t) e->value);
  if (w->trace)
    print_event (stdout, e);
}

void
world_note (struct world *w, const char *what, uint64_t offset, uint64_t length,
            int64_t value)
{
  struct model_event event = {
    .time = w->clock,
    .what = what,
    .offset = offset,
    .length = length,
    .value = value,
  };

  record (w, &event);
}

void
world_forget (struct world *w)
{
  size_t i;

  for (i = 0; i < w->nr_events; i++)
    free (w->events[i].text);
  w->nr_events = 0;
  w->last_turn = w->turns + WORLD_PATIENCE;
}

/* Does the event concern the sector? */
static bool
concerns (const struct model_event *e, uint64_t sector)
{
  uint64_t start = sector * SECTOR_BYTES;

  return sector == WORLD_ALL || e->length == 0 ||
         (e->offset < start + SECTOR_BYTES && start < e->offset + e->length);
}

static void
print_record (const struct world *w, uint64_t sector)
{
  size_t i, n = 0;

  for (i = w->nr_events; i > 0 && n < SHOWN_EVENTS; i--)
    n += concerns (&w->events[i - 1], sector);
  if (i > 0)
    printf ("(earlier events are not shown)\n");
  for (; i < w->nr_events; i++)
    if (concerns (&w->events[i], sector))
      print_event (stdout, &w->events[i]);
}

void
world_fail (struct world *w, uint64_t sector, const char *fmt, ...)
{
  const struct fiber *fiber;
  va_list args;

  printf ("What happened since power was last switched on");
  if (sector != WORLD_ALL)
    printf (", as far as it concerns sector %" PRIu64, sector);
  printf (":\n");
  print_record (w, sector);
  for (fiber = w->fibers; fiber; fiber = fiber->next)
    printf ("fiber %s: %s\n", fiber->name, fiber->ready ? "ready" : "waits");
  printf ("FAIL: seed %" PRIu64 ": ", w->seed);
  va_start (args, fmt);
  vprintf (fmt, args);
  va_end (args);
  printf ("\n");
  exit (1);
}

/* --- the environment --- */

static uint64_t
model_now (struct env *env)
{
  return world_of (env)->clock;
}

static void
wait_on_fiber (struct world *w, _Atomic uint32_t *word, uint64_t deadline)
{
  struct fiber *fiber = w->current;

  fiber->word = word;
  fiber->deadline = deadline;
  fiber->ready = world_chance (w, SPURIOUS);
  fiber_leave (w);
}

/* The program itself waits. */
static void
wait_outside (struct world *w, _Atomic uint32_t *word, uint32_t value,
              uint64_t deadline)
{
  w->deadline = deadline;
  while (atomic_load (word) == value && w->clock < deadline)
    world_turn (w);
  w->deadline = ENV_FOREVER;
}

static void
model_wait (struct env *env, _Atomic uint32_t *word, uint32_t value,
            uint64_t deadline)
{
  struct world *w = world_of (env);

  if (w->on_loop || (w->helping && w->helper == w->current))
    world_fail (w, WORLD_ALL, "the loop thread waits");
  if (atomic_load (word) != value)
    return;
  if (w->current)
    wait_on_fiber (w, word, deadline);
  else
    wait_outside (w, word, value, deadline);
}

static void
model_wake (struct env *env, _Atomic uint32_t *word)
{
  struct fiber *fiber;

  for (fiber = world_of (env)->fibers; fiber; fiber = fiber->next)
    if (fiber->word == word)
      fiber->ready = true;
}

static void
model_log (struct env *env, enum log_level level, const char *message)
{
  struct world *w = world_of (env);
  struct model_event event = {
    .time = w->clock,
    .what = "log:",
    .text = strdup (message),
    .value = level,
  };

  record (w, &event);
}

/* --- timers --- */

void
world_timer_set (struct world *w, struct model_timer *timer, uint64_t due,
                 void (*fn) (void *opaque), void *opaque)
{
  struct model_timer **p;

  for (p = &w->timers; *p && (*p)->due <= due; p = &(*p)->next)
    ;
  *timer = (struct model_timer) {
    .next = *p,
    .due = due,
    .fn = fn,
    .opaque = opaque,
  };
  *p = timer;
}

void
world_timer_cancel (struct world *w, struct model_timer *timer)
{
  struct model_timer **p;

  for (p = &w->timers; *p && *p != timer; p = &(*p)->next)
    ;
  if (*p)
    *p = timer->next;
}

/* --- the scheduler --- */

static void
run_timer (struct world *w)
{
  struct model_timer *timer = w->timers;

  w->timers = timer->next;
  w->on_loop = true;
  timer->fn (timer->opaque);
  w->on_loop = false;
  /* The loop was woken by it. */
  if (w->loop)
    w->loop->ready = true;
}

static void
run_step (struct world *w)
{
  struct model_loop *loop = w->loop;

  w->on_loop = true;
  loop->ready = false;
  /* A kick from within the step counts. */
  if (loop->step (loop->opaque))
    loop->ready = true;
  loop->due = loop->deadline (loop->opaque);
  w->on_loop = false;
}

/* Those whose deadlines have passed are ready; returns how many are. */
static unsigned
ready_fibers (struct world *w)
{
  struct fiber *fiber;
  unsigned n = 0;

  for (fiber = w->fibers; fiber; fiber = fiber->next) {
    if (!fiber->ready && fiber->deadline <= w->clock)
      fiber->ready = true;
    n += fiber->ready;
  }
  return n;
}

static void
run_fiber (struct world *w, unsigned n)
{
  struct fiber *fiber;

  for (fiber = w->fibers; !fiber->ready || n-- > 0; fiber = fiber->next)
    ;
  fiber->word = NULL;
  fiber_enter (w, fiber);
}

/* Nothing can go on: to when something can. */
static void
pass_time (struct world *w)
{
  uint64_t next = w->loop ? w->loop->due : ENV_FOREVER;
  const struct fiber *fiber;

  if (w->deadline < next)
    next = w->deadline;
  if (w->timers && w->timers->due < next)
    next = w->timers->due;
  for (fiber = w->fibers; fiber; fiber = fiber->next)
    if (fiber->deadline < next)
      next = fiber->deadline;
  if (next == ENV_FOREVER)
    world_fail (w, WORLD_ALL, "all wait, and nothing will wake them");
  if (next > w->clock)
    w->clock = next;
}

void
world_turn (struct world *w)
{
  unsigned fibers, timer, step, choice;

  if (w->turns++ > w->last_turn)
    world_fail (w, WORLD_ALL, "this goes on for ever");
  w->clock += 1 + world_below (w, TURN_NS);
  fibers = ready_fibers (w);
  timer = w->timers && w->timers->due <= w->clock && !w->helping;
  if (w->loop && w->loop->due <= w->clock)
    w->loop->ready = true;
  step = w->loop && w->loop->ready && !w->helping;
  if (fibers + timer + step == 0) {
    pass_time (w);
    return;
  }
  choice = (unsigned) world_below (w, fibers + timer + step);
  if (choice < fibers)
    run_fiber (w, choice);
  else if (choice < fibers + timer)
    run_timer (w);
  else
    run_step (w);
}

bool
world_quiet (const struct world *w)
{
  const struct fiber *fiber;

  for (fiber = w->fibers; fiber; fiber = fiber->next)
    if (fiber->ready || fiber->deadline != ENV_FOREVER)
      return false;
  return w->timers == NULL && !(w->loop && w->loop->ready);
}

void
world_yield (struct world *w)
{
  if (w->current) {
    w->current->ready = true;
    fiber_leave (w);
  }
}

void
world_sleep (struct world *w, uint64_t ns)
{
  _Atomic uint32_t never = 0;
  uint64_t until = w->clock + ns;

  while (w->clock < until)
    w->env.wait (&w->env, &never, 0, until);
}

struct world *
world_create (uint64_t seed, bool trace)
{
  struct world *w = xcalloc (1, sizeof *w);

  w->env = (struct env) {
    .now = model_now,
    .wait = model_wait,
    .wake = model_wake,
    .log = model_log,
  };
  w->seed = seed;
  w->rng.state = mix64 (seed);
  w->clock = NSEC_PER_SEC;
  w->deadline = ENV_FOREVER;
  w->trace = trace;
  world_forget (w);
  return w;
}

void
world_destroy (struct world *w)
{
  world_forget (w);
  free (w->events);
  free (w);
}
