/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The protocol fuzzer: which requests are made.
 */

#include <string.h>

#include "fuzz.h"

#define PICK(rng, from) from[rng_below (rng, sizeof from / sizeof from[0])]

static uint16_t
pick_cmd (struct rng *rng)
{
  static const uint16_t often[] = { CMD_READ,  CMD_READ,  CMD_WRITE, CMD_WRITE,
                                    CMD_WRITE, CMD_ZERO,  CMD_ZERO,  CMD_TRIM,
                                    CMD_FLUSH, CMD_CACHE, CMD_STATUS };

  if (rng_chance (rng, 2))
    return (uint16_t) (NR_CMDS + rng_below (rng, UINT16_MAX - NR_CMDS));
  return PICK (rng, often);
}

/* Mostly those that the command has. */
static uint16_t
pick_flags (struct rng *rng, uint16_t cmd)
{
  static const uint16_t of[NR_CMDS] = {
    [CMD_READ] = CMD_FUA | CMD_DF,
    [CMD_WRITE] = CMD_FUA,
    [CMD_FLUSH] = CMD_FUA,
    [CMD_TRIM] = CMD_FUA,
    [CMD_CACHE] = CMD_FUA,
    [CMD_ZERO] = CMD_FUA | CMD_NO_HOLE | CMD_FAST_ZERO,
    [CMD_STATUS] = CMD_FUA | CMD_REQ_ONE,
  };
  uint16_t flags = (uint16_t) rng_next (rng);

  if (rng_chance (rng, 2))
    return flags;
  flags &= CMD_FLAGS;
  if (rng_chance (rng, 90))
    flags &= cmd < NR_CMDS ? of[cmd] : 0;
  if (rng_chance (rng, 60))
    flags &= (uint16_t) ~CMD_FUA; /* it is slow */
  return flags;
}

/* Places and lengths that something may go wrong with. */
static void
pick_anything (struct fuzz *fuzz, uint64_t size, struct request *r)
{
  static const uint32_t counts[] = { 0,
                                     1,
                                     511,
                                     MAX_REQUEST,
                                     MAX_REQUEST + 1,
                                     UINT32_C (1) << 31,
                                     UINT32_MAX,
                                     UINT32_MAX - 4095 };
  const uint64_t offsets[] = { 0,
                               1,
                               size - 1,
                               size,
                               size + 1,
                               size - 4096,
                               size / 2,
                               UINT64_C (1) << 32,
                               (UINT64_C (1) << 63) - 1,
                               UINT64_C (1) << 63,
                               UINT64_MAX,
                               UINT64_MAX - 4095 };

  if (rng_chance (&fuzz->rng, 50))
    r->count = PICK (&fuzz->rng, counts);
  if (rng_chance (&fuzz->rng, 50))
    r->offset = PICK (&fuzz->rng, offsets);
  else if (rng_chance (&fuzz->rng, 10))
    r->offset = rng_next (&fuzz->rng);
}

static void
pick_range (struct fuzz *fuzz, struct request *r, uint64_t from, uint64_t to)
{
  static const uint32_t aligns[] = { 1, 1, 512, 512, 4096, 4096, 65536 };
  uint64_t align = PICK (&fuzz->rng, aligns), max = to - from, n;

  if (max > MAX_WRITE && (r->cmd == CMD_WRITE || rng_chance (&fuzz->rng, 95)))
    max = MAX_WRITE;
  n = rng_log (&fuzz->rng, max);
  r->offset = from + rng_below (&fuzz->rng, to - from - n + 1);
  if (r->offset / align * align >= from && n >= align) {
    r->offset = r->offset / align * align;
    n = n / align * align;
  }
  r->count = n > UINT32_MAX ? UINT32_MAX : (uint32_t) n;
}

static void
fill (struct rng *rng, uint8_t *data, size_t n)
{
  uint64_t word = rng_next (rng);
  size_t i;

  if (rng_chance (rng, 10))
    return; /* zeroes */
  for (i = 0; i < n; i++)
    data[i] = (uint8_t) (word >> 8 * (i % 8)) ^ (uint8_t) (i >> 9);
}

/* Memory for what is sent, or read: not of a request that has no place there. */
static void
add_data (struct fuzz *fuzz, struct request *r)
{
  bool much = r->count > MAX_REQUEST;

  if (r->cmd == CMD_WRITE && r->count > MAX_WRITE)
    r->count = MAX_WRITE;
  if (r->count == 0 || (r->cmd != CMD_WRITE && (r->cmd != CMD_READ || much)))
    return;
  r->data = xcalloc (1, r->count);
  if (r->cmd == CMD_WRITE)
    fill (&fuzz->rng, r->data, r->count);
}

void
generate (struct fuzz *fuzz, const struct wire *wire, struct request *r,
          uint64_t from, uint64_t to)
{
  *r = (struct request) { .handle = rng_next (&fuzz->rng) };
  r->cmd = pick_cmd (&fuzz->rng);
  r->flags = pick_flags (&fuzz->rng, r->cmd);
  if (to != 0)
    pick_range (fuzz, r, from, to);
  else {
    pick_range (fuzz, r, 0,
                rng_chance (&fuzz->rng, 90) ? fuzz->area : wire->size);
    if (rng_chance (&fuzz->rng, 10))
      pick_anything (fuzz, wire->size, r);
  }
  if (r->cmd == CMD_FLUSH && rng_chance (&fuzz->rng, 90)) {
    r->offset = 0;
    r->count = 0;
  }
  add_data (fuzz, r);
}
