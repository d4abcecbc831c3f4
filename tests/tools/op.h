/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * One NBD request: what it asks for, how it is sent, and what came
 * back.
 */

#ifndef FOLIO_TESTS_OP_H
#define FOLIO_TESTS_OP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <libnbd.h>

#include "target.h"

enum op_kind {
  OP_READ,
  OP_WRITE,
  OP_ZERO,
  OP_TRIM,
  OP_FLUSH,
  OP_CACHE,
  OP_EXTENTS, /* block status, base:allocation */
};

/* What a write writes.  A pure function of (fill, seed, offset on the
 * disk), so data found in a wrong place tells which write made it.
 */
enum op_fill {
  FILL_RANDOM, /* no byte of it is zero */
  FILL_BYTE,   /* one nonzero byte, repeated */
  FILL_ZERO,
};

/* The part of a request that is remembered in a history. */
struct op {
  uint64_t id;     /* position in the history, from 1 */
  uint64_t ended;  /* newest id when it ended; 0: it did not */
  uint64_t offset; /* bytes */
  uint64_t length; /* bytes */
  uint64_t seed;   /* of the data */
  uint32_t flags;  /* LIBNBD_CMD_FLAG_* */
  uint16_t connection;
  uint8_t kind; /* enum op_kind */
  uint8_t fill; /* enum op_fill */
};

struct extent {
  uint64_t length; /* bytes */
  uint32_t flags;  /* LIBNBD_STATE_HOLE, LIBNBD_STATE_ZERO */
};

/* A request in flight.  The caller owns all of it; it must stay in
 * place until done.
 */
struct request {
  struct op op;
  uint8_t *buf;           /* OP_READ, OP_WRITE: data */
  struct extent *extents; /* OP_EXTENTS: the answer; freed by
                                   request_clear */
  size_t nr_extents;
  int error; /* 0 or errno */
  bool done;
};

/* Does this request change the content of the disk? */
bool op_modifies (const struct op *op);

/* Do the byte ranges of a and b meet? */
bool op_overlaps (const struct op *a, const struct op *b);

/* One line of text (without newline) about op. */
void op_print (FILE *fp, const struct op *op);

/* The bytes that op leaves at [offset, offset+length), which must
 * lie inside it: data of a write, zeroes of a zero or trim.
 */
void op_content (const struct op *op, uint64_t offset, uint8_t *buf,
                 size_t length);

/* Send the request on its connection, do not wait.  If it could not be
 * sent it is done at once, with an error.  OP_WRITE: buf holds the data.
 */
void request_issue (const struct target *target, struct request *req);

/* Send the request and wait until it is done.  Returns its error, 0 or
 * a positive errno.
 */
int request_run (const struct target *target, struct request *req);

/* Free the extents. */
void request_clear (struct request *req);

#endif /* FOLIO_TESTS_OP_H */
