/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Which contents each sector may have.  Every write has a number, and its bytes
 * tell the number and the sector they were meant for; a zero is a write of
 * zeroes.  Of a byte, the candidates are what it held when the disk was opened
 * and all writes of it that have begun since.  A candidate is ruled out
 *
 *   for a read,          by a write that began after the candidate had ended
 *                        and ended, with success, before the read began
 *   after a power cut,   by a write that began after the candidate had ended
 *                        and is durable: one that ended before a flush began
 *                        that succeeded, or one with FUA that succeeded
 *
 * A write that failed may be there or not, and rules out nothing.
 *
 * Nor does one past the cache, of which there is no copy, once the store has lost
 * something, while it is under way or later: it may be gone, with what is older and
 * was not durable.  But that has to be told.  A flush that succeeds makes it durable
 * like all else, unless one of the same connection has failed, after the loss and
 * before it began.  (A connection that has come anew need be told only if nobody
 * else has been, except of what it had written itself before.)
 */

#ifndef MODEL_ORACLE_H
#define MODEL_ORACLE_H

#include "model-world.h"

#define ORACLE_SECTOR 512u

/* A write, zero or trim. */
struct oracle_write {
  struct oracle_write *next; /* all of them */
  uint32_t id;               /* 1 and up */
  uint64_t offset, length;   /* bytes */
  uint64_t begun, ended;     /* moments; ended: UINT64_MAX before */
  bool zero, fua;
  bool failed;
  bool nothing;                  /* it has changed nothing, for sure */
  unsigned client;               /* on which connection */
  uint64_t past_start, past_end; /* bytes that went past the cache */
};

/* When one who flushes was told last that something may be lost, and when it was. */
struct oracle_told {
  uint64_t at, lost; /* moments; 0: never */
};

/* A flush, and what those knew who wait for it when it began. */
struct oracle_flush {
  uint64_t begun;
  unsigned client;
  struct oracle_told own;    /* of what the client itself has written */
  struct oracle_told others; /* of all else */
};

struct oracle;

extern struct oracle *oracle_create (struct world *world, uint64_t size);
extern void oracle_destroy (struct oracle *o);

/* So many times, by this counter, the store may have lost something. */
extern void oracle_watch (struct oracle *o, const _Atomic uint32_t *losses);

/* Those who read and write are threads.  What two of them do at the same time may be
 * mixed, byte by byte; and what was under way when somebody was told may have been over.
 */
extern void oracle_set_threads (struct oracle *o);

/* Now, as a moment: each call gives a later one. */
extern uint64_t oracle_moment (struct oracle *o);

extern struct oracle_write *oracle_begin (struct oracle *o, uint64_t offset,
                                          uint64_t length, bool zero, bool fua);

/* As far as it is made of whole blocks it goes past the cache. */
extern void oracle_past (struct oracle *o, struct oracle_write *write,
                         uint32_t block_size);

/* The bytes that it writes. */
extern void oracle_fill (const struct oracle_write *write, void *buf);

/* It has ended with a result of cache_write or the like. */
extern void oracle_end (struct oracle *o, struct oracle_write *write,
                        int result);

/* A flush has succeeded; or it has failed, so its client is told. */
extern void oracle_flushed (struct oracle *o, const struct oracle_flush *flush);
extern void oracle_told (struct oracle *o, struct oracle_told *told);

/* A read that began at that moment has returned buf.  Fails if it may not. */
extern void oracle_read (struct oracle *o, const void *buf, uint64_t offset,
                         uint64_t length, uint64_t begun);

/* After a power cut, whole sectors of the disk, which hold buf; from here on it
 * is what they held when the disk was opened.  Fails if they may not.
 */
extern void oracle_survived (struct oracle *o, const void *buf, uint64_t offset,
                             uint64_t length);

/* What the disk held when it was opened, if all of it has been told by
 * oracle_survived.
 */
extern const uint8_t *oracle_content (const struct oracle *o);

/* All has been told by oracle_survived: forget the writes. */
extern void oracle_restart (struct oracle *o);

#endif /* MODEL_ORACLE_H */
