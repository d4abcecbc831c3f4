/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Fibers: stacks of their own on one thread, by ucontext.  AddressSanitizer is
 * told of every switch.
 */

#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "model-fiber.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#define STACK_SIZE (1u << 20)
#else
#define STACK_SIZE (256u << 10)
#endif
#define GUARD_SIZE 4096u

struct fiber_stack {
  struct fiber_stack *next; /* of those not in use */
  uint8_t *memory;          /* with a page at its end that faults */
  ucontext_t context;       /* of the fiber when it is left */
  void *fake;               /* AddressSanitizer's */
};

static struct fiber_stack *unused;

/* Where the scheduler goes on. */
static ucontext_t scheduler;
static void *scheduler_fake;
static const void *scheduler_bottom;
static size_t scheduler_size;
static struct world *entering;

#ifdef __SANITIZE_ADDRESS__

static void
switch_begins (void **fake, const void *bottom, size_t size)
{
  __sanitizer_start_switch_fiber (fake, bottom, size);
}

static void
switch_ended (void *fake, const void **bottom, size_t *size)
{
  __sanitizer_finish_switch_fiber (fake, bottom, size);
}

#else

static void
switch_begins (void **fake, const void *bottom, size_t size)
{
  (void) fake;
  (void) bottom;
  (void) size;
}

static void
switch_ended (void *fake, const void **bottom, size_t *size)
{
  (void) fake;
  (void) bottom;
  (void) size;
}

#endif

static struct fiber_stack *
get_stack (void)
{
  struct fiber_stack *stack = unused;

  if (stack) {
    unused = stack->next;
    return stack;
  }
  stack = xcalloc (1, sizeof *stack);
  stack->memory = mmap (NULL, GUARD_SIZE + STACK_SIZE, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (stack->memory == MAP_FAILED ||
      mprotect (stack->memory, GUARD_SIZE, PROT_NONE) < 0)
    die ("no memory for a stack");
  return stack;
}

static void
put_stack (struct fiber_stack *stack)
{
  stack->next = unused;
  unused = stack;
}

void
fiber_free_stacks (void)
{
  struct fiber_stack *stack;

  while ((stack = unused) != NULL) {
    unused = stack->next;
    munmap (stack->memory, GUARD_SIZE + STACK_SIZE);
    free (stack);
  }
}

/* The bottom of a fiber's stack. */
static void
run (void)
{
  struct world *w = entering;
  struct fiber *fiber = w->current;

  switch_ended (NULL, &scheduler_bottom, &scheduler_size);
  fiber->fn (fiber->opaque);
  fiber->ended = true;
  /* Does not come back: its fake stack goes, too. */
  switch_begins (NULL, scheduler_bottom, scheduler_size);
  setcontext (&scheduler);
}

static void
make_context (struct fiber_stack *stack)
{
  if (getcontext (&stack->context) < 0)
    die ("getcontext failed");
  stack->context.uc_stack.ss_sp = stack->memory + GUARD_SIZE;
  stack->context.uc_stack.ss_size = STACK_SIZE;
  stack->context.uc_link = NULL;
  stack->fake = NULL;
  makecontext (&stack->context, run, 0);
}

void
fiber_start (struct world *w, const char *name, void (*fn) (void *opaque),
             void *opaque)
{
  struct fiber *fiber = xcalloc (1, sizeof *fiber), **p;
  struct fiber_stack *stack = get_stack ();

  *fiber = (struct fiber) {
    .name = name,
    .ready = true,
    .fn = fn,
    .opaque = opaque,
    .stack = stack,
  };
  make_context (stack);
  for (p = &w->fibers; *p; p = &(*p)->next)
    ;
  *p = fiber;
}

static void
end_fiber (struct world *w, struct fiber *fiber)
{
  struct fiber **p;

  for (p = &w->fibers; *p != fiber; p = &(*p)->next)
    ;
  *p = fiber->next;
  put_stack (fiber->stack);
  free (fiber);
}

void
fiber_enter (struct world *w, struct fiber *fiber)
{
  struct fiber_stack *stack = fiber->stack;

  w->current = fiber;
  entering = w;
  switch_begins (&scheduler_fake, stack->memory + GUARD_SIZE, STACK_SIZE);
  swapcontext (&scheduler, &stack->context);
  switch_ended (scheduler_fake, NULL, NULL);
  w->current = NULL;
  if (fiber->ended)
    end_fiber (w, fiber);
}

void
fiber_leave (struct world *w)
{
  struct fiber_stack *stack = w->current->stack;

  switch_begins (&stack->fake, scheduler_bottom, scheduler_size);
  swapcontext (&stack->context, &scheduler);
  switch_ended (stack->fake, &scheduler_bottom, &scheduler_size);
}

unsigned
fiber_count (const struct world *w)
{
  const struct fiber *fiber;
  unsigned n = 0;

  for (fiber = w->fibers; fiber; fiber = fiber->next)
    n++;
  return n;
}
