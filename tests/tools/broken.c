/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A filter for tests by which nbdkit fails in one of its own threads when a
 * client asks it to: NBD_CMD_CACHE of 512 bytes at 512 times the number of a
 * fault.
 */

#include <assert.h>
#include <signal.h>
#include <stdlib.h>

#include <nbdkit-filter.h>

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

enum { ABORT, ASSERTION, EXIT, SEGV };

static int
broken_can_cache (nbdkit_next *next, void *handle)
{
  (void) next;
  (void) handle;
  return NBDKIT_CACHE_NATIVE;
}

static int
broken_cache (nbdkit_next *next, void *handle, uint32_t count, uint64_t offset,
              uint32_t flags, int *err)
{
  (void) next;
  (void) handle;
  (void) count;
  (void) flags;
  (void) err;
  switch (offset / 512) {
  case ABORT: abort ();
  case ASSERTION: assert (!"asked to fail"); break;
  case EXIT: exit (1);
  case SEGV: raise (SIGSEGV); break;
  default: break;
  }
  return 0;
}

static struct nbdkit_filter filter = {
  .name = "broken",
  .longname = "nbdkit broken filter",
  .can_cache = broken_can_cache,
  .cache = broken_cache,
};

/* The entry point, which the macro defines; nbdkit's header declares it not. */
NBDKIT_DLL_PUBLIC struct nbdkit_filter *filter_init (void);

NBDKIT_REGISTER_FILTER (filter)
