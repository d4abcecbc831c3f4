/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A store in memory that does each request at once, on the thread that submits it, and
 * keeps no record: for tests that open images by the hundred thousand.
 */

#ifndef FOLIO_TESTS_MEMORY_STORE_H
#define FOLIO_TESTS_MEMORY_STORE_H

#include "fs/store.h"

struct memory_store {
  struct store store; /* first */
  struct env env;     /* logs nothing */
  uint8_t *content;   /* geo.size bytes, the caller's */
  uint64_t logged;    /* messages */
};

/* Make one of these bytes; nothing of it is to be freed. */
extern void memory_store_init (struct memory_store *m, uint8_t *content,
                               uint64_t size);

#endif /* FOLIO_TESTS_MEMORY_STORE_H */
