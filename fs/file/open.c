/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The file store: find or make the file, open and lock it, and say precisely
 * what is wrong if that can't be done.
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "fs/file/lock.h"
#include "fs/file/open.h"

static int
check_type (const char *path, mode_t mode, const struct store_message *m)
{
  const char *what = "a special file";

  if (S_ISREG (mode) || S_ISBLK (mode))
    return 0;
  if (S_ISDIR (mode))
    what = "a directory";
  else if (S_ISCHR (mode))
    what = "a character device";
  else if (S_ISFIFO (mode))
    what = "a pipe";
  else if (S_ISSOCK (mode))
    what = "a socket";
  return store_refuse (m, S_ISDIR (mode) ? -EISDIR : -EINVAL,
                       "%s is %s; a regular file or a block device is needed",
                       path, what);
}

static int
open_existing (const char *path, bool readonly, mode_t mode,
               const struct store_message *m)
{
  int flags = O_CLOEXEC | O_NOCTTY | (readonly ? O_RDONLY : O_RDWR);
  int fd, error;

  if (S_ISBLK (mode) && !readonly)
    flags |= O_EXCL;
  fd = open (path, flags);
  if (fd >= 0)
    return fd;
  error = errno;
  if (error == EBUSY && S_ISBLK (mode))
    return store_refuse (m, -error,
                         "%s is in use: it is mounted, or locked by "
                         "another server or process",
                         path);
  if (readonly)
    return store_refuse (m, -error, "%s cannot be opened for reading: %s", path,
                         strerror (error));
  return store_refuse (m, -error,
                       "%s cannot be opened for writing: %s; use -r "
                       "to serve it read-only",
                       path, strerror (error));
}

static int
create_new (const char *path, bool readonly, const struct store_message *m)
{
  int fd;

  if (readonly)
    return store_refuse (m, -EROFS,
                         "%s does not exist, and with -r create= "
                         "cannot make it",
                         path);
  fd = open (path, O_CLOEXEC | O_NOCTTY | O_RDWR | O_CREAT | O_EXCL, 0666);
  if (fd < 0)
    return store_refuse (m, -errno, "%s cannot be created: %s", path,
                         strerror (errno));
  return fd;
}

static bool
has_parent (const char *path)
{
  char *copy = strdup (path);
  bool yes = copy == NULL || access (dirname (copy), F_OK) == 0;

  free (copy);
  return yes;
}

/* There is nothing at path: say what is missing, and what would help. */
static int
refuse_missing (const char *path, const struct store_message *m)
{
  if (has_parent (path))
    return store_refuse (m, -ENOENT,
                         "%s does not exist (create=SIZE would make it)", path);
  return store_refuse (
    m, -ENOENT, "%s does not exist, and its directory does not either", path);
}

/* Open path, or make it if it is missing and should be made. */
static int
open_or_create (const struct file_store_options *options, bool *created,
                const struct store_message *m)
{
  const char *path = options->path;
  struct stat st;
  int r;

  *created = false;
  if (stat (path, &st) == 0) {
    r = check_type (path, st.st_mode, m);
    return r < 0 ? r : open_existing (path, options->readonly, st.st_mode, m);
  }
  if (errno != ENOENT)
    return store_refuse (m, -errno, "%s: %s", path, strerror (errno));
  if (lstat (path, &st) == 0)
    return store_refuse (m, -ENOENT,
                         "%s is a symbolic link to what does not exist", path);
  if (options->create < 0)
    return refuse_missing (path, m);
  r = create_new (path, options->readonly, m);
  *created = r >= 0;
  return r;
}

/* The name of a new file is to be as durable as what will be flushed to it. */
static void
sync_parent (const char *path)
{
  char *copy = strdup (path);
  int fd;

  if (copy == NULL)
    return;
  fd = open (dirname (copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd >= 0) {
    fsync (fd);
    close (fd);
  }
  free (copy);
}

void
file_uncreate (const struct file_store *file)
{
  struct stat made, there;

  if (fstat (file->sync_fd, &made) == 0 && lstat (file->path, &there) == 0 &&
      made.st_dev == there.st_dev && made.st_ino == there.st_ino)
    unlink (file->path);
}

static int
size_new (const struct file_store *file, int64_t size,
          const struct store_message *m)
{
  int error;

  if (ftruncate (file->sync_fd, size) == 0) {
    fsync (file->sync_fd);
    sync_parent (file->path);
    return 0;
  }
  error = errno;
  return store_refuse (m, -error,
                       "%s cannot be made %" PRIi64 " bytes large: "
                       "%s",
                       file->path, size, strerror (error));
}

static int
find_size (struct file_store *file, const struct stat *st,
           const struct store_message *m)
{
  uint64_t *size = &file->store.geo.size;

  if (S_ISREG (st->st_mode))
    *size = (uint64_t) st->st_size;
  else if (ioctl (file->sync_fd, BLKGETSIZE64, size) < 0)
    return store_refuse (m, -errno, "%s: its size cannot be found out: %s",
                         file->path, strerror (errno));
  return 0;
}

static int
check_size (const struct file_store *file, int64_t wanted,
            const struct store_message *m)
{
  uint64_t size = file->store.geo.size;

  if (wanted < 0 || (uint64_t) wanted == size)
    return 0;
  return store_refuse (m, -EEXIST,
                       "%s exists and has %" PRIu64 " bytes, but "
                       "create=%" PRIi64 " was asked for",
                       file->path, size, wanted);
}

/* A block device that is set read-only can be opened for writing all the same,
 * and fails every write.
 */
static int
check_writable (const struct file_store *file, const struct stat *st,
                const struct store_message *m)
{
  int readonly = 0;

  if (file->store.geo.readonly || !S_ISBLK (st->st_mode) ||
      ioctl (file->sync_fd, BLKROGET, &readonly) < 0 || !readonly)
    return 0;
  return store_refuse (m, -EROFS,
                       "%s is a read-only block device; use -r to serve it "
                       "read-only",
                       file->path);
}

int
file_reopen (const char *path, int flags, const struct stat *st)
{
  struct stat now;
  int fd = open (path, flags | O_CLOEXEC | O_NOCTTY);

  if (fd < 0)
    return -errno;
  if (fstat (fd, &now) == 0 && now.st_dev == st->st_dev &&
      now.st_ino == st->st_ino && now.st_rdev == st->st_rdev)
    return fd;
  close (fd);
  return -ESTALE;
}

int
file_open (struct file_store *file, const struct file_store_options *options,
           struct stat *st, const struct store_message *m)
{
  bool created;
  int r;

  file->sync_fd = r = open_or_create (options, &created, m);
  if (r < 0)
    return r;
  if ((r = file_lock (file, m)) < 0)
    return r;
  file->created = created; /* and nobody else's, since it is locked */
  if (created && (r = size_new (file, options->create, m)) < 0)
    return r;
  if (fstat (file->sync_fd, st) < 0)
    return store_refuse (m, -errno, "%s: %s", file->path, strerror (errno));
  if ((r = check_type (file->path, st->st_mode, m)) < 0 ||
      (r = check_writable (file, st, m)) < 0 ||
      (r = find_size (file, st, m)) < 0 ||
      (r = check_size (file, options->create, m)) < 0)
    return r;
  file->block_device = S_ISBLK (st->st_mode);
  file->fd = r =
    file_reopen (file->path, options->readonly ? O_RDONLY : O_RDWR, st);
  if (r < 0)
    return store_refuse (m, r, "%s cannot be opened again: %s", file->path,
                         strerror (-r));
  return 0;
}
