/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The NBD store on servers that behave: all operations, with and without what a
 * server may lack, of several threads.
 */

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/nbd-load.h"
#include "tests/unit/nbd-rig.h"
#include "tests/unit/seed.h"
#include "tests/unit/test.h"

static void
check_with (struct nbd_rig *rig, const char *const *args, unsigned connections,
            unsigned rounds)
{
  struct rng rng = test_rng ("random requests");
  struct nbd_store_options o = nbd_rig_options (rig);

  nbd_rig_serve (rig, args);
  o.connections = connections;
  nbd_rig_open (rig, &o);
  nbd_load_stop (nbd_load_start (rig, &rng, rounds));
  nbd_rig_close (rig);
  assert_int_equal (rig->errors, 0);
  nbd_rig_kill (rig, SIGKILL);
}

NBD_TEST (random_requests_agree_with_a_shadow)
{
  static const char *const args[] = { "memory", "16M", NULL };

  check_with (rig, args, 4, 40);
  check_with (rig, args, 1, 20);
}

NBD_TEST (small_requests_and_large_blocks_are_respected)
{
  static const char *const args[] = { "--filter=blocksize-policy",
                                      "memory",
                                      "16M",
                                      "blocksize-minimum=4096",
                                      "blocksize-preferred=4096",
                                      "blocksize-maximum=64K",
                                      "blocksize-error-policy=error",
                                      NULL };

  check_with (rig, args, 4, 20);
}

NBD_TEST (what_a_server_lacks_is_made_up_for)
{
  static const char *const args[] = { "--filter=nozero", "--filter=fua",
                                      "memory",          "16M",
                                      "zeromode=none",   NULL };

  check_with (rig, args, 4, 20);
}

/* ------------------------------------------------------------- in particular */

NBD_TEST (an_odd_end_is_kept)
{
  static const char *const args[] = { "memory", "10001", NULL };
  uint8_t buf[16384], zero[16384] = { 0 };

  nbd_rig_start (rig, args);
  assert_int_equal (rig->store->geo.size, 10001);
  memset (buf, 0xaa, sizeof buf);
  assert_int_equal (store_io (rig->store, STORE_WRITE, 0, 8192, buf, 4096), 0);
  assert_int_equal (store_io (rig->store, STORE_WRITE, STORE_FUA, 0, buf, 8192),
                    0);
  assert_int_equal (store_io (rig->store, STORE_WRITE, 0, 12288, buf, 4096), 0);
  memset (buf, 0xee, sizeof buf);
  assert_int_equal (store_io (rig->store, STORE_READ, 0, 0, buf, 16384), 0);
  assert_int_equal (buf[0], 0xaa);
  assert_int_equal (buf[10000], 0xaa);
  assert_memory_equal (buf + 10001, zero, 16384 - 10001);
  memset (buf, 0xee, sizeof buf);
  assert_int_equal (store_io (rig->store, STORE_READ, 0, 12288, buf, 4096), 0);
  assert_memory_equal (buf, zero, 4096);
  assert_int_equal (store_io (rig->store, STORE_TRIM, 0, 8192, NULL, 8192), 0);
  assert_int_equal (store_io (rig->store, STORE_READ, 0, 8192, buf, 4096), 0);
  assert_memory_equal (buf, zero, 4096);
}

struct found {
  uint64_t pos;
  enum store_extent type[16];
  uint64_t length[16];
  unsigned n;
};

static void
found_one (void *opaque, uint64_t offset, uint64_t length,
           enum store_extent type)
{
  struct found *found = opaque;

  assert_int_equal (offset, found->pos);
  assert_true (length > 0 && found->n < 16);
  found->pos += length;
  found->type[found->n] = type;
  found->length[found->n++] = length;
}

NBD_TEST (holes_are_reported)
{
  static const char *const args[] = { "memory", "16M", NULL };
  struct found found = { .pos = MIB };
  uint8_t buf[65536];

  nbd_rig_start (rig, args);
  assert_true (rig->store->geo.can_extents);
  memset (buf, 0xaa, sizeof buf);
  assert_int_equal (store_io (rig->store, STORE_WRITE, 0, 2 * MIB, buf, 65536),
                    0);
  assert_int_equal (
    rig->store->ops->block_status (rig->store, MIB, 2 * MIB, found_one, &found),
    0);
  assert_int_equal (found.n, 3);
  assert_int_equal (found.type[0], STORE_HOLE);
  assert_int_equal (found.length[0], MIB);
  assert_int_equal (found.type[1], STORE_DATA);
  assert_int_equal (found.length[1], 65536);
  assert_int_equal (found.type[2], STORE_HOLE);
  assert_int_equal (found.pos, 3 * MIB);
  assert_int_equal (
    rig->store->ops->block_status (rig->store, 16 * MIB, 1, found_one, &found),
    -EINVAL);
}

NBD_TEST (a_read_only_export_needs_to_be_asked_for)
{
  static const char *const args[] = { "-r", "memory", "1M", NULL };
  char message[300] = "", buf[512];
  struct nbd_store_options o;

  nbd_rig_serve (rig, args);
  o = nbd_rig_options (rig);
  assert_int_equal (
    nbd_store_open (&rig->env, &o, &rig->store, message, sizeof message),
    -EROFS);
  assert_non_null (strstr (message, "-r"));
  o.readonly = true;
  nbd_rig_open (rig, &o);
  assert_true (rig->store->geo.readonly);
  assert_int_equal (store_io (rig->store, STORE_READ, 0, 0, buf, 512), 0);
  assert_int_equal (store_io (rig->store, STORE_WRITE, 0, 0, buf, 512), -EROFS);
  assert_int_equal (store_io (rig->store, STORE_ZERO, 0, 0, NULL, 512), -EROFS);
  assert_int_equal (store_io (rig->store, STORE_FLUSH, 0, 0, NULL, 0), 0);
}

/* As many connections as the server lets us have. */
NBD_TEST (fewer_connections_than_wished_will_do)
{
  static const char *const args[] = { "--filter=limit", "memory", "16M",
                                      "limit=2", NULL };

  check_with (rig, args, 4, 10);
}

NBD_TEST (nobody_there_is_said_at_once)
{
  char message[300] = "";
  struct nbd_store_options o;

  o = nbd_rig_options (rig);
  assert_int_equal (
    nbd_store_open (&rig->env, &o, &rig->store, message, sizeof message),
    -ENOENT);
  assert_non_null (strstr (message, rig->uri));
  assert_non_null (strstr (message, "No such file"));
}

static unsigned pauses;

/* Time passes by itself; the server comes in the third pause. */
static void
pause_of_the_rig (struct env *env, _Atomic uint32_t *word, uint32_t value,
                  uint64_t deadline)
{
  static const char *const args[] = { "memory", "1M", NULL };
  struct nbd_rig *rig = (struct nbd_rig *) env; /* its first member */

  (void) word;
  (void) value;
  if (++pauses == 3)
    nbd_rig_serve (rig, args);
  atomic_store (&rig->clock, deadline);
}

NBD_TEST (a_server_that_starts_later_is_waited_for)
{
  char message[300] = "";
  struct nbd_store_options o;

  pauses = 0;
  nbd_rig_stop_clock (rig);
  rig->env.wait = pause_of_the_rig;
  o = nbd_rig_options (rig);
  o.patience = 120 * NSEC_PER_SEC;
  assert_int_equal (
    nbd_store_open (&rig->env, &o, &rig->store, message, sizeof message), 0);
  assert_int_equal (pauses, 3);
  assert_int_equal (rig->errors, 1);
  assert_non_null (strstr (rig->last_error, "No such file or directory; trying "
                                            "again for 120 seconds"));
  rig->store->ops->close (rig->store);
}

NBD_TEST (but_not_for_ever)
{
  char message[300] = "";
  struct nbd_store_options o;
  uint64_t begun;

  nbd_rig_stop_clock (rig);
  rig->hasten = true;
  begun = rig->clock;
  o = nbd_rig_options (rig);
  o.patience = 2500 * NSEC_PER_MSEC;
  assert_int_equal (
    nbd_store_open (&rig->env, &o, &rig->store, message, sizeof message),
    -ENOENT);
  assert_true (rig->clock - begun == o.patience);
  assert_int_equal (rig->errors, 1);
  assert_non_null (strstr (rig->last_error, "for 2.5 seconds"));
  assert_non_null (strstr (message, "cannot connect"));
}

NBD_TEST (a_store_closes_without_having_been_attached)
{
  static const char *const args[] = { "memory", "1M", NULL };
  char message[300] = "";
  struct nbd_store_options o;

  nbd_rig_serve (rig, args);
  o = nbd_rig_options (rig);
  assert_int_equal (
    nbd_store_open (&rig->env, &o, &rig->store, message, sizeof message), 0);
  rig->store->ops->close (rig->store);
}

NBD_TEST (errors_of_the_server_are_passed_on)
{
  static const char *const args[] = {
    "eval",
    "get_size=echo 1M",
    "pread=echo EPERM Operation not permitted >&2; exit 1",
    "pwrite=cat >/dev/null; echo ENOSPC No space >&2; exit 1",
    "can_write=exit 0",
    NULL
  };
  struct nbd_store_options o;
  char buf[512] = "";

  nbd_rig_serve (rig, args);
  o = nbd_rig_options (rig);
  o.unsafe_no_flush = true;
  nbd_rig_open (rig, &o);
  assert_int_equal (rig->errors, 1); /* that it cannot flush */
  assert_int_equal (store_io (rig->store, STORE_READ, 0, 0, buf, 512), -EPERM);
  assert_int_equal (rig->errors, 2);
  assert_int_equal (store_io (rig->store, STORE_WRITE, 0, 0, buf, 512),
                    -ENOSPC);
  assert_int_equal (store_io (rig->store, STORE_FLUSH, 0, 0, NULL, 0), 0);
  assert_int_equal (rig->store->losses, 0);
}

/* They are to be answered soon even by a server that writes zeroes. */
NBD_TEST (zeroes_are_asked_for_in_pieces)
{
  static const char *const args[] = {
    "eval",
    "get_size=echo 1G",
    "pread=exit 1",
    "can_write=exit 0",
    "pwrite=exit 1",
    "can_zero=exit 0",
    "zero=if [ $3 -gt 536870912 ]; then echo ENOSPC >&2; exit 1; fi",
    NULL
  };
  struct nbd_store_options o;

  nbd_rig_serve (rig, args);
  o = nbd_rig_options (rig);
  o.unsafe_no_flush = true;
  nbd_rig_open (rig, &o);
  assert_int_equal (store_io (rig->store, STORE_TRIM, 0, 0, NULL, 1024 * MIB),
                    0);
}

RUN_TESTS ()
