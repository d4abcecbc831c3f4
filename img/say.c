/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Messages, each one line, and sizes as people read them.
 */

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "img/progress.h"
#include "img/say.h"

#define MESSAGE_MAX 1024

static void
say (char *message)
{
  char *s;

  for (s = message; *s; s++) /* names and answers may hold anything */
    if ((unsigned char) *s < ' ' || *s == 0x7f)
      *s = '?';
  progress_clear ();
  fprintf (stderr, "folio-img: %s\n", message);
}

void
say_error (const char *fmt, ...)
{
  char message[MESSAGE_MAX];
  va_list args;

  va_start (args, fmt);
  if (vsnprintf (message, sizeof message, fmt, args) < 0)
    message[0] = '\0';
  va_end (args);
  say (message);
}

void
say_log (struct env *env, enum log_level level, const char *message)
{
  (void) env;
  if (level != LOG_DEBUG)
    say_error ("%s", message);
}

const char *
say_size (char *buf, unsigned len, uint64_t bytes)
{
  static const char units[] = "KMGTPE";
  uint64_t unit = 1024;
  const char *u = units;

  if (bytes < unit) {
    snprintf (buf, len, "%" PRIu64 " bytes", bytes);
    return buf;
  }
  while (u[1] && bytes / 1024 >= unit) {
    unit *= 1024;
    u++;
  }
  if (bytes % unit == 0)
    snprintf (buf, len, "%" PRIu64 " %ciB", bytes / unit, *u);
  else
    snprintf (buf, len, "%.1f %ciB", (double) bytes / (double) unit, *u);
  return buf;
}
