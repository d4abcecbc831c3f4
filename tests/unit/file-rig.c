/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What tests of the file store stand on: see file-rig.h.
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "fs/file/engine.h"
#include "fs/file/ring.h"
#include "fs/file/state.h"
#include "tests/unit/file-rig.h"

static bool
cannot (const char *what)
{
  printf ("# left out: %s: %s\n", what, strerror (errno));
  return false;
}

static void
name_file (const struct place *place, char *path)
{
  strcpy (path, place->dir);
  strcat (path, "/disk");
}

bool
place_make (struct place *place, const char *parent)
{
  struct statfs fs;

  *place = (struct place) { .loop_fd = -1 };
  snprintf (place->dir, sizeof place->dir, "%s/folio-test.XXXXXX", parent);
  if (mkdtemp (place->dir) == NULL)
    return cannot (parent);
  name_file (place, place->file);
  place->tmpfs = statfs (place->dir, &fs) == 0 && fs.f_type == TMPFS_MAGIC;
  return true;
}

/* Another process may take the free device first: try some times. */
static int
bind_loop (int control, int file, unsigned sector, char *name, size_t size)
{
  struct loop_config config = {
    .fd = (uint32_t) file,
    .block_size = sector,
    .info = { .lo_flags = LO_FLAGS_AUTOCLEAR },
  };
  int i, n, fd;

  for (i = 0; i < 10; i++) {
    n = ioctl (control, LOOP_CTL_GET_FREE);
    if (n < 0)
      return -1;
    snprintf (name, size, "/dev/loop%d", n);
    fd = open (name, O_RDWR | O_CLOEXEC);
    if (fd >= 0 && ioctl (fd, LOOP_CONFIGURE, &config) == 0)
      return fd;
    if (fd >= 0)
      close (fd);
    if (errno != EBUSY)
      return -1;
  }
  return -1;
}

bool
place_make_device (struct place *place, uint64_t size, unsigned sector)
{
  int control, file;

  if (!place_make (place, "/tmp"))
    return false;
  control = open ("/dev/loop-control", O_RDWR | O_CLOEXEC);
  file = open (place->file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (control >= 0 && file >= 0 && ftruncate (file, (off_t) size) == 0)
    place->loop_fd =
      bind_loop (control, file, sector, place->file, sizeof place->file);
  if (place->loop_fd < 0)
    cannot ("loop devices");
  close (control);
  close (file);
  place->sector = sector;
  if (place->loop_fd < 0)
    place_remove (place);
  return place->loop_fd >= 0;
}

void
place_remove (struct place *place)
{
  char path[sizeof place->file];

  if (place->loop_fd >= 0)
    close (place->loop_fd); /* the last one: the device goes */
  name_file (place, path);
  unlink (path);
  rmdir (place->dir);
}

static struct place places[4];
static int nplaces;
static enum file_io engine = FILE_IO_AUTO;

int
make_places (void **state)
{
  const char *tmp = getenv ("TMPDIR");

  (void) state;
  nplaces += place_make (&places[nplaces], tmp ? tmp : "/tmp");
  nplaces += place_make (&places[nplaces], "/dev/shm");
  nplaces += place_make_device (&places[nplaces], 16 * MIB, 512);
  nplaces += place_make_device (&places[nplaces], 16 * MIB, 4096);
  return nplaces > 0 ? 0 : -1;
}

int
remove_places (void **state)
{
  (void) state;
  while (nplaces > 0)
    place_remove (&places[--nplaces]);
  return 0;
}

struct file_store_options
options_for (const struct place *place)
{
  return (struct file_store_options) {
    .path = place->file,
    .create = place->sector ? -1 : (int64_t) (16 * MIB),
    .direct = DIRECT_AUTO,
    .io = engine,
    .io_depth = 8,
  };
}

int
run_with_engines (const struct CMUnitTest *tests, size_t n)
{
  char why[200] = "";
  const struct store_message m = { why, sizeof why };
  int failed = 0;

  if (file_ring_probe (&m) < 0)
    printf ("# left out: %s\n", why);
  else {
    engine = FILE_IO_URING;
    failed += _cmocka_run_group_tests ("io=uring", tests, n, make_places,
                                       remove_places);
  }
  engine = FILE_IO_THREADS;
  failed += _cmocka_run_group_tests ("io=threads", tests, n, make_places,
                                     remove_places);
  engine = FILE_IO_AUTO;
  return failed;
}

void
everywhere (void (*test) (struct place *), bool devices_too)
{
  int i;

  for (i = 0; i < nplaces; i++) {
    if (places[i].sector && !devices_too)
      continue;
    if (places[i].sector == 0)
      unlink (places[i].file);
    test (&places[i]);
    if (places[i].sector == 0)
      unlink (places[i].file);
  }
}

struct place *
first_place (void)
{
  return &places[0];
}

void
rig_open (struct rig *rig, const struct file_store_options *o)
{
  char message[200] = "";
  int r;

  memset (rig, 0, sizeof *rig);
  env_init (&rig->env);
  r = file_store_open (&rig->env, o, &rig->store, message, sizeof message);
  if (r < 0)
    fail_msg ("%s", message);
  store_loop_make (&rig->on);
}

void
rig_start (struct rig *rig)
{
  store_loop_start (&rig->on, rig->store);
}

void
rig_close (struct rig *rig)
{
  store_loop_end (&rig->on, rig->store);
}

void *
aligned_memory (size_t size, int fill)
{
  void *p = NULL;

  assert_int_equal (posix_memalign (&p, 4096, size), 0);
  memset (p, fill, size);
  return p;
}
