/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What each sector of the disk may hold after a crash.
 *
 * Every change of the disk has a generation, its id in the history.
 * Changes of one sector are never in flight together, so their order is
 * known.  Of a sector we keep
 *
 *   floor   the newest generation that is surely durable: acknowledged
 *           before a flush began that has succeeded, or written with FUA
 *   last    the newest generation issued, acknowledged or not
 *   zero    the newest generation that left zeroes there
 *
 * After a crash it must hold the floor or any later generation, whole.
 * What is found then is the floor of the next life, in which the
 * generations between that and the crash must never appear.
 */

#ifndef FOLIO_TESTS_SECTORS_H
#define FOLIO_TESTS_SECTORS_H

#include <stdbool.h>
#include <stdint.h>

#include "history.h"

#define SECTOR 512

struct sectors {
  uint64_t n;
  uint64_t key;   /* of this disk's data */
  uint64_t epoch; /* oldest generation of this life */
  uint64_t *floor, *last, *zero;
  struct history history;
};

/* What one pass over the disk has found. */
struct tally {
  uint64_t checked; /* sectors */
  uint64_t open;    /* that could hold several things */
  uint64_t newest;  /* of those: hold the newest */
  uint64_t wrong;
};

/* A disk of n sectors of zeroes. */
void sectors_init (struct sectors *sectors, uint64_t n, uint64_t key);
void sectors_free (struct sectors *sectors);

/* Load what sectors_save wrote; false if there is no such file. */
bool sectors_load (struct sectors *sectors, const char *path);
void sectors_save (struct sectors *sectors, const char *path);

/* The data of this sector in this generation.  No two are alike in any
 * word but the first, so a torn, stale or misplaced one is told.
 */
void sectors_fill (const struct sectors *sectors, uint64_t sector,
                   uint64_t generation, uint8_t *buf);

/* A change is about to be sent, was acknowledged durably. */
void sectors_issued (struct sectors *sectors, const struct op *op);
void sectors_durable (struct sectors *sectors, const struct op *op);

/* Check count sectors from first on, read into buf, against what they
 * may hold, or against the last generation only if exact.  Reports what
 * is wrong on stderr.
 */
void sectors_check (struct sectors *sectors, uint64_t first, uint64_t count,
                    const uint8_t *buf, bool exact, struct tally *tally);

/* What was read is where the next life begins.  Call for all sectors,
 * then sectors_begin_epoch.
 */
void sectors_rebase (struct sectors *sectors, uint64_t first, uint64_t count,
                     const uint8_t *buf);
void sectors_begin_epoch (struct sectors *sectors);

#endif /* FOLIO_TESTS_SECTORS_H */
