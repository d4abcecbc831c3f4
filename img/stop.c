/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Ctrl-C, and the signals like it.
 */

#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>

#include "img/stop.h"

static atomic_bool wanted;

static void
note_signal (int sig)
{
  (void) sig;
  atomic_store (&wanted, true);
}

void
stop_catch (void)
{
  static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
  struct sigaction action = { .sa_handler = note_signal,
                              .sa_flags = SA_RESETHAND | SA_RESTART };
  struct sigaction before;
  size_t i;

  sigemptyset (&action.sa_mask);
  for (i = 0; i < sizeof signals / sizeof *signals; i++) {
    sigaction (signals[i], NULL, &before);
    if (before.sa_handler != SIG_IGN) /* as nohup has it */
      sigaction (signals[i], &action, NULL);
  }
}

bool
stop_wanted (void)
{
  return atomic_load (&wanted);
}
