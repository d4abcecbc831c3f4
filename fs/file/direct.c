/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The file store: does O_DIRECT work here, and with what alignment?
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "fs/file/direct.h"
#include "fs/file/open.h"
#include "fs/num.h"

#define MIN_ALIGN 512u
#define MAX_ALIGN 4096u

static bool
read_number (const char *path, uint64_t *value)
{
  FILE *f = fopen (path, "re");
  bool ok;

  if (f == NULL)
    return false;
  ok = fscanf (f, "%" SCNu64, value) == 1;
  fclose (f);
  return ok;
}

/* A partition has no queue of its own, its disk is the directory above. */
uint64_t
file_queue_attribute (dev_t dev, const char *name, uint64_t def)
{
  static const char *const where[] = { "queue", "../queue" };
  char path[128];
  uint64_t value;
  size_t i;

  for (i = 0; i < sizeof where / sizeof where[0]; i++) {
    snprintf (path, sizeof path, "/sys/dev/block/%u:%u/%s/%s", major (dev),
              minor (dev), where[i], name);
    if (read_number (path, &value))
      return value;
  }
  return def;
}

/* Some kernels let tmpfs be opened with O_DIRECT and ignore it. */
static bool
only_in_memory (int fd)
{
  struct statfs fs;

  return fstatfs (fd, &fs) == 0 &&
         (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC);
}

/* What the kernel says of a regular file, if it does; a reading test alone is
 * not enough, since reads of holes skip the device's own checks.
 */
static uint32_t
file_alignment (int fd, dev_t dev, uint32_t *mem_align, bool *vouched)
{
#ifdef STATX_DIOALIGN
  struct statx stx;

  if (statx (fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) == 0 &&
      (stx.stx_mask & STATX_DIOALIGN)) {
    *mem_align = stx.stx_dio_mem_align;
    *vouched = true;
    return stx.stx_dio_offset_align;
  }
#endif
  *mem_align = 0;
  *vouched = false;
  return (uint32_t) file_queue_attribute (dev, "logical_block_size", MIN_ALIGN);
}

static uint32_t
device_alignment (int fd)
{
  int size;

  return ioctl (fd, BLKSSZGET, &size) == 0 && size > 0 ? (uint32_t) size : 0;
}

/* The smallest alignment from align on with which a read works, or 0. */
static uint32_t
test_read (int fd, uint32_t align)
{
  void *buf;
  ssize_t n = -1;

  if (posix_memalign (&buf, MAX_ALIGN, MAX_ALIGN) != 0)
    return 0;
  for (; align <= MAX_ALIGN; align *= 2) {
    n = pread (fd, buf, align, 0);
    if (n >= 0 || errno != EINVAL)
      break;
  }
  free (buf);
  return align <= MAX_ALIGN ? align : 0;
}

/* Set align and mem_align; false if direct I/O does not work. */
static bool
learn_alignment (struct file_store *file, int fd, const struct stat *st)
{
  uint32_t align, mem_align = 0;

  align = file->block_device
            ? device_alignment (fd)
            : file_alignment (fd, st->st_dev, &mem_align, &file->vouched);
  if (align == 0 || align > MAX_ALIGN || (align & (align - 1)))
    return false;
  align = test_read (fd, (uint32_t) max_u64 (align, MIN_ALIGN));
  if (align == 0)
    return false;
  file->align = align;
  file->mem_align = mem_align ? mem_align : align;
  return true;
}

static int
try_direct (struct file_store *file, const struct stat *st)
{
  int flags = O_DIRECT | (file->store.geo.readonly ? O_RDONLY : O_RDWR);
  int fd;

  if (only_in_memory (file->fd) && !file->block_device)
    return -EINVAL;
  fd = file_reopen (file->path, flags, st);
  if (fd < 0)
    return fd;
  if (!learn_alignment (file, fd, st)) {
    close (fd);
    return -EINVAL;
  }
  file->direct_fd = fd;
  return 0;
}

/* The smallest unit of a device is that of its sectors, direct or not. */
static uint32_t
find_min_io (const struct file_store *file)
{
  uint32_t sector;

  if (file->direct_fd >= 0)
    return file->align;
  sector = file->block_device ? device_alignment (file->fd) : 0;
  return (uint32_t) max_u64 (min_u64 (sector, MAX_ALIGN), MIN_ALIGN);
}

int
file_open_direct (struct file_store *file, enum direct_mode mode,
                  const struct stat *st, const struct store_message *m)
{
  uint64_t size = file->store.geo.size;
  int r = 0;

  if (mode != DIRECT_OFF)
    r = try_direct (file, st);
  if (r < 0 && mode == DIRECT_ON)
    return store_refuse (m, r,
                         "%s cannot be used with direct=on: its file "
                         "system or device has no direct I/O (O_DIRECT) that "
                         "works here; use direct=auto or direct=off",
                         file->path);

  file->store.geo.min_io = find_min_io (file);
  /* An odd tail goes through the page cache, and then all of its page does:
   * mixing both within one page makes the kernel report false errors.
   */
  file->direct_end = size;
  if (size % file->store.geo.min_io != 0)
    file->direct_end = round_down (size, MAX_ALIGN);
  return 0;
}

/* Through the page cache, of several writes with RWF_DSYNC that are under way one
 * alone is told of an error, whichever of them it is of.  So all must be direct,
 * and be that for the file system, too, which may take what it is given for a
 * buffered write without saying so: ext4 for a file whose data is journaled,
 * encrypted or in its inode, of which the kernel says that it has no direct I/O (if
 * it says anything); XFS for less than a block that is shared with another file.
 */
bool
file_fua_is_sound (const struct file_store *file)
{
  struct statfs fs;

  if (file->direct_fd < 0 || file->direct_end < file->store.geo.size)
    return false;
  if (file->block_device)
    return true;
  if (!file->vouched || fstatfs (file->direct_fd, &fs) < 0)
    return false;
  return fs.f_type == EXT4_SUPER_MAGIC ||
         (fs.f_type == XFS_SUPER_MAGIC && file->align >= (uint64_t) fs.f_bsize);
}
