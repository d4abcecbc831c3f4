/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The file store: can holes be punched into this file?  Trying it, even where
 * nothing is, changes the file's times, and who backs up what has changed then
 * copies all of it.  So the file system is judged by its name.  Where that
 * promises too much, the request that wanted it finds out; where it is not known,
 * nothing is promised, and zeroes are punched all the same if they can be.
 */

#include <stdint.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>

#include "fs/file/punch.h"

/* Not in all versions of linux/magic.h, or in none. */
#define BCACHEFS_MAGIC 0xca451a4e
#define CEPH_MAGIC 0x00c36400
#define GFS2_MAGIC_NUMBER 0x01161970
#define SMB2_MAGIC 0xfe534d42
#define ZFS_MAGIC 0x2fc12fc1

static bool
punches_by_type (uint32_t type)
{
  static const uint32_t types[] = {
    EXT4_SUPER_MAGIC,      XFS_SUPER_MAGIC,   BTRFS_SUPER_MAGIC, TMPFS_MAGIC,
    F2FS_SUPER_MAGIC,      OCFS2_SUPER_MAGIC, GFS2_MAGIC_NUMBER, ZFS_MAGIC,
    OVERLAYFS_SUPER_MAGIC, BCACHEFS_MAGIC,    CEPH_MAGIC,        SMB2_MAGIC,
  };
  size_t i;

  for (i = 0; i < sizeof types / sizeof types[0]; i++)
    if (types[i] == type)
      return true;
  return false;
}

bool
file_mount_punches (const char *mount)
{
  const char *type = strstr (mount, " - "); /* paths have no spaces here */

  if (type == NULL)
    return false;
  type += 3;
  if (strncmp (type, "nfs4 ", 5) == 0)
    return strstr (type, ",vers=4.2,") != NULL;
  return strncmp (type, "virtiofs ", 9) == 0 ||
         strncmp (type, "fuse.glusterfs ", 15) == 0;
}

/* The mount on which the file is, as /proc numbers them; 0 if it is not known.
 */
static unsigned
mount_id (int fd)
{
  char path[64], line[128];
  unsigned id = 0;
  FILE *f;

  snprintf (path, sizeof path, "/proc/self/fdinfo/%d", fd);
  f = fopen (path, "re");
  if (f == NULL)
    return 0;
  while (id == 0 && fgets (line, sizeof line, f))
    if (sscanf (line, "mnt_id: %u", &id) != 1)
      id = 0;
  fclose (f);
  return id;
}

static bool
punches_by_mount (int fd)
{
  unsigned wanted = mount_id (fd), id;
  bool yes = false;
  char *line = NULL;
  size_t size = 0;
  FILE *f = fopen ("/proc/self/mountinfo", "re");

  if (f == NULL)
    return false;
  while (getline (&line, &size, f) > 0)
    if (sscanf (line, "%u ", &id) == 1 && id == wanted) {
      yes = file_mount_punches (line);
      break;
    }
  free (line);
  fclose (f);
  return yes;
}

bool
file_punches (int fd)
{
  struct statfs fs;

  if (fstatfs (fd, &fs) < 0)
    return false;
  switch ((uint32_t) fs.f_type) {
  case NFS_SUPER_MAGIC:
  case FUSE_SUPER_MAGIC: return punches_by_mount (fd);
  default: return punches_by_type ((uint32_t) fs.f_type);
  }
}
