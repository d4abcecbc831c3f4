/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The file store: what is cut off while it is served is gone for good.  Nothing
 * that is done behind the cut makes the file longer again, and if somebody else
 * does, what was there is an error and no zeroes, until the store is opened anew.
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/file/state.h"
#include "tests/unit/file-rig.h"
#include "tests/unit/test.h"

#define DISK (16 * MIB)
#define CUT (5 * MIB)

static const enum direct_mode modes[] = { DIRECT_AUTO, DIRECT_OFF };

/* ------------------------------------------------------------ a cut store */

struct cut {
  struct rig rig; /* first */
  struct place *place;
  _Atomic int lines; /* in the log */
  unsigned ios;      /* reads so far */
  uint8_t *buf;      /* MIB bytes, and 0xaa, unless read into */
};

static void
count_lines (struct env *env, enum log_level level, const char *message)
{
  struct cut *cut = (struct cut *) ((char *) env - offsetof (struct rig, env));

  if (level == LOG_ERROR && strstr (message, "cut off"))
    atomic_fetch_add (&cut->lines, 1);
}

/* Change the file, or the device and what is under it. */
static void
resize (const struct cut *cut, uint64_t size)
{
  char path[sizeof cut->place->file];

  snprintf (path, sizeof path, "%s/disk", cut->place->dir);
  assert_int_equal (truncate (path, (off_t) size), 0);
  if (cut->place->sector)
    assert_int_equal (ioctl (cut->place->loop_fd, LOOP_SET_CAPACITY, 0), 0);
}

static uint64_t
size_of (const struct cut *cut)
{
  int fd = open (cut->place->file, O_RDONLY | O_CLOEXEC);
  off_t size = lseek (fd, 0, SEEK_END);

  assert_true (fd >= 0 && size >= 0);
  close (fd);
  return (uint64_t) size;
}

/* Reads and writes may be done by either kind of thread: both, the one or the other
 * first.
 */
static int
io (struct cut *cut, enum store_op op, unsigned flags, uint64_t offset,
    uint64_t length)
{
  bool rw = op == STORE_READ || op == STORE_WRITE;
  void *buf = rw ? cut->buf : NULL;
  int r;

  if (!rw)
    return store_io (cut->rig.store, op, flags, offset, buf, length);
  flags |= cut->ios++ % 2 ? STORE_AWAITED : 0;
  r = store_io (cut->rig.store, op, flags, offset, buf, length);
  flags ^= STORE_AWAITED;
  assert_int_equal (store_io (cut->rig.store, op, flags, offset, buf, length),
                    r);
  return r;
}

static void
cut_open (struct cut *cut, struct place *place, enum direct_mode mode)
{
  struct file_store_options o = options_for (place);
  uint64_t pos;

  memset (cut, 0, sizeof *cut);
  o.direct = mode;
  cut->place = place;
  cut->buf = aligned_memory (MIB, 0xaa);
  rig_open (&cut->rig, &o);
  cut->rig.env.log = count_lines;
  rig_start (&cut->rig);
  for (pos = 0; pos < DISK; pos += MIB)
    assert_int_equal (io (cut, STORE_WRITE, 0, pos, MIB), 0);
  assert_int_equal (io (cut, STORE_FLUSH, 0, 0, 0), 0);
}

static void
cut_close (struct cut *cut)
{
  rig_close (&cut->rig);
  free (cut->buf);
  resize (cut, DISK);
}

/* What is left can be used as ever, and what is gone can't. */
static void
check_gone (struct cut *cut)
{
  static const enum store_op ops[] = { STORE_READ, STORE_WRITE, STORE_ZERO,
                                       STORE_TRIM };
  unsigned i;

  for (i = 0; i < 4; i++) {
    assert_int_equal (io (cut, ops[i], 0, CUT - 4096, 4096), 0);
    assert_int_equal (io (cut, ops[i], 0, CUT - 4096, 8192), -EIO);
    assert_int_equal (io (cut, ops[i], 0, CUT, 4096), -EIO);
    assert_int_equal (io (cut, ops[i], 0, 10 * MIB, MIB), -EIO);
    assert_int_equal (io (cut, ops[i], 0, DISK - 4096, 4096), -EIO);
  }
  assert_int_equal (cut->lines, 1);
}

/* -------------------------------------------------------------- the tests */

struct first {
  enum store_op op;
  unsigned flags;
};

/* Whatever comes first behind the cut finds out, and changes nothing. */
static void
check_first (struct place *place, enum direct_mode mode,
             const struct first *first)
{
  struct cut cut;

  cut_open (&cut, place, mode);
  resize (&cut, CUT);
  assert_int_equal (io (&cut, first->op, first->flags, 12 * MIB, 4096), -EIO);
  assert_int_equal (size_of (&cut), CUT);
  check_gone (&cut);
  assert_int_equal (size_of (&cut), CUT);
  resize (&cut, DISK);
  check_gone (&cut);
  cut_close (&cut);
}

PLACE_TEST (what_is_gone_stays_an_error, true)
{
  static const struct first firsts[] = {
    { STORE_READ, 0 },
    { STORE_WRITE, 0 },
    { STORE_WRITE, STORE_FUA },
    { STORE_READ, STORE_AWAITED },
    { STORE_WRITE, STORE_AWAITED },
    { STORE_ZERO, 0 },
    { STORE_TRIM, 0 },
  };
  unsigned i, m;

  for (m = 0; m < 2; m++)
    for (i = 0; i < sizeof firsts / sizeof firsts[0]; i++)
      check_first (place, modes[m], &firsts[i]);
}

/* A write before the cut sees it as well: the file may have grown again until
 * somebody asks for what is gone.
 */
PLACE_TEST (any_write_notices, true)
{
  struct cut cut;

  cut_open (&cut, place, DIRECT_AUTO);
  resize (&cut, CUT);
  assert_int_equal (io (&cut, STORE_WRITE, 0, 0, 4096), 0);
  resize (&cut, DISK);
  check_gone (&cut);
  cut_close (&cut);
}

/* What was written and not flushed may be among it: the next flush fails, and
 * those after it cover what is written by then.
 */
PLACE_TEST (the_next_flush_fails, true)
{
  struct cut cut;

  cut_open (&cut, place, DIRECT_AUTO);
  assert_int_equal (io (&cut, STORE_WRITE, 0, 12 * MIB, 4096), 0);
  resize (&cut, CUT);
  assert_int_equal (io (&cut, STORE_FLUSH, 0, 0, 0), -EIO);
  assert_int_equal (io (&cut, STORE_FLUSH, 0, 0, 0), 0);
  check_gone (&cut);
  assert_int_equal (io (&cut, STORE_FLUSH, 0, 0, 0), 0);
  cut_close (&cut);
}

PLACE_TEST (a_new_start_takes_it_as_it_is, true)
{
  struct cut cut;

  cut_open (&cut, place, DIRECT_AUTO);
  resize (&cut, CUT);
  assert_int_equal (io (&cut, STORE_READ, 0, 12 * MIB, 4096), -EIO);
  cut_close (&cut);
  cut_open (&cut, place, DIRECT_AUTO);
  assert_int_equal (io (&cut, STORE_READ, 0, 12 * MIB, 4096), 0);
  assert_int_equal (cut.lines, 0);
  cut_close (&cut);
}

struct single {
  struct store_req req; /* first */
  bool done;
  int error;
};

static void
single_done (struct store_req *req, int error)
{
  struct single *single = (struct single *) req;

  single->done = true;
  single->error = error;
}

/* The kernel has written, and before the store looks the file is cut. */
PLACE_TEST (a_write_that_is_cut_off_at_once_fails, true)
{
  struct file_store_options o = options_for (place);
  uint8_t *buf = aligned_memory (4096, 0xaa);
  struct iovec iov = { buf, 4096 };
  struct single single = {
    .req = { .op = STORE_WRITE,
             .offset = 12 * MIB,
             .length = 4096,
             .iov = &iov,
             .niov = 1,
             .done = single_done },
  };
  struct store_req *reqs[1] = { &single.req };
  struct cut cut = { .place = place };
  struct pollfd event = { .events = POLLIN };

  rig_open (&cut.rig, &o);
  cut.rig.env.log = count_lines;
  assert_int_equal (cut.rig.store->ops->attach (cut.rig.store, cut.rig.on.ev),
                    0);
  cut.rig.store->ops->submit (cut.rig.store, reqs, 1);
  event.fd = file_store_of (cut.rig.store)->event_fd;
  while (poll (&event, 1, -1) != 1)
    ;
  resize (&cut, CUT);
  while (!single.done)
    ev_run (cut.rig.on.ev, EVRUN_ONCE);
  assert_int_equal (single.error, -EIO);
  assert_int_equal (cut.lines, 1);
  cut.rig.store->ops->detach (cut.rig.store);
  rig_close (&cut.rig);
  resize (&cut, DISK);
  free (buf);
}

/* In the place of libc's: the next one is followed by a cut. */
static struct cut *cut_after_write;

ssize_t
pwritev (int fd, const struct iovec *iov, int n, off_t offset)
{
  ssize_t r = syscall (SYS_pwritev, fd, iov, n, offset, 0);

  if (cut_after_write)
    resize (cut_after_write, CUT);
  cut_after_write = NULL;
  return r;
}

/* The same, when the thread that waits for the write makes it. */
PLACE_TEST (so_does_one_that_is_awaited, true)
{
  struct cut cut;

  cut_open (&cut, place, DIRECT_AUTO);
  cut_after_write = &cut;
  assert_int_equal (store_io (cut.rig.store, STORE_WRITE, STORE_AWAITED,
                              12 * MIB, cut.buf, 4096),
                    -EIO);
  assert_null (cut_after_write);
  check_gone (&cut);
  cut_close (&cut);
}

/* Nothing of a device is left, and all of it is there again: the kernel does that
 * to one that does not answer when it is asked for its capacity.
 */
static void
hide_device (const struct cut *cut, bool hide)
{
  struct loop_info64 info;
  int r;

  assert_int_equal (ioctl (cut->place->loop_fd, LOOP_GET_STATUS64, &info), 0);
  info.lo_offset = hide ? DISK : 0;
  while ((r = ioctl (cut->place->loop_fd, LOOP_SET_STATUS64, &info)) < 0 &&
         errno == EAGAIN)
    ;
  assert_int_equal (r, 0);
}

static void
check_hidden (struct place *place, enum direct_mode mode)
{
  static const enum store_op ops[] = { STORE_READ, STORE_WRITE, STORE_ZERO,
                                       STORE_TRIM };
  uint8_t *expected = aligned_memory (MIB, 0xaa);
  struct cut cut;
  unsigned i;

  cut_open (&cut, place, mode);
  hide_device (&cut, true);
  for (i = 0; i < 4; i++)
    assert_true (io (&cut, ops[i], 0, 12 * MIB, 4096) < 0);
  assert_int_equal (io (&cut, STORE_FLUSH, 0, 0, 0), -EIO);
  assert_true (io (&cut, STORE_WRITE, 0, 12 * MIB, 4096) < 0);
  hide_device (&cut, false);
  assert_int_equal (io (&cut, STORE_FLUSH, 0, 0, 0), -EIO);
  assert_int_equal (io (&cut, STORE_FLUSH, 0, 0, 0), 0);
  memset (cut.buf, 0, MIB);
  assert_int_equal (io (&cut, STORE_READ, 0, 12 * MIB, MIB), 0);
  assert_memory_equal (cut.buf, expected, MIB);
  for (i = 0; i < 4; i++)
    assert_int_equal (io (&cut, ops[i], 0, 12 * MIB, 4096), 0);
  assert_int_equal (cut.lines, 0);
  cut_close (&cut);
  free (expected);
}

PLACE_TEST (a_device_that_is_away_for_a_while_is_not_cut_off, true)
{
  unsigned m;

  for (m = 0; place->sector && m < 2; m++)
    check_hidden (place, modes[m]);
}

RUN_WITH_ENGINES ()
