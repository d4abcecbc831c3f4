/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The file store: what has been cut off while it was served.
 *
 * A write behind the end of a file makes it longer again, and what lies between
 * would then read as zeroes.  So the size is looked at before anything is
 * changed and once more when that is done, many requests at a time, and from
 * the smallest size that was ever seen all is an error, whatever becomes of the
 * file.  Only a write that is under way at the very moment of the cut can hide
 * how much is gone, and nobody can see what is cut off and put back between two
 * looks.
 *
 * A device of no size at all is not cut off but out of reach: so does the kernel
 * show one that does not answer when it is asked for its capacity.  Its requests
 * fail as long as that lasts, and flushes too, since what it had not flushed may
 * be gone.  But if its medium can be removed, another may be there when it is back.
 *
 *   the store is  end       requests               flushes
 *   whole         geo.size  go on                  go on
 *   out of reach  geo.size  the kernel fails them  fail
 *   cut           smaller   fail if they pass end  go on, but for the first
 *
 * cut_unreported has the next flush fail.
 */

#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "fs/file/cut.h"

void
file_note_end (struct file_store *file, uint64_t end)
{
  uint64_t known = atomic_load (&file->end);

  do
    if (end >= known)
      return;
  while (!atomic_compare_exchange_weak (&file->end, &known, end));
  atomic_store (&file->cut_unreported, true);
  env_log (file->store.env, LOG_ERROR,
           "%s was cut off at %" PRIu64 " of its %" PRIu64
           " bytes while it is served: the rest is lost, and an error until "
           "the server is started anew",
           file->path, end, file->store.geo.size);
}

/* What is known of the size here, without a question to a server on the
 * network, and without writing back what the kernel has of the file.
 */
static bool
size_now (const struct file_store *file, uint64_t *size)
{
  struct statx stx;
  struct stat st;

  if (file->block_device)
    return ioctl (file->fd, BLKGETSIZE64, size) == 0;
  if (statx (file->fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_SIZE,
             &stx) == 0) {
    *size = stx.stx_size;
    return true;
  }
  if (fstat (file->fd, &st) < 0)
    return false;
  *size = (uint64_t) st.st_size;
  return true;
}

void
file_look (struct file_store *file)
{
  uint64_t size;

  if (!size_now (file, &size))
    return;
  if (size == 0 && file->fixed_medium)
    atomic_store (&file->cut_unreported, true);
  else
    file_note_end (file, size);
}
