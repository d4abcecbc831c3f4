/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Answers of failure.
 */

#include <errno.h>
#include <stdbool.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "plugin/abort.h"
#include "plugin/answer.h"
#include "plugin/disk.h"

/* What NBD has no word for reaches the client as EINVAL, as if it were the
 * client's fault: make that EIO.  That a store says EINVAL, or any other of
 * these words, is passed on: it has logged which request it meant.  But not
 * ESHUTDOWN, which invites a client to hang up: a store that stops is out of
 * reach, and may come back, as long as it is not us who stop.
 */
static int
error_for_client (const struct disk *disk, int error)
{
  switch (error) {
  case EPERM:
  case EROFS:
  case EIO:
  case ENOMEM:
  case EINVAL:
  case ENOSPC:
  case EDQUOT:
  case EFBIG: return error;
  case ESHUTDOWN:
    return disk_stopping (disk) || !abort_may_acknowledge () ? error : EIO;
  case ECONNABORTED: return ESHUTDOWN; /* if anybody is there to hear it */
  default: return EIO;
  }
}

/* We are stopping, or the store is, or is out of reach, or the client is gone: that
 * has been logged, and many requests may fail for it.
 */
static bool
is_known (int r)
{
  return r == -ESHUTDOWN || r == -EHOSTDOWN || r == -ECONNABORTED;
}

int
answer_error (const struct disk *disk, int r, const char *request)
{
  errno = -r;
  if (is_known (r))
    nbdkit_debug ("%s: %m", request);
  else
    nbdkit_error ("%s: %m", request);
  nbdkit_set_error (error_for_client (disk, -r));
  return -1;
}
