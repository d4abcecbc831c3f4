/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What a store is asked for by one small write that is to be durable on a thin disk: how
 * often it has to be waited for, one after the other.
 */

#include <string.h>

#include "cache-fixture.h"
#include "fs/thin/io.h"
#include "fs/thin/meta.h"
#include "fs/thin/super.h"
#include "fs/thin/thin.h"
#include "tests/tools/util.h"

/* A disk that is served, on a store with FUA or without. */
struct served {
  struct env env;
  struct fake_store *fake;
  struct fs *fs;
  struct cache *cache;
  struct mapping *mapping;
  struct conn *conn;
};

/* As who had it last leaves it, so that nobody waits to see whether he is dead. */
static void
release (struct store *store)
{
  uint8_t *block = thin_io_alloc (1);
  struct thin_super super;

  assert_non_null (block);
  assert_int_equal (thin_io_read (store, THIN_SUPER_A, block, 1), 0);
  assert_int_equal (thin_super_decode (block, THIN_SUPER_A, &super), 0);
  memset (block, 0, THIN_BLOCK);
  thin_seal ((struct thin_block_header *) block, THIN_MAGIC_OWNER, super.uuid,
             THIN_OWNER, 1, THIN_BLOCK);
  assert_int_equal (thin_io_write (store, THIN_OWNER, block, 1), 0);
  free (block);
}

static struct served *
start_mode (bool fua, enum cache_mode mode)
{
  const struct thin_create what = { .disk_bytes = 16 * MiB };
  const struct mapping_config config = {
    .mode = mode,
    .folio_max_order = 9,
    .dirty_limit = 16 * MiB,
    .dirty_background = 8 * MiB,
    .dirty_expire = 600 * NSEC_PER_SEC,
    .writeback_interval = 600 * NSEC_PER_SEC,
    .io_depth = 16,
  };
  char text[200] = "";
  const struct store_message why = { text, sizeof text };
  struct served *s = xcalloc (1, sizeof *s);

  env_init (&s->env);
  s->fake = fake_store_create (&s->env, 64 * MiB);
  s->fake->store.geo.min_io = 4096;
  s->fake->store.geo.can_fua = fua;
  s->fake->store.geo.exclusive = true;
  assert_int_equal (thin_create (&s->fake->store, &what, &why), 0);
  release (&s->fake->store);
  assert_int_equal (thin_open (&s->fake->store, NULL, &s->fs, &why), 0);
  assert_int_equal (cache_create (&s->env, 16 * MiB, &s->cache), 0);
  assert_int_equal (cache_start (s->cache), 0);
  assert_int_equal (mapping_create (s->cache, s->fs, &config, &s->mapping), 0);
  assert_int_equal (mapping_start (s->mapping), 0);
  assert_int_equal (fs_ready (s->fs), 0);
  assert_int_equal (conn_create (s->mapping, &s->conn), 0);
  return s;
}

static struct served *
start (bool fua)
{
  return start_mode (fua, CACHE_WRITEBACK);
}

static void
stop (struct served *s)
{
  conn_destroy (s->conn);
  mapping_destroy (s->mapping);
  cache_destroy (s->cache);
  s->fs->ops->close (s->fs);
  s->fake->store.ops->close (&s->fake->store);
  free (s);
}

#define SERVED_TEST(name, fua)                                                 \
  TEST_WITH (name, struct served *s, start (fua), stop)

static void
write_block (struct served *s, uint64_t block, unsigned flags)
{
  uint8_t buf[THIN_BLOCK];

  memset (buf, (int) block + 1, sizeof buf);
  assert_int_equal (
    cache_write (s->conn, buf, sizeof buf, block * THIN_BLOCK, flags), 0);
}

static void
flush (struct served *s)
{
  assert_int_equal (cache_flush (s->conn), 0);
}

/* What the store was asked for since the last time, but for reads and the owner's beats:
 * a letter for each, in order: w, f, or W with FUA.
 */
static const char *
trips (struct served *s)
{
  static char letters[64];
  struct fake_record record;
  size_t i, n = 0;

  for (i = 0; fake_store_record (s->fake, i, &record); i++) {
    if (record.op == STORE_READ ||
        (record.op == STORE_WRITE && record.offset == THIN_OWNER * THIN_BLOCK))
      continue;
    assert_true (n < sizeof letters - 1);
    assert_true (record.op == STORE_WRITE || record.op == STORE_FLUSH);
    letters[n++] = record.op == STORE_FLUSH     ? 'f'
                   : (record.flags & STORE_FUA) ? 'W'
                                                : 'w';
  }
  letters[n] = '\0';
  fake_store_clear (s->fake);
  return letters;
}

/* Each the second time, when nothing is new any more but itself. */
static void
write_and_flush (struct served *s, const char *new, const char *old)
{
  write_block (s, 1, 0);
  flush (s);
  trips (s);
  write_block (s, 2, 0);
  flush (s);
  assert_string_equal (trips (s), new);
  write_block (s, 2, 0);
  flush (s);
  assert_string_equal (trips (s), old);
  flush (s);
  assert_string_equal (trips (s), "");
}

static void
write_with_fua (struct served *s, const char *new, const char *old)
{
  write_block (s, 1, CACHE_FUA);
  trips (s);
  write_block (s, 2, CACHE_FUA);
  assert_string_equal (trips (s), new);
  write_block (s, 2, CACHE_FUA);
  assert_string_equal (trips (s), old);
  flush (s);
  assert_string_equal (trips (s), "");
}

SERVED_TEST (a_flush_on_a_store_with_fua, true)
{
  write_and_flush (s, "wfW", "W");
}

SERVED_TEST (fua_on_a_store_with_fua, true)
{
  write_with_fua (s, "wfW", "W");
}

SERVED_TEST (a_flush_on_a_store_without_fua, false)
{
  write_and_flush (s, "wfwf", "wf");
}

SERVED_TEST (fua_on_a_store_without_fua, false)
{
  write_with_fua (s, "wfwf", "wf");
}

/* What is in place already is durable there only when the place is. */
TEST_WITH (fua_where_the_place_is_not_durable, struct served *s,
           start_mode (true, CACHE_WRITETHROUGH), stop)
{
  trips (s);
  write_block (s, 1, 0);
  assert_string_equal (trips (s), "w");
  write_block (s, 1, CACHE_FUA);
  assert_string_equal (trips (s), "WfW");
  write_block (s, 1, CACHE_FUA);
  assert_string_equal (trips (s), "W");
}

TEST_WITH (past_the_cache, struct served *s, start_mode (true, CACHE_NONE),
           stop)
{
  write_with_fua (s, "wfW", "wf");
}

RUN_TESTS ()
