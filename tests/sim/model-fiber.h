/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Fibers, as the scheduler sees them.
 */

#ifndef MODEL_FIBER_H
#define MODEL_FIBER_H

#include "model-world.h"

struct fiber {
  struct fiber *next; /* in world->fibers, in the order of their start */
  const char *name;
  bool ready;
  bool ended;

  /* What it waits for, if not ready. */
  _Atomic uint32_t *word;
  uint64_t deadline;

  void (*fn) (void *opaque);
  void *opaque;
  struct fiber_stack *stack;
};

/* From the scheduler: let the fiber go on until it leaves. */
extern void fiber_enter (struct world *w, struct fiber *fiber);

/* On a fiber: go back to the scheduler, until entered again. */
extern void fiber_leave (struct world *w);

#endif /* MODEL_FIBER_H */
