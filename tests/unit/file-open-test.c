/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The file store: opening, refusing, locking, making, and O_DIRECT; on the file
 * system of /tmp, on tmpfs and on block devices, where there are any.
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/file/state.h"
#include "tests/unit/file-rig.h"
#include "tests/unit/test.h"

/* --------------------------------------------------------------- refusals */

static void
expect_refusal (const struct file_store_options *o, int error,
                const char *words)
{
  struct env env;
  struct store *store;
  char message[300] = "";

  env_init (&env);
  assert_int_equal (file_store_open (&env, o, &store, message, sizeof message),
                    error);
  if (strstr (message, words) == NULL)
    fail_msg ("\"%s\" does not say \"%s\"", message, words);
  assert_null (strchr (message, '\n'));
}

TEST (wrong_files_are_refused)
{
  struct file_store_options o = options_for (first_place ());

  o.create = -1;
  expect_refusal (&o, -ENOENT, "does not exist (create=SIZE would make it)");
  o.path = "/nowhere/at/all";
  expect_refusal (&o, -ENOENT, "and its directory does not either");
  o.path = first_place ()->file;
  assert_int_equal (symlink ("/nowhere/at/all", o.path), 0);
  expect_refusal (&o, -ENOENT, "is a symbolic link to what does not exist");
  o.create = 512;
  expect_refusal (&o, -ENOENT, "is a symbolic link to what does not exist");
  unlink (o.path);
  o.readonly = true;
  expect_refusal (&o, -EROFS, "does not exist");
  o.path = first_place ()->dir;
  expect_refusal (&o, -EISDIR, "is a directory");
  o.path = "/dev/null";
  expect_refusal (&o, -EINVAL, "is a character device");
  o.path = "/nowhere/at\nall";
  expect_refusal (&o, -EROFS, "/nowhere/at?all");
  o.readonly = false;
  expect_refusal (&o, -ENOENT, "cannot be created");
}

/* A running program can't be written, not even by root. */
TEST (an_unwritable_file_is_refused_but_with_r)
{
  struct file_store_options o = options_for (first_place ());
  struct rig rig;
  char path[512];
  ssize_t n = readlink ("/proc/self/exe", path, sizeof path - 1);

  assert_true (n > 0);
  path[n] = '\0';
  o.path = path;
  o.create = -1;
  expect_refusal (&o, -ETXTBSY, "use -r");
  o.readonly = true;
  rig_open (&rig, &o);
  assert_true (rig.store->geo.readonly);
  assert_false (rig.store->geo.can_zero || rig.store->geo.can_trim);
  rig_close (&rig);
}

static void
set_device_readonly (struct place *place, int readonly)
{
  int fd = open (place->file, O_RDONLY | O_CLOEXEC);

  assert_true (fd >= 0);
  assert_int_equal (ioctl (fd, BLKROSET, &readonly), 0);
  close (fd);
}

/* Such a device can be opened for writing, and fails each write.  What is set
 * outlives the test, so nothing is judged before it is set back.
 */
PLACE_TEST (a_read_only_device_is_refused, true)
{
  struct file_store_options o = options_for (place);
  char message[300] = "";
  struct store *store;
  struct rig rig;
  struct env env;
  int r;

  if (place->sector == 0)
    return;
  env_init (&env);
  set_device_readonly (place, 1);
  r = file_store_open (&env, &o, &store, message, sizeof message);
  set_device_readonly (place, 0);
  if (r == 0)
    store->ops->close (store);
  assert_int_equal (r, -EROFS);
  assert_non_null (strstr (message, "is a read-only block device; use -r"));
  rig_open (&rig, &o);
  rig_close (&rig);
}

PLACE_TEST (only_one_writer, true)
{
  struct file_store_options o = options_for (place), ro;
  struct rig rig, second;

  ro = o;
  ro.readonly = true;
  ro.create = -1;
  rig_open (&rig, &o);
  rig_start (&rig);
  if (place->sector)
    expect_refusal (&o, -EBUSY, "in use");
  else
    expect_refusal (&o, -EAGAIN, "is locked by another server or process");
  expect_refusal (&ro, -EAGAIN, "is locked by another server or process");
  rig_close (&rig);
  rig_open (&rig, &ro);
  rig_open (&second, &ro);
  expect_refusal (&o, -EAGAIN, "is locked by another server or process");
  rig_close (&rig);
  rig_close (&second);
}

static void
check_create (struct place *place)
{
  struct file_store_options o = options_for (place);
  struct stat st;
  struct rig rig;
  int round;

  for (round = 0; round < 2; round++) { /* missing, then there already */
    rig_open (&rig, &o);
    rig_start (&rig);
    assert_int_equal (rig.store->geo.size, 16 * MIB);
    rig_close (&rig);
  }
  assert_int_equal (stat (place->file, &st), 0);
  assert_int_equal (st.st_size, 16 * MIB);
  assert_true (st.st_blocks < 100);
  o.create = MIB;
  expect_refusal (&o, -EEXIST, "has 16777216 bytes, but create=1048576");
  assert_int_equal (stat (place->file, &st), 0);
  assert_int_equal (st.st_size, 16 * MIB);
  unlink (place->file);
  o.create = INT64_MAX;
  if (!place->tmpfs) {
    expect_refusal (&o, -EFBIG, "9223372036854775807 bytes");
    assert_int_equal (stat (place->file, &st), -1); /* nothing left behind */
  }
}

/* Whatever it was that did not work out afterwards. */
PLACE_TEST (what_is_not_used_is_not_left, false)
{
  struct file_store_options o = options_for (place);
  char message[300] = "", other[600];
  struct store *store;
  struct env env;

  env_init (&env);
  assert_int_equal (file_store_open (&env, &o, &store, message, sizeof message),
                    0);
  assert_int_equal (access (place->file, F_OK), 0);
  store->ops->close (store);
  assert_int_equal (access (place->file, F_OK), -1);
  if (place->tmpfs) {
    o.direct = DIRECT_ON;
    expect_refusal (&o, -EINVAL, "direct=on");
    assert_int_equal (access (place->file, F_OK), -1);
    o.direct = DIRECT_AUTO;
  }
  /* What somebody else has put in its place stays, and what there was. */
  assert_int_equal (file_store_open (&env, &o, &store, message, sizeof message),
                    0);
  snprintf (other, sizeof other, "%s.other", place->file);
  assert_int_equal (rename (place->file, other), 0);
  assert_int_equal (close (open (place->file, O_CREAT | O_WRONLY, 0600)), 0);
  store->ops->close (store);
  assert_int_equal (access (place->file, F_OK), 0);
  o.path = other;
  assert_int_equal (file_store_open (&env, &o, &store, message, sizeof message),
                    0);
  store->ops->close (store);
  assert_int_equal (access (other, F_OK), 0);
  unlink (other);
  unlink (place->file);
}

TEST (create_makes_a_missing_file_only)
{
  everywhere (check_create, false);
}

/* ---------------------------------------------------------------- geometry */

PLACE_TEST (direct_where_it_works, true)
{
  struct file_store_options o = options_for (place);
  struct file_store *file;
  struct rig rig;

  if (place->tmpfs) {
    rig_open (&rig, &o);
    assert_int_equal (rig.store->geo.min_io, 512);
    assert_int_equal (file_store_of (rig.store)->direct_fd, -1);
    rig_close (&rig);
    o.direct = DIRECT_ON;
    expect_refusal (&o, -EINVAL, "direct=on");
    return;
  }
  for (o.direct = DIRECT_AUTO; o.direct <= DIRECT_OFF; o.direct++) {
    rig_open (&rig, &o);
    file = file_store_of (rig.store);
    if (place->sector)
      assert_int_equal (rig.store->geo.min_io, place->sector);
    else
      assert_true (rig.store->geo.min_io >= 512);
    if (o.direct == DIRECT_ON)
      assert_true (file->direct_fd >= 0);
    if (o.direct == DIRECT_OFF)
      assert_int_equal (file->direct_fd, -1);
    rig_close (&rig);
  }
}

RUN_GROUP (make_places, remove_places)
