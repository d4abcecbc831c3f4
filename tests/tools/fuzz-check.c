/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The protocol fuzzer: what the answer to a request may be, and what it means for
 * the disk.
 */

#include <string.h>

#include "fuzz.h"

static uint64_t
min (uint64_t a, uint64_t b)
{
  return a < b ? a : b;
}

enum may { MUST_FAIL, MUST_SUCCEED, MAY_BOTH };

static bool
in_range (const struct wire *wire, const struct request *r)
{
  return r->offset <= wire->size && r->count <= wire->size - r->offset;
}

static bool
changes (const struct request *r)
{
  return r->cmd == CMD_WRITE || r->cmd == CMD_ZERO || r->cmd == CMD_TRIM;
}

/* May a request on this connection have these flags? */
static bool
flags_right (const struct wire *wire, const struct request *r)
{
  uint16_t allowed = wire->has & HAS_FUA ? CMD_FUA : 0;

  switch (r->cmd) {
  case CMD_READ: allowed |= wire->structured ? CMD_DF : 0; break;
  case CMD_ZERO: allowed |= CMD_NO_HOLE | CMD_FAST_ZERO; break;
  case CMD_STATUS: allowed |= CMD_REQ_ONE; break;
  default: break;
  }
  return (r->flags & ~allowed) == 0;
}

static bool
offered (const struct wire *wire, const struct request *r)
{
  switch (r->cmd) {
  case CMD_READ:
  case CMD_WRITE: return true;
  case CMD_FLUSH: return wire->has & HAS_FLUSH;
  case CMD_TRIM: return wire->has & HAS_TRIM;
  case CMD_ZERO: return wire->has & HAS_ZERO;
  case CMD_CACHE: return wire->has & HAS_CACHE;
  case CMD_STATUS: return wire->status;
  default: return false;
  }
}

static enum may
possible (const struct wire *wire, const struct request *r)
{
  bool carries = r->cmd == CMD_READ || r->cmd == CMD_WRITE;

  if (!offered (wire, r) || !flags_right (wire, r) ||
      (changes (r) && wire->has & HAS_READ_ONLY))
    return MUST_FAIL;
  if (r->cmd == CMD_FLUSH)
    return r->offset == 0 && r->count == 0 ? MUST_SUCCEED : MAY_BOTH;
  if (!in_range (wire, r) || (carries && r->count > MAX_REQUEST))
    return MUST_FAIL;
  return r->count == 0 || r->flags & CMD_FAST_ZERO ? MAY_BOTH : MUST_SUCCEED;
}

static bool
is_error (uint32_t error)
{
  static const uint32_t errors[] = { 1, 5, 12, 22, 28, 75, ERR_ENOTSUP, 108 };
  unsigned i;

  for (i = 0; i < sizeof errors / sizeof errors[0]; i++)
    if (error == errors[i])
      return true;
  return false;
}

static void
check_error (struct fuzz *fuzz, enum may may, const struct request *r)
{
  if (may == MUST_FAIL && r->error == 0)
    fuzz_fail (fuzz, "done, and should have been refused");
  if (may == MUST_SUCCEED && r->error != 0)
    fuzz_fail (fuzz, "refused with %u, and should have been done", r->error);
  if (r->error != 0 && !is_error (r->error))
    fuzz_fail (fuzz, "%u is no error of the protocol", r->error);
  if (r->error == ERR_ENOTSUP && !(r->flags & CMD_FAST_ZERO))
    fuzz_fail (fuzz, "ENOTSUP without FAST_ZERO");
}

/* --- the disk --- */

/* The part of it that is looked at; false if there is none. */
static bool
clip (const struct fuzz *fuzz, const struct request *r, uint64_t *n)
{
  if (r->offset >= fuzz->area)
    return false;
  *n = fuzz->area - r->offset;
  if (*n > r->count)
    *n = r->count;
  return *n > 0;
}

static void
check_read (struct fuzz *fuzz, const struct request *r)
{
  const uint8_t *want = fuzz->disk + r->offset;
  uint64_t n, i;

  if (!clip (fuzz, r, &n) || memcmp (r->data, want, n) == 0)
    return;
  for (i = 0; r->data[i] == want[i]; i++)
    ;
  fuzz_fail (fuzz, "byte %llu is 0x%02x, not 0x%02x",
             (unsigned long long) (r->offset + i), r->data[i], want[i]);
}

/* What is said to be zero is. */
static void
check_zero (struct fuzz *fuzz, uint64_t start, uint64_t end)
{
  uint64_t i;

  for (i = start; i < end && i < fuzz->area; i++)
    if (fuzz->disk[i] != 0)
      fuzz_fail (fuzz, "byte %llu is said to be zero", (unsigned long long) i);
}

static void
check_status (struct fuzz *fuzz, const struct wire *wire,
              const struct request *r)
{
  uint64_t pos = r->offset;
  unsigned i;

  if (r->nr_extents == 0 || (r->flags & CMD_REQ_ONE && r->nr_extents != 1))
    fuzz_fail (fuzz, "%u extents", r->nr_extents);
  for (i = 0; i < r->nr_extents; i++) {
    const struct extent *e = &r->extents[i];

    if (e->length == 0 || pos >= r->offset + r->count ||
        e->length > wire->size - pos)
      fuzz_fail (fuzz, "extent %u of %u bytes at %llu", i, e->length,
                 (unsigned long long) pos);
    if (e->state & STATE_ZERO)
      check_zero (fuzz, pos, min (pos + e->length, r->offset + r->count));
    pos += e->length;
  }
  if (r->flags & CMD_REQ_ONE && pos > r->offset + r->count)
    fuzz_fail (fuzz, "one extent, longer than the request");
}

static void
apply (struct fuzz *fuzz, const struct request *r)
{
  uint64_t n;

  if (!changes (r) || !clip (fuzz, r, &n))
    return;
  if (r->cmd == CMD_WRITE)
    memcpy (fuzz->disk + r->offset, r->data, n);
  else
    memset (fuzz->disk + r->offset, 0, n);
}

void
check (struct fuzz *fuzz, const struct wire *wire, const struct request *r)
{
  check_error (fuzz, possible (wire, r), r);
  if (r->error != 0) {
    fuzz->refused++;
    return;
  }
  if (r->cmd == CMD_READ)
    check_read (fuzz, r);
  else if (r->cmd == CMD_STATUS && r->count > 0)
    check_status (fuzz, wire, r);
  apply (fuzz, r);
}
