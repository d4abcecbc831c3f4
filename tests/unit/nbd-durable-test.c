/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The NBD store on servers that cannot flush: what is written there is made
 * durable by FUA, or by nothing, which has to be asked for.
 */

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "fs/nbd/state.h"
#include "tests/unit/nbd-rig.h"
#include "tests/unit/test.h"

/* A server of 1 MiB that does these, or not, and notes in rig->disk what it is asked
 * for that changes something.
 */
static void
serve (struct nbd_rig *rig, const char *flush, const char *fua)
{
  char pwrite[200], zero[200];
  const char *const args[] = { "eval",
                               "get_size=echo 1M",
                               "pread=exit 1",
                               "can_write=exit 0",
                               pwrite,
                               "can_zero=exit 0",
                               zero,
                               flush,
                               fua,
                               "flush=exit 1",
                               NULL };

  snprintf (pwrite, sizeof pwrite,
            "pwrite=cat >/dev/null; echo \"write $3 $4 $5\" >>'%s'", rig->disk);
  snprintf (zero, sizeof zero, "zero=echo \"zero $3 $4 $5\" >>'%s'", rig->disk);
  nbd_rig_serve (rig, args);
}

static void
serve_without_either (struct nbd_rig *rig)
{
  serve (rig, "can_flush=exit 3", "can_fua=echo none");
}

/* What it was asked for. */
static void
asked (struct nbd_rig *rig, const char *want)
{
  char got[500];
  FILE *fp = fopen (rig->disk, "r");
  size_t n;

  assert_non_null (fp);
  n = fread (got, 1, sizeof got - 1, fp);
  got[n] = '\0';
  fclose (fp);
  assert_string_equal (got, want);
}

NBD_TEST (without_flush_all_is_written_with_fua)
{
  struct nbd_store_options o;
  char buf[8192] = "";

  serve (rig, "can_flush=exit 3", "can_fua=echo native");
  o = nbd_rig_options (rig);
  nbd_rig_open (rig, &o);
  assert_int_equal (store_io (rig->store, STORE_WRITE, 0, 4096, buf, 8192), 0);
  assert_int_equal (store_io (rig->store, STORE_WRITE, STORE_FUA, 0, buf, 512),
                    0);
  assert_int_equal (store_io (rig->store, STORE_ZERO, 0, 512, NULL, 512), 0);
  assert_int_equal (store_io (rig->store, STORE_TRIM, 0, 1024, NULL, 512), 0);
  assert_int_equal (store_io (rig->store, STORE_FLUSH, 0, 0, NULL, 0), 0);
  asked (rig, "write 8192 4096 fua\n"
              "write 512 0 fua\n"
              "zero 512 512 fua\n"
              "zero 512 1024 fua,may_trim\n");
  assert_int_equal (rig->errors, 0);
}

/* With flush, FUA is for what asks for it. */
NBD_TEST (with_flush_fua_is_what_was_asked_for)
{
  struct nbd_store_options o;
  char buf[512] = "";

  serve (rig, "can_flush=exit 0", "can_fua=echo native");
  o = nbd_rig_options (rig);
  nbd_rig_open (rig, &o);
  assert_int_equal (store_io (rig->store, STORE_WRITE, 0, 4096, buf, 512), 0);
  assert_int_equal (store_io (rig->store, STORE_WRITE, STORE_FUA, 0, buf, 512),
                    0);
  asked (rig, "write 512 4096 \nwrite 512 0 fua\n");
  assert_int_not_equal (store_io (rig->store, STORE_FLUSH, 0, 0, NULL, 0), 0);
}

NBD_TEST (without_either_it_is_refused)
{
  char message[600] = "";
  struct nbd_store_options o;

  serve_without_either (rig);
  o = nbd_rig_options (rig);
  assert_int_equal (
    nbd_store_open (&rig->env, &o, &rig->store, message, sizeof message),
    -ENOTSUP);
  assert_non_null (strstr (message, "can neither flush nor do FUA"));
  assert_non_null (strstr (message, "unsafe-no-flush=yes"));
  o.readonly = true;
  nbd_rig_open (rig, &o);
  assert_int_equal (store_io (rig->store, STORE_FLUSH, 0, 0, NULL, 0), 0);
  assert_int_equal (rig->errors, 0);
}

NBD_TEST (without_either_it_is_used_if_the_user_knows)
{
  struct nbd_store_options o;
  char buf[512] = "";

  serve_without_either (rig);
  o = nbd_rig_options (rig);
  o.unsafe_no_flush = true;
  nbd_rig_open (rig, &o);
  assert_int_equal (rig->errors, 1);
  assert_non_null (strstr (rig->last_error, "warning: "));
  assert_non_null (strstr (rig->last_error, "flush may be lost"));
  assert_int_equal (store_io (rig->store, STORE_WRITE, STORE_FUA, 0, buf, 512),
                    0);
  assert_int_equal (store_io (rig->store, STORE_FLUSH, 0, 0, NULL, 0), 0);
  asked (rig, "write 512 0 \n");
  assert_int_equal (rig->errors, 1);
}

/* It does no harm where it is not needed. */
NBD_TEST (no_warning_if_it_can)
{
  struct nbd_store_options o;

  serve (rig, "can_flush=exit 0", "can_fua=echo none");
  o = nbd_rig_options (rig);
  o.unsafe_no_flush = true;
  nbd_rig_open (rig, &o);
  assert_int_equal (rig->errors, 0);
}

RUN_TESTS ()
