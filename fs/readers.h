/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Reads under way, for a format that uses places of the store again (fs->moves):
 * not before all who may have been told of one are through with it.
 *
 * Time is divided into eras.  A reader is counted in the one in which it began,
 * before it asks where to read.  What is freed is noted with the era in which it
 * was, after nobody can be told of it any more; and when that era and all before
 * it have no reader left, it may be used again.  There are never readers of more
 * than two eras: the next begins when there are none of the one before this.
 *
 * All who ask for an iomap count, writers too, so none of them may wait for this.
 *
 * So a read costs two changes of a counter, one that finds all in the cache
 * nothing, and it makes no difference how much is freed.
 */

#ifndef FOLIO_READERS_H
#define FOLIO_READERS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct fs;

/* Of an fs; all zeroes at first. */
struct readers {
  _Atomic uint64_t era;        /* changed by readers_gone alone */
  _Atomic uint32_t reading[2]; /* so many began in even, and in odd eras */
  _Atomic bool awaited; /* readers_gone has said no since it was rung for */
};

/* A read begins.  Returns what it is counted by.  Any thread, with any locks. */
extern unsigned readers_begin (struct fs *fs);

/* Another one does, where one counted so was told, and is not through. */
extern void readers_join (struct fs *fs, unsigned counted);

/* One is through.  Rings if it is worth asking readers_gone again. */
extern void readers_end (struct fs *fs, unsigned counted);

/* What to note with something that is freed now. */
extern uint64_t readers_era (const struct fs *fs);

/* Are all reads over that began in that era, or before?  If not, the bell rings
 * when it is worth asking again.  One thread at a time: the loop's.
 */
extern bool readers_gone (struct fs *fs, uint64_t era);

#endif /* FOLIO_READERS_H */
