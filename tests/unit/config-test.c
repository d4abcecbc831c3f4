/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The plugin's parameters: what is taken, refused and said of them.
 */

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cache/base/arena.h"
#include "plugin/config.h"
#include "tests/unit/test.h"

#define KIB UINT64_C (1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

static void
set (struct config *config, const char *key, const char *value)
{
  char err[CONFIG_ERROR_MAX] = "";

  if (config_set (config, key, value, err) != 0)
    fail_msg ("%s=%s refused: %s", key, value, err);
}

/* The value is refused, by a line that says all of the words, up to NULL. */
static void
refused (const char *key, const char *value, ...)
{
  struct config config;
  char err[CONFIG_ERROR_MAX];
  const char *word;
  va_list words;

  config_init (&config);
  assert_int_equal (config_set (&config, key, value, err), -EINVAL);
  assert_null (strchr (err, '\n'));
  va_start (words, value);
  while ((word = va_arg (words, const char *))) {
    if (strstr (err, word) == NULL)
      fail_msg ("'%s' does not say '%s'", err, word);
  }
  va_end (words);
  assert_int_equal (config.given, 0);
  config_free (&config);
}

TEST (defaults)
{
  struct file_store_options options;
  struct mapping_config mapping;
  struct config config;
  char err[CONFIG_ERROR_MAX];

  config_init (&config);
  assert_int_equal (config_check (&config, err), -EINVAL);
  assert_non_null (strstr (err, "no store"));
  set (&config, "store", "disk.img");
  assert_int_equal (config_check (&config, err), 0);

  assert_true (config.cache_size == 256 * MIB);
  config_mapping (&config, &mapping);
  assert_int_equal (mapping.mode, CACHE_WRITEBACK);
  assert_int_equal (mapping.folio_max_order, 9);
  assert_true (mapping.dirty_limit == 256 * MIB * 40 / 100);
  assert_true (mapping.dirty_background == 256 * MIB * 10 / 100);
  assert_true (mapping.dirty_expire == 30 * NSEC_PER_SEC);
  assert_true (mapping.writeback_interval == 5 * NSEC_PER_SEC);
  assert_true (mapping.flush_target == 10 * NSEC_PER_SEC);
  assert_true (mapping.readahead == MIB);
  assert_true (mapping.sequential_cutoff == 0);
  assert_int_equal (mapping.io_depth, 32);
  assert_true (config.shutdown_timeout == 60 * NSEC_PER_SEC);

  config_file_store (&config, false, &options);
  assert_string_equal (options.path, "disk.img");
  assert_false (options.readonly);
  assert_true (options.create == -1);
  assert_int_equal (options.direct, DIRECT_AUTO);
  assert_int_equal (options.io, FILE_IO_AUTO);
  assert_int_equal (options.io_depth, 32);
  config_free (&config);
}

TEST (values)
{
  struct file_store_options options;
  struct mapping_config mapping;
  struct config config;

  config_init (&config);
  set (&config, "store", "file:a=b:c");
  set (&config, "create", "10G");
  set (&config, "fs", "raw");
  set (&config, "cache-size", "1G");
  set (&config, "cache", "none");
  set (&config, "dirty-bytes", "64M");
  set (&config, "dirty-background-bytes", "0");
  set (&config, "dirty-expire", "600");
  set (&config, "writeback-interval", "100ms");
  set (&config, "flush-target", "0");
  set (&config, "folio-max", "64k");
  set (&config, "readahead", "0");
  set (&config, "sequential-cutoff", "1G");
  set (&config, "direct", "off");
  assert_int_equal (config.preallocate, 0);
  set (&config, "preallocate", "on");
  assert_int_equal (config.preallocate, 1);
  set (&config, "io", "threads");
  set (&config, "shutdown-timeout", "0");
  set (&config, "io-depth", "16");

  config_mapping (&config, &mapping);
  assert_int_equal (mapping.mode, CACHE_NONE);
  assert_int_equal (mapping.folio_max_order, 4);
  assert_true (mapping.dirty_limit == 64 * MIB);
  assert_true (mapping.dirty_background == 0);
  assert_true (mapping.dirty_expire == 600 * NSEC_PER_SEC);
  assert_true (mapping.writeback_interval == 100 * NSEC_PER_MSEC);
  assert_true (mapping.flush_target == 0);
  assert_true (mapping.readahead == 0);
  assert_true (mapping.sequential_cutoff == GIB);
  assert_int_equal (mapping.io_depth, 16);
  assert_true (config.shutdown_timeout == 0);

  config_file_store (&config, false, &options);
  assert_string_equal (options.path, "a=b:c");
  assert_true (options.create == (int64_t) (10 * GIB));
  assert_int_equal (options.direct, DIRECT_OFF);
  assert_int_equal (options.io, FILE_IO_THREADS);
  config_file_store (&config, true, &options);
  assert_true (options.readonly);
  config_free (&config);
}

TEST (refusals)
{
  refused ("cache-size", "10X", "cache-size=10X", "suffix", "1M to 8191G",
           NULL);
  refused ("cache-size", "1023k", "out of range", "1M to 8191G", NULL);
  refused ("cache-size", "8T", "out of range", NULL);
  refused ("cache-size", "9X", "with b, s, k, M, G, T, P or E after it", NULL);
  refused ("cache-size", "", "not a whole number", NULL);
  refused ("cache-size", "99999999999999999999", "too big", NULL);
  refused ("create", "0", "out of range", "1 or more", NULL);
  refused ("snapshot", "", "no name given", "the name of a snapshot", NULL);
  refused ("dirty-ratio", "140", "dirty-ratio=140", "1 to 100", NULL);
  refused ("dirty-ratio", "0", "1 to 100", NULL);
  refused ("dirty-ratio", "40%", "suffix", NULL);
  refused ("dirty-background-ratio", "101", "0 to 100", NULL);
  refused ("dirty-bytes", "4095", "4k to 8191G", NULL);
  refused ("dirty-background-bytes", "1", "0, or 4k to 8191G", NULL);
  refused ("dirty-expire", "0", "10ms to 86400", NULL);
  refused ("writeback-interval", "1d", "suffix", "10ms to 86400", NULL);
  refused ("flush-target", "-1", "not a whole number", "0 to 86400", NULL);
  refused ("flush-target", "86401", "out of range", NULL);
  refused ("shutdown-timeout", "86401", "out of range", "0 to 86400", NULL);
  refused ("folio-max", "3M", "power of two", "4k to 2M", NULL);
  refused ("folio-max", "4M", "4k to 2M", NULL);
  refused ("folio-max", "12k", "power of two", NULL);
  refused ("folio-max", "0", "power of two", NULL);
  refused ("readahead", "2k", "0, or 4k to 1G", NULL);
  refused ("io-depth", "0", "1 to 1024", NULL);
  refused ("io-depth", "1k", "suffix", NULL);
  refused ("connections", "0", "1 to 64", NULL);
  refused ("connections", "65", "1 to 64", NULL);
  refused ("retry", "1m", "suffix", "0 to 86400", NULL);
  refused ("retry", "86401", "out of range", NULL);
  refused ("cache", "fast", "unknown value", "writeback, writethrough, none",
           NULL);
  refused ("direct", "yes", "auto, on, off", NULL);
  refused ("preallocate", "yes", "off, on", NULL);
  refused ("preallocate", "", "off, on", NULL);
  refused ("unsafe-no-flush", "on", "unknown value", "allowed: no, yes", NULL);
  refused ("io", "aio", "auto, uring, threads", NULL);
  refused ("fs", "zfs", "fs=zfs", "not a format in this build", "raw", NULL);
}

TEST (store)
{
  struct config config;
  char err[CONFIG_ERROR_MAX];

  refused ("store", "", "no path", "PATH or file:PATH", NULL);
  refused ("store", "file:", "no path", NULL);
  refused ("store", "nbd+vsock://2", "no such kind of store", NULL);
  refused ("store", "nbd:localhost:10809", "QEMU's name", "allowed: PATH",
           NULL);
  refused ("store", "rbd:pool/image", "RBD stores are not in this build", NULL);
  refused ("store", "http://example.com/", "no such kind of store", NULL);

  config_init (&config);
  set (&config, "store", "./a://b"); /* a path after all */
  assert_int_equal (config_set (&config, "store", "b", err), -EINVAL);
  assert_string_equal (err,
                       "store=b: store is given a second time; allowed: once");
  assert_string_equal (config.store, "./a://b");
  assert_false (config.nbd);
  config_free (&config);

  config_init (&config);
  set (&config, "store", "file:nbd://localhost");
  assert_string_equal (config.store, "nbd://localhost");
  assert_false (config.nbd);
  config_free (&config);
}

#ifdef HAVE_LIBNBD
TEST (nbd_store)
{
  struct nbd_store_options options;
  struct config config;
  char err[CONFIG_ERROR_MAX];

  config_init (&config);
  set (&config, "store", "nbds://localhost:10810/e?tls-certificates=x");
  assert_true (config.nbd);
  assert_int_equal (config_check (&config, err), 0);
  config_nbd_store (&config, true, &options);
  assert_string_equal (options.uri,
                       "nbds://localhost:10810/e?tls-certificates=x");
  assert_true (options.readonly);
  assert_int_equal (options.connections, 4);
  assert_int_equal (options.io_depth, 32);
  assert_true (options.retry == 30 * NSEC_PER_SEC);
  assert_true (options.patience == 0);

  set (&config, "connections", "64");
  set (&config, "io-depth", "7");
  set (&config, "retry", "0");
  assert_false (options.unsafe_no_flush);
  set (&config, "unsafe-no-flush", "yes");
  assert_int_equal (config_check (&config, err), 0);
  config_nbd_store (&config, false, &options);
  assert_false (options.readonly);
  assert_int_equal (options.connections, 64);
  assert_int_equal (options.io_depth, 7);
  assert_true (options.retry == 0);
  assert_true (options.unsafe_no_flush);
  config_free (&config);

  config_init (&config);
  set (&config, "store", "nbd://localhost");
  set (&config, "retry", "120"); /* at the start, too */
  config_nbd_store (&config, false, &options);
  assert_true (options.retry == 120 * NSEC_PER_SEC);
  assert_true (options.patience == options.retry);
  config_free (&config);

  refused ("store", "", "PATH or file:PATH, nbd://", NULL);
}
#else
static void
test_nbd_store (void **state)
{
  (void) state;
  refused ("store", "nbd://localhost", "NBD stores are not in this build",
           "PATH or file:PATH", NULL);
  refused ("store", "nbds+unix:///?socket=x", "NBD stores", NULL);
}
#endif

TEST (unknown_key)
{
  char key[1000];

  refused ("cache-sise", "1M", "unknown key 'cache-sise'",
           "did you mean 'cache-size'?", "allowed: store, create,", "io-depth",
           NULL);
  refused ("flush_target", "10", "unknown key", NULL);
  refused ("", "10", "unknown key", NULL);
  memset (key, 'k', sizeof key);
  key[sizeof key - 1] = '\0';
  refused (key, key, "unknown key", "io-depth", NULL);
  refused ("folio-max", key, "folio-max=kkk", "power of two", NULL);
}

/* config_check refuses this pair of settings, given a cache of 256M and a file.
 */
static void
contradiction (const char *key1, const char *value1, const char *key2,
               const char *value2, const char *word)
{
  struct config config;
  char err[CONFIG_ERROR_MAX] = "";

  config_init (&config);
  set (&config, "store", "x");
  set (&config, key1, value1);
  set (&config, key2, value2);
  assert_int_equal (config_check (&config, err), -EINVAL);
  assert_non_null (strstr (err, word));
  assert_null (strchr (err, '\n'));
  config_free (&config);
}

TEST (contradictions)
{
  contradiction ("dirty-ratio", "40", "dirty-bytes", "1M", "both");
  contradiction ("dirty-background-ratio", "10", "dirty-background-bytes", "1M",
                 "both");
  contradiction ("dirty-ratio", "20", "dirty-background-ratio", "20",
                 "not below");
  contradiction ("dirty-bytes", "1M", "dirty-background-bytes", "1M",
                 "not below");
  contradiction ("dirty-bytes", "1M", "dirty-background-ratio", "10",
                 "not below");
  contradiction ("io-depth", "1", "dirty-background-ratio", "40", "not below");
  contradiction ("io-depth", "1", "dirty-bytes", "257M",
                 "dirty-bytes=257M: more than cache-size, which is 256M; "
                 "allowed: 4k to 256M");
  contradiction ("dirty-bytes", "1M", "dirty-background-bytes", "2M",
                 "2M is not below the dirty limit, which by dirty-bytes is 1M");
  contradiction ("fs", "raw", "snapshot", "monday", "only with fs=thin");
  contradiction ("io-depth", "1", "connections", "4",
                 "connections is given, but the store is a file");
  contradiction ("io-depth", "1", "retry", "30", "only for NBD servers");
  contradiction ("io-depth", "1", "unsafe-no-flush", "no",
                 "only for NBD servers");
}

#ifdef HAVE_LIBNBD
TEST (keys_of_files)
{
  static const char *const keys[][3] = {
    { "create", "1M", "allowed: only for files" },
    { "direct", "auto", "allowed: only for files and block devices" },
    { "io", "auto", "allowed: only for files and block devices" },
  };
  struct config config;
  char err[CONFIG_ERROR_MAX];
  size_t i;

  for (i = 0; i < 2; i++) {
    config_init (&config);
    set (&config, "store", "nbd://localhost");
    set (&config, keys[i][0], keys[i][1]);
    assert_int_equal (config_check (&config, err), -EINVAL);
    assert_non_null (strstr (err, keys[i][0]));
    assert_non_null (strstr (err, "the store is an NBD server"));
    assert_string_equal (strstr (err, "allowed"), keys[i][2]);
    config_free (&config);
  }
}
#endif

/* What a small cache does to what was not asked to be small. */
TEST (reductions)
{
  struct mapping_config mapping;
  struct config config;
  char err[CONFIG_ERROR_MAX];

  config_init (&config);
  set (&config, "store", "x");
  set (&config, "cache-size", "8191G"); /* the largest there is */
  config_free (&config);
  config_init (&config);
  set (&config, "store", "x");
  set (&config, "cache-size", "1M");
  set (&config, "dirty-ratio", "5");
  assert_int_equal (config_check (&config, err), 0);
  config_mapping (&config, &mapping);
  assert_int_equal (mapping.folio_max_order, 2); /* 16k */
  assert_true (mapping.readahead == 128 * KIB);
  assert_true (mapping.dirty_limit == MIB * 5 / 100);
  assert_true (mapping.dirty_background == mapping.dirty_limit / 2);
  set (&config, "folio-max", "4k");
  config_mapping (&config, &mapping);
  assert_int_equal (mapping.folio_max_order, 0);
  set (&config, "dirty-bytes", "4k");
  config_mapping (&config, &mapping);
  assert_true (mapping.dirty_limit == PAGE_SIZE);
  assert_true (mapping.dirty_background == PAGE_SIZE / 2);
  config_free (&config);
}

static size_t
number_of_parameters (void)
{
  const char *p;
  size_t n = 0;

  for (p = strchr (config_help, '\n'); p; p = strchr (p + 1, '\n'))
    n += p[1] != '\0' && p[1] != ' ';
  return n;
}

/* A value that the key allows: its default, or one for those that have none. */
static const char *
some_value (const char *key, const char *fallback)
{
  if (strcmp (key, "store") == 0)
    return "a";
  if (strcmp (key, "metrics") == 0)
    return "9200";
  if (strcmp (key, "control") == 0)
    return "socket";
  return strcmp (fallback, "none") == 0 ? "1M" : fallback;
}

/* Any of them, also when the value is the same. */
TEST (given_twice)
{
  char *text = NULL, *line, *save, *value;
  char err[CONFIG_ERROR_MAX], expected[CONFIG_ERROR_MAX];
  struct config config;
  size_t size, keys = 0;
  FILE *fp = open_memstream (&text, &size);

  assert_non_null (fp);
  config_dump (fp);
  fclose (fp);
  for (line = strtok_r (text, "\n", &save); line;
       line = strtok_r (NULL, "\n", &save)) {
    if (strncmp (line, "default_", 8) != 0)
      continue;
    line += strlen ("default_");
    value = strchr (line, '=');
    *value++ = '\0';
    config_init (&config);
    set (&config, line, some_value (line, value));
    assert_int_equal (config_set (&config, line, some_value (line, value), err),
                      -EINVAL);
    snprintf (expected, sizeof expected,
              "%s is given a second time; allowed:", line);
    assert_non_null (strstr (err, expected));
    assert_null (strchr (err, '\n'));
    config_free (&config);
    keys++;
  }
  assert_int_equal (keys, number_of_parameters ());
  free (text);
}

/* Each line of --dump-plugin agrees with --help, and the default is allowed. */
TEST (dump)
{
#ifdef HAVE_LIBNBD
  static const char head[] =
    "stores=file,nbd\nformats=raw,thin\nio=uring,threads\n";
#else
  static const char head[] =
    "stores=file\nformats=raw,thin\nio=uring,threads\n";
#endif
  char *text = NULL, *line, *save;
  size_t size, lines = 0;
  FILE *fp = open_memstream (&text, &size);

  assert_non_null (fp);
  config_dump (fp);
  fclose (fp);
  assert_true (strncmp (text, head, strlen (head)) == 0);
  for (line = strtok_r (text + strlen (head), "\n", &save); line;
       line = strtok_r (NULL, "\n", &save)) {
    char *key = line + strlen ("default_"), *value = strchr (line, '=');
    char expected[64], shown[64];

    assert_non_null (value);
    *value++ = '\0';
    snprintf (expected, sizeof expected, "\n%s=", key);
    assert_non_null (strstr (config_help, expected));
    snprintf (shown, sizeof shown, " (%s)\n", value);
    assert_non_null (strstr (strstr (config_help, expected), shown));
    lines++;
  }
  assert_int_equal (lines, number_of_parameters ());
  assert_true (lines >= 18);
  free (text);
}

RUN_TESTS ()
