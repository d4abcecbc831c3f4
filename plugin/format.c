/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The formats there are.
 */

#include "fs/raw/raw.h"
#include "fs/thin/thin.h"
#include "plugin/format.h"

const char *const format_names[] = { "raw", "thin", NULL };

/* Whoever writes to it byte for byte destroys an image that may be there; though it may
 * be what a client of the raw disk has written.
 */
static int
open_raw (struct store *store, const char *snapshot, struct fs **fs,
          const struct store_message *why)
{
  (void) snapshot;
  (void) why;
  if (!store->geo.readonly && thin_is_image (store))
    env_log (
      store->env, LOG_ERROR,
      "warning: the store begins like a thin image, and fs=raw serves it "
      "byte for byte: what is written destroys such an image; use fs=thin "
      "to serve the disk in it");
  return raw_open (store, fs);
}

static int (*const openers[]) (struct store *store, const char *snapshot,
                               struct fs **fs,
                               const struct store_message *why) = {
  open_raw,
  thin_open,
};

_Static_assert(sizeof format_names / sizeof *format_names ==
                 sizeof openers / sizeof *openers + 1,
               "each format has a name and can be opened");

bool
format_has_snapshots (unsigned format)
{
  return openers[format] == thin_open;
}

int
format_open (unsigned format, struct store *store, const char *snapshot,
             struct fs **fs, const struct store_message *why)
{
  return openers[format](store, snapshot, fs, why);
}
