/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What every test program needs.  See util.h.
 */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "util.h"

void
die (const char *fmt, ...)
{
  va_list ap;

  fflush (stdout);
  fprintf (stderr, "%s: ", program_invocation_short_name);
  va_start (ap, fmt);
  vfprintf (stderr, fmt, ap);
  va_end (ap);
  fputc ('\n', stderr);
  exit (EXIT_FAILURE);
}

void *
xcalloc (size_t n, size_t size)
{
  void *p = calloc (n > 0 ? n : 1, size > 0 ? size : 1);

  if (p == NULL)
    die ("out of memory (%zu * %zu bytes)", n, size);
  return p;
}

uint64_t
mix64 (uint64_t x)
{
  x = (x ^ (x >> 30)) * UINT64_C (0xbf58476d1ce4e5b9);
  x = (x ^ (x >> 27)) * UINT64_C (0x94d049bb133111eb);
  return x ^ (x >> 31);
}

uint64_t
rng_next (struct rng *rng)
{
  rng->state += UINT64_C (0x9e3779b97f4a7c15);
  return mix64 (rng->state);
}

uint64_t
rng_below (struct rng *rng, uint64_t n)
{
  return n > 0 ? rng_next (rng) % n : 0;
}

uint64_t
rng_log (struct rng *rng, uint64_t max)
{
  unsigned bits = 0;
  uint64_t low, high;

  if (max <= 1)
    return 1;
  while (bits < 63 && (UINT64_C (1) << (bits + 1)) <= max)
    bits++;
  low = UINT64_C (1) << rng_below (rng, bits + 1);
  high = 2 * low <= max ? 2 * low : max + 1;
  return low + rng_below (rng, high - low);
}

int
rng_chance (struct rng *rng, unsigned percent)
{
  return rng_below (rng, 100) < percent;
}

static int
suffix_shift (char c)
{
  switch (c) {
  case '\0': return 0;
  case 'k':
  case 'K': return 10;
  case 'm':
  case 'M': return 20;
  case 'g':
  case 'G': return 30;
  case 't':
  case 'T': return 40;
  default: return -1;
  }
}

uint64_t
size_option (const char *name, const char *text)
{
  char *end;
  unsigned long long n;
  int shift;

  errno = 0;
  n = strtoull (text, &end, 0);
  if (errno != 0 || end == text || *text == '-')
    die ("--%s: '%s' is not a number", name, text);
  shift = suffix_shift (*end);
  if (shift < 0 || (*end && end[1]) || n > (UINT64_MAX >> shift))
    die ("--%s: '%s' is not a size", name, text);
  return (uint64_t) n << shift;
}

uint64_t
now_ns (void)
{
  struct timespec ts;

  clock_gettime (CLOCK_MONOTONIC, &ts);
  return (uint64_t) ts.tv_sec * UINT64_C (1000000000) + (uint64_t) ts.tv_nsec;
}

uint64_t
fresh_seed (void)
{
  return mix64 (now_ns () ^ ((uint64_t) getpid () << 40)) >> 32;
}

unsigned
share (unsigned n)
{
  const char *sanitizers = getenv ("SANITIZERS");

  if (sanitizers == NULL || *sanitizers == '\0')
    return n;
  return strstr (sanitizers, "thread") ? (n + 9) / 10 : (n + 4) / 5;
}

void
read_all (int fd, const char *path, void *buf, size_t length)
{
  char *p = buf;

  while (length > 0) {
    ssize_t r = read (fd, p, length);

    if (r < 0)
      die ("%s: read: %s", path, strerror (errno));
    if (r == 0)
      die ("%s: ends %zu bytes early", path, length);
    p += r;
    length -= (size_t) r;
  }
}

void
write_all (int fd, const char *path, const void *buf, size_t length)
{
  const char *p = buf;

  while (length > 0) {
    ssize_t r = write (fd, p, length);

    if (r < 0)
      die ("%s: write: %s", path, strerror (errno));
    p += r;
    length -= (size_t) r;
  }
}
