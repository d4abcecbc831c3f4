/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The server under test: several connections to one export.
 */

#ifndef FOLIO_TESTS_TARGET_H
#define FOLIO_TESTS_TARGET_H

#include <stdbool.h>
#include <stdint.h>

#include <libnbd.h>

#define MAX_CONNECTIONS 64

struct target {
  unsigned n; /* connections */
  struct nbd_handle *nbd[MAX_CONNECTIONS];
  uint64_t base;      /* bytes; where offset 0 of the requests is on the disk */
  uint64_t size;      /* bytes that are under test, from base on */
  uint64_t disk_size; /* bytes */
  bool can_flush, can_fua, can_zero, can_fast_zero, can_trim, can_cache;
  bool can_extents;
};

/* Connect n times to uri.  Ends the program if that fails, or if n > 1
 * and the server does not promise that its connections see one disk
 * (multi-conn).
 */
void target_open (struct target *target, const char *uri, unsigned n);

/* Test just [base, base + size) of the disk; size 0: to its end.  Ends
 * the program if the disk has no such range.
 */
void target_set_window (struct target *target, uint64_t base, uint64_t size);

/* Hang up.  Nothing may be in flight on a connection that lives. */
void target_close (struct target *target);

/* Wait up to timeout milliseconds (-1: for ever) for something to
 * happen on any connection, and let it happen: requests become done.
 * Returns the number of connections still alive.
 */
unsigned target_poll (struct target *target, int timeout);

#endif /* FOLIO_TESTS_TARGET_H */
