/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The words of progress.
 */

#include <stdint.h>

#include "fs/env.h"
#include "plugin/progress.h"
#include "tests/unit/test.h"

#define KIB UINT64_C (1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

static void
progress (uint64_t done, uint64_t total, uint64_t seconds, const char *expected)
{
  struct sync_progress p = { done, total, seconds * NSEC_PER_SEC };
  char line[PROGRESS_MAX];

  progress_format (line, sizeof line, &p);
  assert_string_equal (line, expected);
}

TEST (progress)
{
  progress (1229 * MIB, 3 * GIB, 30,
            "writing back: 1.2 of 3.0 GiB, 41 MiB/s, 45 s left");
  progress (0, 300 * MIB, 1, "writing back: 0 of 300 MiB, 0.0 KiB/s");
  progress (5 * KIB, 50 * KIB, 10,
            "writing back: 5 of 50 KiB, 0.5 KiB/s, 90 s left");
  progress (0, 0, 0, "writing back: 0.0 of 0.0 KiB, 0.0 KiB/s");
  progress (2 * MIB, MIB, 1, "writing back: 2.0 of 1.0 MiB, 2.0 MiB/s");
}

RUN_TESTS ()
