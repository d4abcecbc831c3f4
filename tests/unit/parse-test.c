/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Numbers and words of parameters, to and from text.
 */

#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <string.h>

#include "fs/env.h"
#include "plugin/parse.h"
#include "tests/unit/test.h"

#define KIB UINT64_C (1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

TEST (parse_size)
{
  static const struct {
    const char *str;
    enum parse_result result;
    uint64_t bytes;
  } cases[] = {
    { "0", PARSE_OK, 0 },
    { "4096", PARSE_OK, 4096 },
    { "7b", PARSE_OK, 7 },
    { "3s", PARSE_OK, 1536 },
    { "1k", PARSE_OK, KIB },
    { "1K", PARSE_OK, KIB },
    { "256M", PARSE_OK, 256 * MIB },
    { "2g", PARSE_OK, 2 * GIB },
    { "64T", PARSE_OK, 64 * KIB * GIB },
    { "1P", PARSE_OK, MIB * GIB },
    { "7E", PARSE_OK, 7 * GIB * GIB },
    { "9223372036854775807", PARSE_OK, INT64_MAX },
    { "9223372036854775808", PARSE_TOO_BIG, 0 },
    { "18446744073709551616", PARSE_TOO_BIG, 0 },
    { "8E", PARSE_TOO_BIG, 0 },
    { "", PARSE_NOT_A_NUMBER, 0 },
    { "M", PARSE_NOT_A_NUMBER, 0 },
    { "-1", PARSE_NOT_A_NUMBER, 0 },
    { "+1", PARSE_NOT_A_NUMBER, 0 },
    { " 1", PARSE_NOT_A_NUMBER, 0 },
    { "0x10", PARSE_SUFFIX, 0 },
    { "1X", PARSE_SUFFIX, 0 },
    { "1MB", PARSE_SUFFIX, 0 },
    { "1 M", PARSE_SUFFIX, 0 },
    { "1.5M", PARSE_SUFFIX, 0 },
  };
  size_t i;

  for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    uint64_t bytes = 0;

    assert_int_equal (parse_size (cases[i].str, &bytes), cases[i].result);
    if (cases[i].result == PARSE_OK)
      assert_true (bytes == cases[i].bytes);
  }
}

TEST (parse_time)
{
  uint64_t ns;

  assert_int_equal (parse_time ("30", &ns), PARSE_OK);
  assert_true (ns == 30 * NSEC_PER_SEC);
  assert_int_equal (parse_time ("2s", &ns), PARSE_OK);
  assert_true (ns == 2 * NSEC_PER_SEC);
  assert_int_equal (parse_time ("250ms", &ns), PARSE_OK);
  assert_true (ns == 250 * NSEC_PER_MSEC);
  assert_int_equal (parse_time ("5m", &ns), PARSE_SUFFIX);
  assert_int_equal (parse_time ("5 s", &ns), PARSE_SUFFIX);
  assert_int_equal (parse_time ("", &ns), PARSE_NOT_A_NUMBER);
  assert_int_equal (parse_time ("9300000000", &ns), PARSE_TOO_BIG);
}

/* What is printed is read again as the same. */
TEST (format)
{
  static const uint64_t sizes[] = {
    0, 1, 512, 1023, KIB, 1025, 1536, 4 * KIB, 3 * MIB, 8 * 1024 * GIB
  };
  char buf[24];
  uint64_t n;
  size_t i;

  for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    format_size (buf, sizeof buf, sizes[i]);
    assert_int_equal (parse_size (buf, &n), PARSE_OK);
    assert_true (n == sizes[i]);
  }
  format_size (buf, sizeof buf, 3 * MIB);
  assert_string_equal (buf, "3M");
  format_time (buf, sizeof buf, 30 * NSEC_PER_SEC);
  assert_string_equal (buf, "30");
  format_time (buf, sizeof buf, 1500 * NSEC_PER_MSEC);
  assert_string_equal (buf, "1500ms");
}

TEST (edit_distance)
{
  char longer[80];

  assert_int_equal (edit_distance ("", ""), 0);
  assert_int_equal (edit_distance ("abc", ""), 3);
  assert_int_equal (edit_distance ("", "abc"), 3);
  assert_int_equal (edit_distance ("cache-size", "cache-size"), 0);
  assert_int_equal (edit_distance ("cachesize", "cache-size"), 1);
  assert_int_equal (edit_distance ("kitten", "sitting"), 3);
  memset (longer, 'x', sizeof longer);
  longer[sizeof longer - 1] = '\0';
  assert_int_equal (edit_distance (longer, "x"), UINT_MAX);
}

RUN_TESTS ()
