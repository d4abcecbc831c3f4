/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The file store: transfers that the kernel cuts short, and which go on.  A
 * limit of the size of files cuts a write; the end of a file that became
 * shorter behind the store's back cuts a read.  No thread runs the loop, so the
 * test knows when the kernel is done with a piece and the store has not looked.
 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "fs/file/engine.h"
#include "fs/file/io.h"
#include "fs/file/state.h"
#include "tests/unit/file-rig.h"

#define PAGE 4096
#define DISK (16 * MIB)

/* A request of eight elements; writes begin at START, or soon after, and end
 * before 5 MiB.
 */
#define ELEMENTS 8
#define ELEMENT (40 * (uint64_t) PAGE)
#define LENGTH (ELEMENTS * ELEMENT)
#define START (7 * MIB / 2)

struct transfer {
  struct store_req req; /* first */
  struct iovec iov[ELEMENTS];
  bool done;
  int error;
  uint8_t *memory; /* LENGTH bytes, of which the last element comes first */
  struct place *place;
  struct rig rig;
};

static const enum direct_mode modes[] = { DIRECT_AUTO, DIRECT_OFF };

/* --- the limit --- */

static struct rlimit old_limit;

static int
remember_limit (void)
{
  /* Who writes at the limit gets a signal too. */
  signal (SIGXFSZ, SIG_IGN);
  return getrlimit (RLIMIT_FSIZE, &old_limit);
}

static int
restore_limit (void **state)
{
  (void) state;
  return setrlimit (RLIMIT_FSIZE, &old_limit);
}

static void
limit_files (uint64_t size)
{
  struct rlimit limit = { size, old_limit.rlim_max };

  assert_int_equal (setrlimit (RLIMIT_FSIZE, &limit), 0);
}

/* --- data --- */

/* What is at a place of the disk when it has been written. */
static uint8_t
pattern (uint64_t offset)
{
  return (uint8_t) (1 + (offset * 31 + offset / 512 * 7) % 255);
}

/* Is the pattern in [start, end) of the file, and nothing before and behind it?
 * Read not through the store.
 */
static bool
file_has (const struct place *place, uint64_t start, uint64_t end)
{
  uint8_t *content = aligned_memory (2 * MIB, 0xff);
  uint8_t *expected = aligned_memory (2 * MIB, 0);
  int fd = open (place->file, O_RDONLY | O_CLOEXEC);
  uint64_t i;
  bool same;

  assert_true (fd >= 0);
  assert_int_equal (pread (fd, content, 2 * MIB, 3 * MIB), 2 * MIB);
  close (fd);
  for (i = start; i < end; i++)
    expected[i - 3 * MIB] = pattern (i);
  same = memcmp (content, expected, 2 * MIB) == 0;
  free (content);
  free (expected);
  return same;
}

/* Where byte i of the request is. */
static uint8_t *
byte_of (struct transfer *t, uint64_t i)
{
  return (uint8_t *) t->iov[i / ELEMENT].iov_base + i % ELEMENT;
}

/* --- one request --- */

static void
transfer_done (struct store_req *req, int error)
{
  struct transfer *t = (struct transfer *) req;

  t->done = true;
  t->error = error;
}

static void
transfer_begin (struct transfer *t, struct place *place, enum direct_mode mode)
{
  struct file_store_options o = options_for (place);
  unsigned i;

  o.direct = mode;
  memset (t, 0, sizeof *t);
  t->place = place;
  unlink (place->file);
  rig_open (&t->rig, &o);
  assert_int_equal (t->rig.store->ops->attach (t->rig.store, t->rig.on.ev), 0);
  t->memory = aligned_memory (LENGTH, 0xff);
  for (i = 0; i < ELEMENTS; i++)
    t->iov[i] =
      (struct iovec) { t->memory + (ELEMENTS - 1 - i) * ELEMENT, ELEMENT };
}

static void
transfer_submit (struct transfer *t, enum store_op op, uint64_t offset)
{
  struct store_req *req = &t->req;
  uint64_t i;

  *req = (struct store_req) {
    .op = op,
    .offset = offset,
    .length = LENGTH,
    .iov = t->iov,
    .niov = ELEMENTS,
    .done = transfer_done,
  };
  for (i = 0; i < LENGTH && op == STORE_WRITE; i++)
    *byte_of (t, i) = pattern (offset + i);
  t->rig.store->ops->submit (t->rig.store, &req, 1);
}

/* Wait until the kernel is done with what it was given, and has said so: it may
 * say so late.
 */
static void
await_kernel (struct transfer *t)
{
  struct file_store *file = file_store_of (t->rig.store);
  struct pollfd event = { .fd = file->event_fd, .events = POLLIN };
  int r;

  do
    r = poll (&event, 1, 1000);
  while (r <= 0 || !file->engine->ready (file));
}

/* The store looks at it. */
static void
take_turn (struct transfer *t)
{
  ev_run (t->rig.on.ev, EVRUN_ONCE);
}

static bool
is_direct (const struct transfer *t)
{
  return file_store_of (t->rig.store)->direct_fd >= 0 &&
         !(t->req.tried & FILE_BUFFERED);
}

/* The rest of it.  Returns what came of it. */
static int
transfer_end (struct transfer *t)
{
  while (!t->done) {
    await_kernel (t);
    take_turn (t);
  }
  return t->error;
}

static void
transfer_close (struct transfer *t)
{
  t->rig.store->ops->detach (t->rig.store);
  rig_close (&t->rig);
  free (t->memory);
}

/* --- writes --- */

/* The kernel has written all at once, for all that the store knows: was that
 * so?
 */
static bool
not_cut (struct transfer *t)
{
  if (!t->done)
    return false;
  assert_int_equal (t->error, 0);
  assert_true (file_has (t->place, t->req.offset, t->req.offset + LENGTH));
  printf ("# left out: %s: writes there know no limit (RLIMIT_FSIZE)\n",
          t->place->file);
  return true;
}

/* A write that is cut at these places of the disk.  direct: it stays so, where
 * it can be.
 */
static void
write_in_cuts (struct place *place, enum direct_mode mode, bool direct,
               uint64_t offset, const uint64_t *cuts, unsigned n)
{
  struct transfer t;
  unsigned i;

  transfer_begin (&t, place, mode);
  direct = direct && file_store_of (t.rig.store)->direct_fd >= 0;
  limit_files (cuts[0]);
  transfer_submit (&t, STORE_WRITE, offset);
  for (i = 0; i < n; i++) {
    await_kernel (&t);
    limit_files (i + 1 < n ? cuts[i + 1] : DISK);
    take_turn (&t);
    if (i == 0 && not_cut (&t))
      break;
    assert_false (t.done);
    if (direct)
      assert_true (is_direct (&t));
  }
  assert_int_equal (transfer_end (&t), 0);
  restore_limit (NULL);
  assert_true (file_has (place, offset, offset + LENGTH));
  transfer_close (&t);
}

/* Between the elements, and inside them, once and several times. */
PLACE_TEST (write_cut_at_pages, false)
{
  const uint64_t cuts[] = {
    START + 2 * ELEMENT,        START + 2 * ELEMENT + PAGE,
    START + 3 * ELEMENT,        4 * MIB,
    START + 6 * ELEMENT - PAGE, START + 6 * ELEMENT,
    START + LENGTH - PAGE,
  };
  unsigned i, m;

  for (m = 0; m < 2; m++) {
    for (i = 0; i < sizeof cuts / sizeof cuts[0]; i++)
      write_in_cuts (place, modes[m], true, START, &cuts[i], 1);
    write_in_cuts (place, modes[m], true, START, cuts, i);
  }
}

/* What is left then does not suit O_DIRECT any more. */
PLACE_TEST (write_cut_anywhere, false)
{
  const uint64_t start = START + 512;
  const uint64_t cuts[] = {
    start + 1,           4 * MIB,
    4 * MIB + 1,         4 * MIB + 12345,
    start + 6 * ELEMENT, start + LENGTH - 1,
  };

  write_in_cuts (place, DIRECT_AUTO, false, start, cuts, 6);
  write_in_cuts (place, DIRECT_OFF, false, start, cuts, 6);
  write_in_cuts (place, DIRECT_AUTO, false, start, &cuts[3], 1);
}

/* At the limit nothing can be written: that is an error, after what went well
 * too.
 */
PLACE_TEST (write_beyond_limit, false)
{
  struct transfer t;

  transfer_begin (&t, place, DIRECT_AUTO);
  limit_files (4 * MIB);
  transfer_submit (&t, STORE_WRITE, START);
  await_kernel (&t);
  take_turn (&t);
  if (!not_cut (&t)) {
    assert_int_equal (transfer_end (&t), -EFBIG);
    assert_true (file_has (place, START, 4 * MIB));
  }
  restore_limit (NULL);
  transfer_close (&t);
}

/* --- reads --- */

static void
fill_file (int fd, uint64_t from, uint64_t to)
{
  size_t length = to - from, i;
  uint8_t *buf = malloc (length);

  assert_non_null (buf);
  for (i = 0; i < length; i++)
    buf[i] = pattern (from + i);
  assert_int_equal (pwrite (fd, buf, length, (off_t) from), length);
  free (buf);
}

/* A read over the end of a file that ends early goes on in the middle of an
 * element if the file grows in time, and fails if not: what was there may have
 * been anything.
 */
static void
read_over_end (struct place *place, enum direct_mode mode, uint64_t length,
               bool grows)
{
  uint64_t i, end = grows ? LENGTH : length;
  int error = grows ? 0 : -EIO;
  struct transfer t;
  int fd;

  transfer_begin (&t, place, mode);
  fd = open (place->file, O_RDWR | O_CLOEXEC);
  assert_true (fd >= 0);
  assert_int_equal (ftruncate (fd, 0), 0);
  fill_file (fd, 0, length);
  transfer_submit (&t, STORE_READ, 0);
  await_kernel (&t);
  if (grows)
    fill_file (fd, length, LENGTH);
  take_turn (&t);
  assert_false (t.done);
  assert_in_range (t.req.progress, 1, length);
  assert_int_equal (transfer_end (&t), error);
  for (i = 0; i < end; i++)
    if (*byte_of (&t, i) != pattern (i))
      fail_msg ("byte %ju of the read is wrong", (uintmax_t) i);
  close (fd);
  transfer_close (&t);
}

PLACE_TEST (read_short, false)
{
  static const uint64_t lengths[] = { 1, 10000, ELEMENT, 2 * ELEMENT + PAGE,
                                      LENGTH - 1 };
  unsigned i, m;

  for (i = 0; i < sizeof lengths / sizeof lengths[0]; i++)
    for (m = 0; m < 2; m++) {
      read_over_end (place, modes[m], lengths[i], true);
      read_over_end (place, modes[m], lengths[i], false);
    }
}

int
main (void)
{
  if (remember_limit () < 0)
    return EXIT_FAILURE;
  set_up_each (NULL, restore_limit);
  return run_with_engines (unit_tests, nr_unit_tests);
}
