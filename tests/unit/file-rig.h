/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What tests of the file store stand on: places to put files, block devices
 * made of files, and an open store with a loop thread under it.
 */

#ifndef FILE_RIG_H
#define FILE_RIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/file/file.h"
#include "tests/unit/store-loop.h"
#include "tests/unit/test.h"

#define MIB (UINT64_C (1) << 20)

/* A place: a fresh directory, and what the tests should know of it. */
struct place {
  char dir[200];
  char file[220];  /* in dir; or the block device */
  unsigned sector; /* 0: a directory for files; else a block device */
  bool tmpfs;
  int loop_fd;
};

/* Make a directory below parent.  False (and a line printed) if impossible. */
extern bool place_make (struct place *place, const char *parent);

/* Make a block device of size bytes with sectors of sector bytes.  False (and
 * a line printed) if this user or system can't.
 */
extern bool place_make_device (struct place *place, uint64_t size,
                               unsigned sector);
extern void place_remove (struct place *place);

/* The places of one test program, as a group's set-up and tear-down: below
 * TMPDIR, below /dev/shm, devices with 512 and with 4096 byte sectors; as many
 * as can be had.
 */
extern int make_places (void **state);
extern int remove_places (void **state);

/* Run a test in each of them, or each for files, with no file there yet. */
extern void everywhere (void (*test) (struct place *), bool devices_too);

/* Such a test; its body has the place. */
#define PLACE_TEST(name, devices_too)                                          \
  static void in_##name (struct place *place);                                 \
  TEST (name)                                                                  \
  {                                                                            \
    everywhere (in_##name, devices_too);                                       \
  }                                                                            \
  static void in_##name (struct place *place)

extern struct place *first_place (void);

/* Runs a group of such tests once with each engine that there is here, in new
 * places.  Returns how many tests failed.
 */
extern int run_with_engines (const struct CMUnitTest *tests, size_t n);

/* The program: it does so with its tests. */
#define RUN_WITH_ENGINES()                                                     \
  int main (void)                                                              \
  {                                                                            \
    return run_with_engines (unit_tests, nr_unit_tests);                       \
  }

/* Make a file of 16 MiB there, or use the device, direct=auto, with the engine
 * whose turn it is (else, io=auto).
 */
extern struct file_store_options options_for (const struct place *place);

/* An open store.  The loop runs in a thread of its own between start and
 * stop.
 */
struct rig {
  struct env env;
  struct store *store;
  struct store_loop on;
};

/* Open; the test fails if that does. */
extern void rig_open (struct rig *rig, const struct file_store_options *o);

/* Attach and run the loop. */
extern void rig_start (struct rig *rig);

/* Stop all, detach, close. */
extern void rig_close (struct rig *rig);

/* Page-aligned memory, full of `fill'; the test fails without. */
extern void *aligned_memory (size_t size, int fill);

#endif /* FILE_RIG_H */
