/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The exit status.
 */

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "plugin/exit.h"

/* With --run the parent waits for the server, but not for its status: so it is
 * told through memory that both share.
 */
static struct shared {
  _Atomic bool lost;
} * shared;

/* Nobody else's: a child of this process leaves it alone. */
static void (*_Atomic call) (void);
static pid_t call_process;

/* Registered early, so it runs after nearly all others of its kind. */
static void
at_exit (int status, void *opaque)
{
  void (*fn) (void) = atomic_exchange (&call, NULL);

  (void) opaque;
  if (fn && call_process == getpid ())
    fn ();
  if (status != EXIT_SUCCESS || !shared->lost)
    return;
  fflush (NULL);
  _exit (EXIT_DATA_LOST);
}

int
exit_prepare (void)
{
  void *page;

  if (shared)
    return 0;
  page = mmap (NULL, sizeof *shared, PROT_READ | PROT_WRITE,
               MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED)
    return -errno;
  shared = page;
  return on_exit (at_exit, NULL) == 0 ? 0 : -ENOMEM;
}

void
exit_data_lost (void)
{
  shared->lost = true;
}

void
exit_call (void (*fn) (void))
{
  call_process = getpid ();
  call = fn;
}
