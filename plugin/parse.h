/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Reading and writing the values of parameters.  Pure functions of strings.
 */

#ifndef FOLIO_PARSE_H
#define FOLIO_PARSE_H

#include <stddef.h>
#include <stdint.h>

/* What can be wrong with a value. */
enum parse_result { PARSE_OK, PARSE_NOT_A_NUMBER, PARSE_SUFFIX, PARSE_TOO_BIG };

/* A whole number, nothing after it. */
extern enum parse_result parse_number (const char *str, uint64_t *number);

/* A size in bytes, as nbdkit takes them: a whole number and perhaps one of
 * b, k, M, G, T, P, E (powers of 1024, either case) or s (512).
 */
extern enum parse_result parse_size (const char *str, uint64_t *bytes);

/* A time in nanoseconds: a whole number of seconds, or with s or ms after it.
 */
extern enum parse_result parse_time (const char *str, uint64_t *ns);

/* The shortest text that parse_size or parse_time would take for it; of len
 * bytes at most (24 are enough).  Times below 1 ms are rounded down.
 */
extern void format_size (char *buf, size_t len, uint64_t bytes);
extern void format_time (char *buf, size_t len, uint64_t ns);

/* How many letters must be put in, taken out or changed to turn a into b
 * (Levenshtein); a large number if either has more than 63.
 */
extern unsigned edit_distance (const char *a, const char *b);

#endif /* FOLIO_PARSE_H */
