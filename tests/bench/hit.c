/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Hits and nothing else, for callgrind to count: see bench/instructions.
 *
 *   hit read|write|first-write|new-write COUNT [thin]
 *
 * read and write hit pages that are there (and dirty, for write);
 * first-write makes clean pages dirty; new-write writes pages that are not there, of a
 * disk that has nothing anywhere.  thin: a thin disk, rather than a raw one.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache/cache.h"
#include "fs/raw/raw.h"
#include "fs/thin/meta.h"
#include "fs/thin/thin.h"
#include "tests/unit/fake-store.h"

#define DISK (UINT64_C (64) << 20)
#define PAGE 4096u

static const struct mapping_config config = {
  .mode = CACHE_WRITEBACK,
  .dirty_limit = DISK * 2,
  .dirty_background = DISK,
  .dirty_expire = 3600 * NSEC_PER_SEC,
  .writeback_interval = 3600 * NSEC_PER_SEC,
  .io_depth = 32,
};

static void
check (int r, const char *what)
{
  if (r == 0)
    return;
  fprintf (stderr, "hit: %s: %s\n", what, strerror (-r));
  exit (1);
}

/* Pages in an order that is neither sequential nor needs a generator. */
static uint64_t
page_at (unsigned long i)
{
  return i * 2654435761u % (DISK / PAGE) * PAGE;
}

static void
open_disk (struct fake_store *fake, bool thin, struct fs **fs)
{
  static const struct thin_create create = { .disk_bytes = DISK };
  char text[200] = "";
  const struct store_message why = { text, sizeof text };

  if (thin) {
    check (thin_create (&fake->store, &create, &why), text);
    check (thin_open (&fake->store, NULL, fs, &why), text);
  }
  else
    check (raw_open (&fake->store, fs), "raw_open");
}

/* What callgrind counts. */
__attribute__ ((noinline)) static void
measured (struct conn *conn, void *buf, bool write, unsigned long count)
{
  unsigned long i;

  for (i = 0; i < count; i++)
    check (write ? cache_write (conn, buf, PAGE, page_at (i), 0)
                 : cache_read (conn, buf, PAGE, page_at (i)),
           "request");
}

int
main (int argc, char **argv)
{
  static uint8_t buf[PAGE];
  struct fake_store *fake;
  struct mapping *mapping;
  struct cache *cache;
  struct conn *conn;
  struct env env;
  struct fs *fs;
  unsigned long i;

  if (argc < 3) {
    fprintf (stderr,
             "usage: hit read|write|first-write|new-write COUNT [thin]\n");
    return 2;
  }
  env_init (&env);
  fake = fake_store_create (&env, 2 * DISK);
  open_disk (fake, argc > 3 && strcmp (argv[3], "thin") == 0, &fs);
  check (cache_create (&env, DISK * 4, &cache), "cache_create");
  check (mapping_create (cache, fs, &config, &mapping), "mapping_create");
  check (mapping_start (mapping), "mapping_start");
  check (conn_create (mapping, &conn), "conn_create");

  check (fs_ready (fs), "fs_ready");
  for (i = 0; i < DISK / PAGE && strcmp (argv[1], "new-write") != 0; i++)
    check (cache_write (conn, buf, PAGE, i * PAGE, 0), "write");
  if (strcmp (argv[1], "first-write") == 0)
    check (cache_flush (conn), "flush");
  measured (conn, buf, strcmp (argv[1], "read") != 0,
            strtoul (argv[2], NULL, 0));
  fflush (stdout);
  _Exit (0);
}
