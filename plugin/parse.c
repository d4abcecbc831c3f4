/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Reading and writing the values of parameters.
 */

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "fs/env.h"
#include "plugin/parse.h"

static const char size_suffixes[] = "bkMGTPE";

/* The digits at the start of str.  Unlike strtoull takes no sign, no space and
 * no other base.
 */
static enum parse_result
parse_digits (const char *str, uint64_t *number, const char **end)
{
  uint64_t n = 0;
  const char *p;

  for (p = str; *p >= '0' && *p <= '9'; p++) {
    if (__builtin_mul_overflow (n, (uint64_t) 10, &n) ||
        __builtin_add_overflow (n, (uint64_t) (*p - '0'), &n))
      return PARSE_TOO_BIG;
  }
  *number = n;
  *end = p;
  return p == str ? PARSE_NOT_A_NUMBER : PARSE_OK;
}

/* number * unit, where what is too big for an off_t is too big for us. */
static enum parse_result
scale (uint64_t number, uint64_t unit, uint64_t *product)
{
  if (__builtin_mul_overflow (number, unit, product) || *product > INT64_MAX)
    return PARSE_TOO_BIG;
  return PARSE_OK;
}

enum parse_result
parse_number (const char *str, uint64_t *number)
{
  const char *end;
  enum parse_result r = parse_digits (str, number, &end);

  return r == PARSE_OK && *end ? PARSE_SUFFIX : r;
}

/* The unit that a suffix stands for, 0 if it is none. */
static uint64_t
size_unit (const char *suffix)
{
  const char *p;

  if (*suffix == '\0')
    return 1;
  if (suffix[1] != '\0')
    return 0;
  if (*suffix == 's' || *suffix == 'S')
    return 512;
  for (p = size_suffixes; *p; p++) {
    if ((*p | 0x20) == (*suffix | 0x20))
      return UINT64_C (1) << (10 * (p - size_suffixes));
  }
  return 0;
}

enum parse_result
parse_size (const char *str, uint64_t *bytes)
{
  const char *end;
  uint64_t number, unit;
  enum parse_result r = parse_digits (str, &number, &end);

  if (r != PARSE_OK)
    return r;
  unit = size_unit (end);
  if (unit == 0)
    return PARSE_SUFFIX;
  return scale (number, unit, bytes);
}

enum parse_result
parse_time (const char *str, uint64_t *ns)
{
  const char *end;
  uint64_t number;
  enum parse_result r = parse_digits (str, &number, &end);

  if (r != PARSE_OK)
    return r;
  if (strcmp (end, "ms") == 0)
    return scale (number, NSEC_PER_MSEC, ns);
  if (*end == '\0' || strcmp (end, "s") == 0)
    return scale (number, NSEC_PER_SEC, ns);
  return PARSE_SUFFIX;
}

void
format_size (char *buf, size_t len, uint64_t bytes)
{
  size_t i = 0;

  while (bytes && bytes % 1024 == 0 && size_suffixes[i + 1]) {
    bytes /= 1024;
    i++;
  }
  snprintf (buf, len, "%" PRIu64 "%.*s", bytes, i > 0, &size_suffixes[i]);
}

void
format_time (char *buf, size_t len, uint64_t ns)
{
  if (ns % NSEC_PER_SEC == 0)
    snprintf (buf, len, "%" PRIu64, ns / NSEC_PER_SEC);
  else
    snprintf (buf, len, "%" PRIu64 "ms", ns / NSEC_PER_MSEC);
}

static unsigned
min3 (unsigned a, unsigned b, unsigned c)
{
  unsigned m = a < b ? a : b;

  return m < c ? m : c;
}

/* Row by row: row[j] is the distance of the first i letters of a to the first
 * j of b.
 */
unsigned
edit_distance (const char *a, const char *b)
{
  unsigned row[64];
  size_t n = strlen (b), i, j;

  if (strlen (a) >= 64 || n >= 64)
    return UINT_MAX;
  for (j = 0; j <= n; j++)
    row[j] = j;
  for (i = 1; a[i - 1]; i++) {
    unsigned diagonal = row[0];

    row[0] = i;
    for (j = 1; j <= n; j++) {
      unsigned above = row[j];

      row[j] =
        min3 (above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1]));
      diagonal = above;
    }
  }
  return row[n];
}
