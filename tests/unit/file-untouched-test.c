/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The file store: who opens, reads, asks, flushes and closes has changed
 * nothing of the file, its times included; and knows what it can do.
 */

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/file/punch.h"
#include "fs/file/state.h"
#include "tests/unit/file-rig.h"
#include "tests/unit/test.h"

/* The file that holds the bytes: of a device, the one under it. */
static void
file_of (const struct place *place, char *path, size_t size)
{
  snprintf (path, size, "%s/disk", place->dir);
}

/* A file of some age: data, a hole, what was allocated and not written. */
static void
make_old (const struct place *place, struct stat *st)
{
  const struct timespec old[2] = { { 1000000000, 1 }, { 1000000000, 1 } };
  char path[sizeof place->file];
  char data[10000];
  int fd;

  file_of (place, path, sizeof path);
  memset (data, 0xaa, sizeof data);
  fd = open (path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  assert_true (fd >= 0);
  assert_int_equal (pwrite (fd, data, sizeof data, 0), sizeof data);
  if (!place->sector)
    assert_int_equal (ftruncate (fd, 16 * MIB), 0);
  fallocate (fd, 0, 8 * MIB, MIB);
  assert_int_equal (fsync (fd), 0);
  assert_int_equal (futimens (fd, old), 0);
  assert_int_equal (fstat (fd, st), 0);
  close (fd);
}

static void
ignore_run (void *opaque, uint64_t offset, uint64_t length,
            enum store_extent type)
{
  (void) opaque;
  (void) offset;
  (void) length;
  (void) type;
}

static void
use (const struct file_store_options *o)
{
  uint8_t *buf = aligned_memory (16 * MIB, 0);
  const struct store_ops *ops;
  struct rig rig;

  rig_open (&rig, o);
  rig_start (&rig);
  ops = rig.store->ops;
  assert_int_equal (store_io (rig.store, STORE_READ, 0, 0, buf, 16 * MIB), 0);
  assert_int_equal (
    ops->block_status (rig.store, 0, 16 * MIB, ignore_run, NULL), 0);
  assert_int_equal (store_io (rig.store, STORE_FLUSH, 0, 0, NULL, 0), 0);
  rig_close (&rig);
  free (buf);
}

PLACE_TEST (nothing_is_changed_unasked, true)
{
  struct file_store_options o = options_for (place);
  char path[sizeof place->file];
  struct stat before, after;
  int readonly;

  file_of (place, path, sizeof path);
  make_old (place, &before);
  for (readonly = 0; readonly < 2; readonly++)
    for (o.direct = DIRECT_AUTO; o.direct <= DIRECT_OFF; o.direct++) {
      if (place->tmpfs && o.direct == DIRECT_ON)
        continue;
      o.readonly = readonly;
      use (&o);
      assert_int_equal (stat (path, &after), 0);
      assert_int_equal (after.st_size, before.st_size);
      assert_int_equal (after.st_blocks, before.st_blocks);
      assert_memory_equal (&after.st_mtim, &before.st_mtim,
                           sizeof after.st_mtim);
      assert_memory_equal (&after.st_ctim, &before.st_ctim,
                           sizeof after.st_ctim);
    }
}

PLACE_TEST (what_it_can_do_is_known_all_the_same, true)
{
  struct file_store_options o = options_for (place);
  struct rig rig;

  rig_open (&rig, &o);
  assert_true (rig.store->geo.can_zero);
  if (!place->sector)
    assert_true (rig.store->geo.can_trim);
  rig_close (&rig);
}

TEST (mounts_are_told_apart)
{
#define MOUNT(rest)                                                            \
  "36 35 0:45 / /mnt/n\\040-\\040fs rw,relatime shared:1 " rest
  assert_true (file_mount_punches (
    MOUNT ("- nfs4 host:/export rw,vers=4.2,rsize=1048576\n")));
  assert_false (file_mount_punches (
    MOUNT ("- nfs4 host:/export rw,vers=4.1,rsize=1048576\n")));
  assert_false (
    file_mount_punches (MOUNT ("- nfs host:/export rw,vers=3,proto=tcp\n")));
  assert_true (file_mount_punches (MOUNT ("- virtiofs share rw\n")));
  assert_true (file_mount_punches (MOUNT ("- fuse.glusterfs h:/v rw\n")));
  assert_false (file_mount_punches (MOUNT ("- fuse.sshfs h:/ rw\n")));
  assert_false (file_mount_punches ("36 35 0:45 / /mnt rw"));
}

RUN_WITH_ENGINES ()
