/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * How far the last write-back is, in words.
 */

#include <stdio.h>

#include "plugin/progress.h"

struct unit {
  double bytes;
  const char *name;
};

static struct unit
unit_for (double bytes)
{
  if (bytes >= 1 << 30)
    return (struct unit) { 1 << 30, "GiB" };
  if (bytes >= 1 << 20)
    return (struct unit) { 1 << 20, "MiB" };
  return (struct unit) { 1 << 10, "KiB" };
}

/* One digit after the point while there is only one before it. */
static int
digits (double number)
{
  return number < 9.95 ? 1 : 0;
}

void
progress_format (char *buf, size_t len, const struct sync_progress *p)
{
  struct unit size = unit_for (p->total_bytes);
  double done = p->done_bytes / size.bytes;
  double total = p->total_bytes / size.bytes;
  double seconds = (double) p->elapsed / NSEC_PER_SEC;
  double rate = seconds > 0 ? p->done_bytes / seconds : 0;
  struct unit speed = unit_for (rate);
  int n = digits (total);

  n = snprintf (buf, len, "writing back: %.*f of %.*f %s, %.*f %s/s", n, done,
                n, total, size.name, digits (rate / speed.bytes),
                rate / speed.bytes, speed.name);
  if (rate > 0 && p->total_bytes >= p->done_bytes && (size_t) n < len)
    snprintf (buf + n, len - n, ", %.0f s left",
              (p->total_bytes - p->done_bytes) / rate);
}
