/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What every test program needs: ending with a message, memory that
 * is there, seeded random numbers, and option values.
 */

#ifndef FOLIO_TESTS_UTIL_H
#define FOLIO_TESTS_UTIL_H

#include <stddef.h>
#include <stdint.h>

/* Print "program: message" to stderr and exit with status 1. */
void die (const char *fmt, ...)
  __attribute__ ((format (printf, 1, 2), noreturn));

/* Like calloc, but ends the program when memory is out.  The caller
 * frees.
 */
void *xcalloc (size_t n, size_t size);

/* A reproducible stream of random numbers: splitmix64 (Steele, Lea
 * and Flood, "Fast splittable pseudorandom number generators", 2014).
 * Not safe to share between threads.
 */
struct rng {
  uint64_t state;
};

/* The finalizer of splitmix64: a bijection of 64 bits. */
uint64_t mix64 (uint64_t x);

/* The next number, all 64 bits. */
uint64_t rng_next (struct rng *rng);

/* A number in [0, n); 0 if n is 0. */
uint64_t rng_below (struct rng *rng, uint64_t n);

/* A number in [1, max], every power of two as likely as the next. */
uint64_t rng_log (struct rng *rng, uint64_t max);

/* True in percent of 100 cases. */
int rng_chance (struct rng *rng, unsigned percent);

/* Parse a number of bytes with an optional suffix K, M, G or T
 * (powers of 1024); ends the program if the text is not one.  name is
 * the option, for the message.
 */
uint64_t size_option (const char *name, const char *text);

/* Nanoseconds of CLOCK_MONOTONIC. */
uint64_t now_ns (void);

/* A seed that differs from run to run. */
uint64_t fresh_seed (void);

/* How many of n random rounds this build is to do: all, or under sanitizers,
 * where each takes longer, a fifth, and under ThreadSanitizer, which does not ask
 * for their data, a tenth.
 */
unsigned share (unsigned n);

/* Read or write exactly length bytes; ends the program on an error
 * or, when reading, at an early end of file.
 */
void read_all (int fd, const char *path, void *buf, size_t length);
void write_all (int fd, const char *path, const void *buf, size_t length);

#endif /* FOLIO_TESTS_UTIL_H */
