/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The crash test: what its parts share.
 */

#ifndef FOLIO_TESTS_CRASH_H
#define FOLIO_TESTS_CRASH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "sectors.h"
#include "target.h"
#include "util.h"

struct crash {
  /* Options. */
  uint64_t seed;
  uint64_t ops;       /* requests to finish; 0: no end */
  uint64_t max_len;   /* bytes of a request */
  unsigned depth;     /* requests in flight */
  unsigned hot;       /* places that most changes go to */
  unsigned flush;     /* percent of the requests */
  unsigned fua;       /* percent of the changes */
  unsigned holes;     /* percent of the requests: zero and trim */
  pid_t kill_pid;     /* 0: nobody */
  bool terminate;     /* with SIGTERM: what was acknowledged stays */
  bool abort;         /* terminate, but with SIGABRT */
  uint64_t after_ops; /* kill when so many have finished */
  bool expect_death;  /* somebody will kill the server */

  struct target target;
  struct sectors sectors;
};

/* Make requests until the server dies, or until enough have finished.
 * False if something was wrong, which is then on stderr.
 */
bool crash_load (struct crash *crash);

/* Read the whole disk through the server and check it; what was read is
 * the start of the next life.
 */
bool crash_verify (struct crash *crash, bool exact);

/* Check the image file at path. */
bool crash_verify_file (struct crash *crash, const char *path, bool exact);

#endif /* FOLIO_TESTS_CRASH_H */
