/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The NBD store on a server that comes back as one that does less, or has more.
 */

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "fs/nbd/state.h"
#include "tests/unit/nbd-load.h"
#include "tests/unit/nbd-rig.h"
#include "tests/unit/seed.h"
#include "tests/unit/test.h"

static void
start (struct nbd_rig *rig)
{
  struct nbd_store_options o;

  nbd_rig_serve_disk (rig, LOAD_DISK);
  o = nbd_rig_options (rig);
  nbd_rig_open (rig, &o);
}

/* In the middle of it; the server refuses what it does not offer. */
static void
load_while_it_becomes (struct nbd_rig *rig, struct rng *rng,
                       const char *const *args)
{
  struct nbd_load *load = nbd_load_start (rig, rng, 0);
  uint64_t done;

  UNTIL (nbd_load_done (load) > 200);
  nbd_rig_kill (rig, SIGKILL);
  nbd_rig_serve (rig, args);
  done = nbd_load_done (load) + LOAD_MOST;
  UNTIL (nbd_load_done (load) > done + 200);
  nbd_load_stop (load);
}

NBD_TEST (one_that_does_less_is_asked_for_less)
{
  struct rng rng = test_rng ("comes back and does less");
  const char *const args[] = { "--filter=nozero",
                               "--filter=fua",
                               "--filter=noextents",
                               "--filter=multi-conn",
                               "--filter=blocksize-policy",
                               "file",
                               rig->disk,
                               "zeromode=plugin",
                               "multi-conn-mode=disable",
                               "blocksize-minimum=512",
                               "blocksize-preferred=4096",
                               "blocksize-maximum=64K",
                               "blocksize-error-policy=error",
                               NULL };
  char buf[512] = "";

  start (rig);
  load_while_it_becomes (rig, &rng, args);
  assert_int_equal (nbd_store_of (rig->store)->session->n, 1);
  assert_int_equal (store_io (rig->store, STORE_WRITE, STORE_FUA, 0, buf, 512),
                    0);
}

/* Nothing is read or written behind what it was. */
NBD_TEST (one_that_has_grown_goes_on_as_it_was)
{
  struct rng rng = test_rng ("comes back and has grown");
  const char *const args[] = { "file", rig->disk, NULL };
  uint8_t buf[4096], zero[4096] = { 0 };

  start (rig);
  assert_int_equal (truncate (rig->disk, LOAD_DISK + MIB), 0);
  load_while_it_becomes (rig, &rng, args);
  nbd_rig_await_error (rig, "connected again");
  assert_true (rig->store->geo.size == LOAD_DISK);
  memset (buf, 0xaa, sizeof buf);
  assert_int_equal (
    store_io (rig->store, STORE_WRITE, 0, LOAD_DISK, buf, sizeof buf), 0);
  assert_int_equal (
    store_io (rig->store, STORE_READ, 0, LOAD_DISK, buf, sizeof buf), 0);
  assert_memory_equal (buf, zero, sizeof buf);
}

RUN_TESTS ()
