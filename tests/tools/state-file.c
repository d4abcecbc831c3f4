/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Files of test programs.  See state-file.h.
 */

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "state-file.h"
#include "util.h"

/* The name of the file that is written, of PATH_MAX bytes. */
static void
name_new (char *name, const char *path)
{
  int n = snprintf (name, PATH_MAX, "%s.new", path);

  if (n < 0 || n >= PATH_MAX)
    die ("%s: %s", path, strerror (ENAMETOOLONG));
}

int
state_open (const char *path, const char magic[STATE_MAGIC], void *header,
            size_t size)
{
  int fd = open (path, O_RDONLY | O_CLOEXEC);

  if (fd < 0 && errno == ENOENT)
    return -1;
  if (fd < 0)
    die ("%s: %s", path, strerror (errno));
  read_all (fd, path, header, size);
  if (memcmp (header, magic, STATE_MAGIC) != 0)
    die ("%s: not a state file of this program", path);
  return fd;
}

int
state_create (const char *path, const void *header, size_t size)
{
  char name[PATH_MAX];
  int fd;

  name_new (name, path);
  fd = open (name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0)
    die ("%s: %s", name, strerror (errno));
  write_all (fd, name, header, size);
  return fd;
}

void
state_commit (int fd, const char *path)
{
  char name[PATH_MAX];

  name_new (name, path);
  if (close (fd) < 0 || rename (name, path) < 0)
    die ("%s: %s", path, strerror (errno));
}
