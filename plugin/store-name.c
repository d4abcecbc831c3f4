/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The names of stores.
 */

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "fs/nbd/uri.h"
#include "plugin/store-name.h"

const char store_name_allowed[] = "PATH or file:PATH"
#ifdef HAVE_LIBNBD
                                  ", nbd://..., nbds://..., "
                                  "nbd+unix://... or nbds+unix://..."
#endif
  ;

static bool
has_prefix (const char *str, const char *prefix)
{
  return strncmp (str, prefix, strlen (prefix)) == 0;
}

static const char *
check_nbd (void)
{
#ifdef HAVE_LIBNBD
  return NULL;
#else
  return "NBD stores are not in this build (libnbd was missing)";
#endif
}

const char *
store_name_wrong (const char *value)
{
  const char *colon = strstr (value, "://");

  if (has_prefix (value, "file:"))
    return value[5] ? NULL : "no path given";
  if (nbd_store_is_uri (value))
    return check_nbd ();
  if (has_prefix (value, "nbd:"))
    return "that is QEMU's name for an NBD server";
  if (has_prefix (value, "rbd:"))
    return "RBD stores are not in this build";
  if (colon && colon == value + strcspn (value, "/:"))
    return "no such kind of store";
  return value[0] ? NULL : "no path given";
}

const char *
store_name_rest (const char *value)
{
  return has_prefix (value, "file:") ? value + 5 : value;
}
