/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The file store: the lock, which ends with the process.  Who writes locks all of
 * the file.  Who reads does as QEMU does: of its protocol each permission has two
 * bytes, of which the first is locked, shared, by those who have it, and the
 * second by those who do not let others have it.  Whoever comes locks his, and then
 * looks at those of the others.
 */

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "fs/file/lock.h"

#define LOCK_PATIENCE NSEC_PER_SEC

#define QEMU_HAS 100    /* the first byte */
#define QEMU_DENIES 200 /* likewise */
enum qemu_permission { CONSISTENT_READ, WRITE, WRITE_UNCHANGED, RESIZE };

/* length 0: to the end, wherever that is. */
static int
set_lock (int fd, short type, off_t start, off_t length)
{
  struct flock lock = {
    .l_type = type,
    .l_whence = SEEK_SET,
    .l_start = start,
    .l_len = length,
  };

  if (fcntl (fd, F_OFD_SETLK, &lock) == 0)
    return 0;
  return errno == EACCES ? -EAGAIN : -errno;
}

/* Has anybody else locked this byte?  Returns 0, -ETXTBSY if so, or a negative
 * errno.
 */
static int
check_byte (int fd, off_t byte)
{
  struct flock lock = {
    .l_type = F_WRLCK,
    .l_whence = SEEK_SET,
    .l_start = byte,
    .l_len = 1,
  };

  if (fcntl (fd, F_OFD_GETLK, &lock) < 0)
    return -errno;
  return lock.l_type == F_UNLCK ? 0 : -ETXTBSY;
}

/* What is before QEMU's bytes is for others, who lock the first one or all. */
static int
try_to_share (int fd)
{
  int r;

  if ((r = set_lock (fd, F_RDLCK, 0, QEMU_HAS + CONSISTENT_READ + 1)) == 0 &&
      (r = set_lock (fd, F_RDLCK, QEMU_DENIES + WRITE, 1)) == 0 &&
      (r = set_lock (fd, F_RDLCK, QEMU_DENIES + RESIZE, 1)) == 0 &&
      (r = check_byte (fd, QEMU_HAS + WRITE)) == 0 &&
      (r = check_byte (fd, QEMU_HAS + RESIZE)) == 0 &&
      (r = check_byte (fd, QEMU_DENIES + CONSISTENT_READ)) == 0)
    return 0;
  set_lock (fd, F_UNLCK, 0, 0);
  return r;
}

static int
try_to_lock (const struct file_store *file)
{
  return file->store.geo.readonly ? try_to_share (file->sync_fd)
                                  : set_lock (file->sync_fd, F_WRLCK, 0, 0);
}

/* A server that was killed holds its lock until the kernel is through with the
 * requests it had in flight, which until then may still change the file: have
 * some patience with it.
 */
int
file_lock (const struct file_store *file, const struct store_message *m)
{
  struct env *env = file->store.env;
  uint64_t deadline = env->now (env) + LOCK_PATIENCE;
  int r;

  while (((r = try_to_lock (file)) == -EAGAIN || r == -ETXTBSY) &&
         env->now (env) < deadline)
    env_sleep (env, env->now (env) + 10 * NSEC_PER_MSEC);
  if (r == -EAGAIN)
    return store_refuse (m, r, "%s is locked by another server or process",
                         file->path);
  if (r == -ETXTBSY)
    return store_refuse (m, -EAGAIN,
                         "%s is locked by another process, such as QEMU, which "
                         "may write to it",
                         file->path);
  if (r < 0)
    return store_refuse (m, r, "%s cannot be locked: %s", file->path,
                         strerror (-r));
  return 0;
}
