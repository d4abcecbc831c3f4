/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The latest requests of a test, kept to tell the story of a place
 * on the disk when something wrong is found there.
 */

#ifndef FOLIO_TESTS_HISTORY_H
#define FOLIO_TESTS_HISTORY_H

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>

#include "op.h"

/* A ring of HISTORY_MAX requests.  Any thread may call any function. */
#define HISTORY_MAX (1 << 17)

struct history {
  pthread_mutex_t lock;
  uint64_t next_id; /* of the next request, from 1 */
  struct op *ops;   /* request i stands at i % HISTORY_MAX */
};

void history_init (struct history *history);
void history_free (struct history *history);

/* Give op its id and remember it. */
void history_begin (struct history *history, struct op *op);

/* Remember that op has ended. */
void history_end (struct history *history, struct op *op);

/* Print the latest requests that touched the byte at offset, and the
 * flushes among them.  If got is not NULL, the n bytes there (found on
 * the disk) are compared with what each one left.
 */
void history_tell (struct history *history, FILE *fp, uint64_t offset,
                   const uint8_t *got, size_t n);

/* Write to, or read from, a state file.  Both end the program on an
 * error.
 */
void history_save (struct history *history, int fd, const char *path);
void history_load (struct history *history, int fd, const char *path);

#endif /* FOLIO_TESTS_HISTORY_H */
