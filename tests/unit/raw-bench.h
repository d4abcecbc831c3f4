/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * raw over a fake store.
 */

#ifndef RAW_BENCH_H
#define RAW_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/raw/raw.h"
#include "tests/unit/fake-store.h"
#include "tests/unit/test.h"

#define MIB (UINT64_C (1) << 20)
#define GIB (UINT64_C (1) << 30)

struct bench {
  struct env env;
  struct fake_store *fake;
  struct fs *fs;
};

/* A store of that size, all a hole; the fs on it; the end of both. */
extern struct bench *bench_open (uint64_t size);
extern void bench_start (struct bench *b);
extern void bench_close (struct bench *b);

/* A test with one, b, that this expression opens. */
#define BENCH_TEST(name, open)                                                 \
  TEST_WITH (name, struct bench *b, open, bench_close)

/* Ask for a report of all of the disk. */
extern void bench_learn (struct bench *b);

/* Ask for a mapping; it must be of this type and of this length from pos. */
extern struct iomap mapped (struct bench *b, uint64_t pos, uint64_t length,
                            unsigned flags, enum iomap_type type,
                            uint64_t from_pos);

/* What the fs says. */
extern bool valid (struct bench *b, const struct iomap *iomap);
extern int try_map (struct bench *b, uint64_t offset, uint64_t length);

/* As the cache does: zero, trim, have that done, flush.  settle_zeroes and flush return
 * what comes of it.
 */
extern void zero (struct bench *b, uint64_t offset, uint64_t length, bool trim);
extern int settle_zeroes (struct bench *b, uint64_t start, uint64_t end);
extern int flush (struct bench *b);

/* All steps that there are now. */
extern void step (struct bench *b);

/* As if there were no room for it: nothing is known of the range any more. */
extern void forget (struct bench *b, uint64_t offset, uint64_t length);

/* As write-back does: up to the store's answer, and all of it. */
extern void writeback_begin (struct bench *b, uint64_t offset, uint64_t length);
extern void writeback (struct bench *b, uint64_t offset, uint64_t length);

#endif /* RAW_BENCH_H */
