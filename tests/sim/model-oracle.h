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
 * If the oracle is forgetful, writes past the cache may be lost, together with what
 * they went over: they rule out nothing before they are durable, and nor does what
 * was zeroed or written before they ended.  Clients are told: a flush does not make
 * that durable which had ended when its connection was told last.
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
  bool past;    /* perhaps past the cache, and forgetful */
  bool durable; /* a flush says so, if forgetful */
  bool failed;
  bool nothing; /* it has changed nothing, for sure */
};

struct oracle;

extern struct oracle *oracle_create (struct world *world, uint64_t size);
extern void oracle_destroy (struct oracle *o);

/* Now, as a moment: each call gives a later one. */
extern uint64_t oracle_moment (struct oracle *o);

/* Before the first write. */
extern void oracle_set_forgetful (struct oracle *o, bool forgetful);

/* Bits of what it is. */
#define ORACLE_ZERO 0x1u
#define ORACLE_FUA 0x2u
#define ORACLE_PAST 0x4u /* past the cache, perhaps */

extern struct oracle_write *oracle_begin (struct oracle *o, uint64_t offset,
                                          uint64_t length, unsigned kind);

/* The bytes that it writes. */
extern void oracle_fill (const struct oracle_write *write, void *buf);

/* It has ended with a result of cache_write or the like. */
extern void oracle_end (struct oracle *o, struct oracle_write *write,
                        int result);

/* A flush that began at that moment has succeeded.  told: when the last flush of the
 * connection that failed had ended; UINT64_MAX: nobody is told by this one.
 */
extern void oracle_flushed (struct oracle *o, uint64_t begun, uint64_t told);

/* A read that began at that moment has returned buf.  Fails if it may not. */
extern void oracle_read (struct oracle *o, const void *buf, uint64_t offset,
                         uint64_t length, uint64_t begun);

/* After a power cut, whole sectors of the disk, which hold buf; from here on it
 * is what they held when the disk was opened.  Fails if they may not.
 */
extern void oracle_survived (struct oracle *o, const void *buf, uint64_t offset,
                             uint64_t length);

/* All has been told by oracle_survived: forget the writes. */
extern void oracle_restart (struct oracle *o);

#endif /* MODEL_ORACLE_H */
