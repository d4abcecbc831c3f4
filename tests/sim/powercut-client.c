/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Clients: each makes one random request after the other and tells the oracle
 * what came of it.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cache/request/mapping.h"
#include "powercut.h"

struct caller {
  struct run *run;
  struct conn *conn;
  unsigned nr;  /* of the connection, among run->told */
  uint8_t *buf; /* MAX_REQUEST bytes */
  uint64_t offset, length, begun;
};

/* Once power is cut, nothing counts. */
static bool
counts (const struct run *run)
{
  return !run->cut;
}

static void
check_error (struct run *run, const char *what, int error)
{
  if (error < 0 && !mishap_excuses (run, error))
    world_fail (run->world, WORLD_ALL, "%s: %s", what, strerror (-error));
}

/* A flush, or a write with FUA, has succeeded: a good time for a power cut. */
static void
note_sync (struct run *run)
{
  if (run->cut_sync > 0 && --run->cut_sync == 0)
    run->cut_turn = run->world->turns;
}

static void
choose_range (struct caller *c, uint64_t max)
{
  struct run *run = c->run;
  struct world *w = run->world;
  uint64_t size = run->config.disk_size, align;

  align = world_chance (w, 50) ? 4096 : world_chance (w, 50) ? 512 : 1;
  c->offset = world_below (w, size);
  if (world_chance (w, 80))
    c->offset = (run->hot + world_below (w, run->config.hot_size)) % size;
  c->offset -= c->offset % align;
  if (world_chance (w, 5))
    max = MAX_REQUEST;
  c->length = rng_log (&w->rng, max);
  if (c->length > align)
    c->length -= c->length % align;
  else
    c->length = align;
  if (c->length > size - c->offset)
    c->length = size - c->offset;
}

static void
client_read (struct caller *c)
{
  struct run *run = c->run;
  int r;

  choose_range (c, run->config.max_request);
  c->begun = oracle_moment (run->oracle);
  world_note (run->world, "read", c->offset, c->length, 0);
  r = cache_read (c->conn, c->buf, (uint32_t) c->length, c->offset);
  if (!counts (run))
    return;
  world_note (run->world, "was read", c->offset, c->length, r);
  check_error (run, "a read fails", r);
  if (r == 0)
    oracle_read (run->oracle, c->buf, c->offset, c->length, c->begun);
}

static void
end_write (struct caller *c, struct oracle_write *write, int r)
{
  struct run *run = c->run;

  if (!counts (run))
    return;
  world_note (run->world, r < 0 ? "has failed:" : "has ended:", c->offset,
              c->length, write->id);
  check_error (run, write->zero ? "a zero or trim fails" : "a write fails", r);
  oracle_end (run->oracle, write, r);
  if (r == 0 && write->fua)
    note_sync (run);
}

/* Will a write of the range go past the cache? */
static bool
goes_past (const struct caller *c)
{
  const struct mapping_config *config = &c->run->config.mapping;
  struct streams streams = c->conn->streams; /* a copy to be asked */

  return config->mode == CACHE_NONE ||
         (config->sequential_cutoff &&
          streams_note (&streams, c->offset, c->length) >=
            config->sequential_cutoff);
}

static void
client_write (struct caller *c)
{
  struct run *run = c->run;
  unsigned flags = world_chance (run->world, run->config.fua) ? CACHE_FUA : 0;
  struct oracle_write *write;
  int r;

  choose_range (c, run->config.max_request);
  write = oracle_begin (run->oracle, c->offset, c->length, false, flags != 0);
  oracle_fill (write, c->buf);
  write->client = c->nr;
  if (goes_past (c))
    oracle_past (run->oracle, write, run->fs->block_size);
  world_note (run->world, flags ? "write with FUA:" : "write:", c->offset,
              c->length, write->id);
  r = cache_write (c->conn, c->buf, (uint32_t) c->length, c->offset, flags);
  end_write (c, write, r);
}

static void
client_zero (struct caller *c, bool trim)
{
  struct run *run = c->run;
  struct world *w = run->world;
  unsigned flags = world_chance (w, run->config.fua) ? CACHE_FUA : 0;
  struct oracle_write *write;
  int r;

  choose_range (c, run->config.max_request * 4);
  write = oracle_begin (run->oracle, c->offset, c->length, true, flags != 0);
  if (world_chance (w, 50))
    flags |= CACHE_MAY_TRIM;
  if (world_chance (w, 20))
    flags |= CACHE_FAST_ZERO;
  world_note (w, trim ? "trim:" : "zero:", c->offset, c->length, write->id);
  if (trim)
    r = cache_trim (c->conn, c->length, c->offset, flags & CACHE_FUA);
  else
    r = cache_zero (c->conn, c->length, c->offset, flags);
  if (r == -ENOTSUP && !trim && flags & CACHE_FAST_ZERO) {
    write->nothing = true;
    r = 0;
  }
  end_write (c, write, r);
}

/* What others have been told is enough for one that has just come. */
static struct oracle_told
told_to_any (const struct run *run)
{
  struct oracle_told told = { 0 };
  unsigned i;

  for (i = 0; i <= MAX_CONNS; i++)
    if (run->told[i].at > told.at)
      told = run->told[i];
  return told;
}

static void
client_flush (struct caller *c)
{
  struct run *run = c->run;
  struct oracle_flush flush = {
    .begun = oracle_moment (run->oracle),
    .client = c->nr,
    .own = run->told[c->nr],
    .others = c->nr == MAX_CONNS ? told_to_any (run) : run->told[c->nr],
  };
  int r;

  world_note (run->world, "flush", 0, 0, (int64_t) flush.begun);
  r = cache_flush (c->conn);
  if (!counts (run))
    return;
  world_note (run->world, r < 0 ? "flush has failed" : "flushed", 0, 0,
              (int64_t) flush.begun);
  check_error (run, "a flush fails", r);
  if (r < 0)
    oracle_told (run->oracle, &run->told[c->nr]);
  else {
    oracle_flushed (run->oracle, &flush);
    note_sync (run);
  }
}

/* Whatever reads as zero must be allowed to be. */
static bool
see_extent (void *opaque, uint64_t offset, uint64_t length, bool hole,
            bool zero)
{
  static const uint8_t zeroes[ORACLE_SECTOR];
  struct caller *c = opaque;
  uint64_t n;

  (void) hole;
  for (; zero && length > 0 && counts (c->run); offset += n, length -= n) {
    n = ORACLE_SECTOR - offset % ORACLE_SECTOR;
    n = n < length ? n : length;
    oracle_read (c->run->oracle, zeroes, offset, n, c->begun);
  }
  return true;
}

static void
client_extents (struct caller *c)
{
  struct run *run = c->run;
  int r;

  choose_range (c, MAX_REQUEST);
  c->begun = oracle_moment (run->oracle);
  world_note (run->world, "extents", c->offset, c->length, 0);
  r = cache_extents (c->conn, c->length, c->offset, see_extent, c);
  if (counts (run))
    check_error (run, "extents fail", r);
}

static void
client_prefetch (struct caller *c)
{
  int r;

  choose_range (c, MAX_REQUEST);
  world_note (c->run->world, "prefetch", c->offset, c->length, 0);
  r = cache_prefetch (c->conn, c->length, c->offset);
  if (counts (c->run))
    check_error (c->run, "prefetch fails", r);
}

static enum client_op
choose_op (const struct run *run)
{
  const unsigned *weights = run->config.weights;
  unsigned i, sum = 0;

  for (i = 0; i < 7; i++)
    sum += weights[i];
  sum = (unsigned) world_below (run->world, sum);
  for (i = 0; sum >= weights[i]; i++)
    sum -= weights[i];
  return (enum client_op) i;
}

static void
client_request (struct caller *c)
{
  c->run->requests++;
  switch (choose_op (c->run)) {
  case CLIENT_READ: client_read (c); break;
  case CLIENT_WRITE: client_write (c); break;
  case CLIENT_FLUSH: client_flush (c); break;
  case CLIENT_ZERO: client_zero (c, false); break;
  case CLIENT_TRIM: client_zero (c, true); break;
  case CLIENT_EXTENTS: client_extents (c); break;
  case CLIENT_PREFETCH: client_prefetch (c); break;
  }
}

static void
think (struct caller *c)
{
  struct run *run = c->run;

  if (run->config.think && world_chance (run->world, 50))
    world_sleep (run->world, 1 + world_below (run->world, run->config.think));
  else
    world_yield (run->world);
}

static void
end_client (struct caller *c)
{
  c->run->clients--;
  free (c->buf);
  free (c);
}

static void
client (void *opaque)
{
  struct caller *c = opaque;

  while (!c->run->ending) {
    client_request (c);
    think (c);
  }
  end_client (c);
}

/* One that goes after some requests, and comes back. */
static void
visitor (void *opaque)
{
  struct caller *c = opaque;
  struct run *run = c->run;

  while (!run->ending) {
    if (conn_create (run->mapping, &c->conn) < 0)
      die ("out of memory");
    world_note (run->world, "a visitor has come", 0, 0, 0);
    do {
      client_request (c);
      think (c);
    } while (!run->ending && world_chance (run->world, 70));
    conn_destroy (c->conn);
    world_note (run->world, "it has gone", 0, 0, 0);
    think (c);
  }
  end_client (c);
}

static struct caller *
new_client (struct run *run, unsigned nr)
{
  struct caller *c = xcalloc (1, sizeof *c);

  run->clients++;
  c->run = run;
  c->nr = nr;
  c->buf = xcalloc (1, MAX_REQUEST);
  return c;
}

void
clients_start (struct run *run)
{
  static const char *const names[MAX_CONNS] = { "client of connection 0",
                                                "client of connection 1",
                                                "client of connection 2",
                                                "client of connection 3" };
  struct caller *c;
  unsigned i;

  for (i = 0; i < run->config.clients; i++) {
    c = new_client (run, i % run->config.conns);
    c->conn = run->conns[c->nr];
    fiber_start (run->world, names[c->nr], client, c);
  }
  if (run->config.visitor)
    fiber_start (run->world, "visitor", visitor, new_client (run, MAX_CONNS));
}

void
client_verify (struct run *run)
{
  uint64_t size = run->config.disk_size, pos, n;
  uint8_t *buf = xcalloc (1, MAX_REQUEST);
  int r;

  for (pos = 0; pos < size; pos += n) {
    n = ORACLE_SECTOR * (1 + world_below (run->world, 512));
    if (n > size - pos)
      n = size - pos;
    r = cache_read (run->conns[0], buf, (uint32_t) n, pos);
    if (r < 0)
      world_fail (run->world, WORLD_ALL, "a read after the power cut fails");
    oracle_survived (run->oracle, buf, pos, n);
  }
  free (buf);
}
