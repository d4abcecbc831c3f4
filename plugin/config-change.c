/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The parameters that can change while the server runs.
 */

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "plugin/config.h"
#include "plugin/parse.h"

/* instead: the other key of a pair, of which one is in force. */
static const struct changeable {
  const char *key, *instead;
  size_t field; /* offset in struct config */
  void (*format) (char *buf, size_t len, uint64_t value);
} changeable[] = {
#define FIELD(name) offsetof (struct config, name)
  { "dirty-ratio", "dirty-bytes", FIELD (dirty_ratio), NULL },
  { "dirty-bytes", "dirty-ratio", FIELD (dirty_bytes), format_size },
  { "dirty-background-ratio", "dirty-background-bytes",
    FIELD (dirty_background_ratio), NULL },
  { "dirty-background-bytes", "dirty-background-ratio",
    FIELD (dirty_background_bytes), format_size },
  { "dirty-expire", NULL, FIELD (dirty_expire), format_time },
  { "writeback-interval", NULL, FIELD (writeback_interval), format_time },
  { "flush-target", NULL, FIELD (flush_target), format_time },
  { "readahead", NULL, FIELD (readahead), format_size },
  { "sequential-cutoff", NULL, FIELD (sequential_cutoff), format_size },
  { "io-depth", NULL, FIELD (io_depth), NULL },
};
#define NR_CHANGEABLE (sizeof changeable / sizeof changeable[0])

static const struct changeable *
find (const char *key)
{
  size_t i;

  for (i = 0; i < NR_CHANGEABLE; i++)
    if (strcmp (changeable[i].key, key) == 0)
      return &changeable[i];
  return NULL;
}

static int
refuse (const char *key, char *err)
{
  int n = snprintf (err, CONFIG_ERROR_MAX,
                    "'%.100s' cannot be changed while the server runs; "
                    "allowed: ",
                    key);
  size_t i;

  for (i = 0; i < NR_CHANGEABLE; i++)
    n += snprintf (err + n, CONFIG_ERROR_MAX - (size_t) n, "%s%s",
                   i ? ", " : "", changeable[i].key);
  return -EINVAL;
}

int
config_change (struct config *config, const char *key, const char *value,
               char *err)
{
  const struct changeable *c = find (key);

  if (c == NULL)
    return refuse (key, err);
  config_forget (config, key);
  if (c->instead)
    config_forget (config, c->instead);
  return config_set (config, key, value, err);
}

void
config_each_changeable (const struct config *config, config_value_fn *fn,
                        void *opaque)
{
  size_t i;

  for (i = 0; i < NR_CHANGEABLE; i++) {
    const struct changeable *c = &changeable[i];
    uint64_t value;
    char text[24];

    memcpy (&value, (const char *) config + c->field, sizeof value);
    if (c->instead && (config_given (config, c->instead) ||
                       (c->format && !config_given (config, c->key))))
      continue;
    if (c->format)
      c->format (text, sizeof text, value);
    else
      snprintf (text, sizeof text, "%" PRIu64, value);
    fn (opaque, c->key, text);
  }
}
