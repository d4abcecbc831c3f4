/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The file store: requests that the kernel does in pieces.  Here the test is
 * the kernel: it carries out each piece on memory, or a part of it, or fails.
 */

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fs/file/engine.h"
#include "fs/file/request.h"
#include "fs/file/state.h"
#include "tests/unit/seed.h"
#include "tests/unit/test.h"

#define ALIGN 512u
#define MAX_SIZE ((size_t) 64 << 10)     /* of the file, bytes */
#define MEMORY_SIZE ((size_t) 192 << 10) /* of what requests transfer, bytes */
#define MAX_ELEMENTS 1500

/* Descriptors, never used as such. */
#define BUFFERED_FD 1000
#define DIRECT_FD 1001
#define SYNC_FD 1002

/* What carrying out a piece may come to. */
enum outcome { ALL, PART, NOTHING, FAILURE };

struct model {
  struct rng rng;
  struct env env;
  struct file_store store;
  struct store_req req;
  struct iovec iov[MAX_ELEMENTS];
  uint8_t *memory, *expected_memory;
  uint8_t *file, *expected_file;
  size_t memory_size, file_size; /* of these, as much as is used, bytes */

  /* The request, so far. */
  bool buffered; /* it is not to be tried with O_DIRECT any more */
  bool faulted;  /* EFAULT once */
  int error;
  unsigned pieces;
};

static void
fill_random (struct rng *rng, uint8_t *p, size_t n)
{
  size_t i;

  for (i = 0; i < n; i += sizeof (uint64_t)) {
    uint64_t word = rng_next (rng);

    memcpy (p + i, &word, sizeof word);
  }
}

static uint8_t *
allocate (size_t size)
{
  void *p = NULL;

  assert_int_equal (posix_memalign (&p, 4096, size), 0);
  return p;
}

static void
log_nothing (struct env *env, enum log_level level, const char *message)
{
  (void) env;
  (void) level;
  (void) message;
}

static void
model_init (struct model *m, struct rng rng)
{
  memset (m, 0, sizeof *m);
  m->rng = rng;
  env_init (&m->env);
  m->env.log = log_nothing;
  m->store.store.env = &m->env;
  m->memory = allocate (MEMORY_SIZE);
  m->expected_memory = allocate (MEMORY_SIZE);
  m->file = allocate (MAX_SIZE);
  m->expected_file = allocate (MAX_SIZE);
  m->store.zeroes = allocate (ZEROES_SIZE);
  memset (m->store.zeroes, 0, ZEROES_SIZE);
  m->store.fd = BUFFERED_FD;
  m->store.sync_fd = SYNC_FD;
  m->store.no_punch = m->store.no_zero_range = true; /* zeroes are written */
}

static void
model_free (struct model *m)
{
  free (m->memory);
  free (m->expected_memory);
  free (m->file);
  free (m->expected_file);
  free (m->store.zeroes);
}

/* A file of size bytes, anything in it and behind it, and so much memory. */
static void
set_file (struct model *m, uint64_t size, size_t memory_size, bool direct)
{
  m->memory_size = memory_size;
  m->file_size = size + 4096 < MAX_SIZE ? size + 4096 : MAX_SIZE;
  m->store.store.geo.size = size;
  m->store.end = size;
  m->store.direct_fd = direct ? DIRECT_FD : -1;
  m->store.align = m->store.mem_align = ALIGN;
  m->store.direct_end = size % ALIGN == 0 ? size : size & ~UINT64_C (4095);
  fill_random (&m->rng, m->file, m->file_size);
  memcpy (m->expected_file, m->file, m->file_size);
  fill_random (&m->rng, m->memory, memory_size);
  memcpy (m->expected_memory, m->memory, memory_size);
}

/* --- what is expected --- */

static uint64_t
bytes_in_file (const struct model *m)
{
  return store_req_end (&m->store.store, &m->req) - m->req.offset;
}

/* Bytes [from, to) of the request have been transferred, or, by a read, lie
 * behind the end of the store.
 */
static void
expect_bytes (struct model *m, uint64_t from, uint64_t to, bool past_end)
{
  const struct iovec *iov = m->req.iov;
  uint64_t i, element = 0;

  for (i = from; i < to && m->req.op == STORE_ZERO; i++)
    m->expected_file[m->req.offset + i] = 0;
  for (i = 0; i < to && m->req.op != STORE_ZERO; i++, element++) {
    uint8_t *memory;

    for (; element == iov->iov_len; iov++)
      element = 0;
    if (i < from)
      continue;
    memory =
      m->expected_memory + ((uint8_t *) iov->iov_base + element - m->memory);
    if (m->req.op == STORE_WRITE)
      m->expected_file[m->req.offset + i] = *memory;
    else
      *memory = past_end ? 0 : m->expected_file[m->req.offset + i];
  }
}

static void
expect_end (struct model *m, int error)
{
  m->error = error;
  if (error == 0 && m->req.op == STORE_READ)
    expect_bytes (m, m->req.progress, m->req.length, true);
}

/* --- the kernel --- */

struct piece {
  bool write;
  int fd;
  uint64_t offset, length;
  struct iovec one;
  const struct iovec *iov;
  unsigned n;
};

static void
decode (const struct file_call *call, struct piece *p)
{
  uint64_t length = 0;
  unsigned i;

  *p = (struct piece) {
    .fd = call->fd,
    .offset = call->offset,
    .length = call->length,
    .write = call->kind == CALL_WRITE,
    .iov = call->iov,
    .n = call->n,
  };
  assert_true (call->kind == CALL_READ || call->kind == CALL_WRITE);
  if (p->n == 0) {
    p->one = (struct iovec) { call->base, call->length };
    p->iov = &p->one;
    p->n = 1;
  }
  for (i = 0; i < p->n; i++)
    length += p->iov[i].iov_len;
  assert_int_equal (length, p->length);
}

/* Is it what the kernel takes? */
static void
check_piece (const struct model *m, const struct piece *p)
{
  const struct store_req *req = &m->req;
  unsigned i;

  assert_int_equal (p->write, req->op != STORE_READ);
  assert_int_equal (p->offset, req->offset + req->progress);
  assert_in_range (p->length, 1, bytes_in_file (m) - req->progress);
  assert_in_range (p->n, 1, 1024);
  if (p->fd == BUFFERED_FD)
    return;
  assert_false (m->buffered);
  assert_int_equal (p->fd, m->store.direct_fd);
  assert_int_equal (p->offset % ALIGN, 0);
  assert_true (p->offset + p->length <= m->store.direct_end);
  for (i = 0; i < p->n; i++) {
    assert_int_equal ((uintptr_t) p->iov[i].iov_base % ALIGN, 0);
    assert_int_equal (p->iov[i].iov_len % ALIGN, 0);
  }
}

static void
carry_out (struct model *m, const struct piece *p, uint64_t bytes)
{
  uint8_t *file = m->file + p->offset;
  const struct iovec *iov;
  uint64_t n;

  for (iov = p->iov; bytes > 0; iov++) {
    n = bytes < iov->iov_len ? bytes : iov->iov_len;
    if (p->write)
      memcpy (file, iov->iov_base, n);
    else
      memcpy (iov->iov_base, file, n);
    file += n;
    bytes -= n;
  }
}

/* The piece fails: is the request to go on? */
static bool
goes_on (struct model *m, const struct piece *p, int error)
{
  switch (error) {
  case -EINTR:
  case -EAGAIN:
  case -ECANCELED: return true;
  case -EINVAL: return p->fd == DIRECT_FD;
  case -EFAULT:
    if (m->faulted)
      return false;
    m->faulted = true;
    return true;
  }
  return false;
}

static int
random_failure (struct model *m)
{
  static const int often[] = { -EINTR, -EAGAIN, -ECANCELED, -EINVAL };
  static const int seldom[] = { -EFAULT, -EIO, -ENOSPC, -EINVAL };

  return rng_chance (&m->rng, 95) ? often[rng_below (&m->rng, 4)]
                                  : seldom[rng_below (&m->rng, 4)];
}

static enum outcome
random_outcome (struct model *m)
{
  if (rng_chance (&m->rng, 2))
    return NOTHING;
  if (rng_chance (&m->rng, 15))
    return FAILURE;
  return rng_chance (&m->rng, 75) ? PART : ALL;
}

/* What the kernel does with the piece: returns its result, and *again: the
 * request goes on.
 */
static int
complete (struct model *m, const struct piece *p, enum outcome outcome,
          uint64_t part, bool *again)
{
  uint64_t done = m->req.progress, bytes = outcome == PART ? part : p->length;
  int error;

  *again = false;
  if (outcome == FAILURE) {
    error = random_failure (m);
    *again = goes_on (m, p, error);
    if (!*again)
      expect_end (m, error);
    return error;
  }
  if (outcome == NOTHING) {
    expect_end (m, -EIO);
    return 0;
  }
  carry_out (m, p, bytes);
  expect_bytes (m, done, done + bytes, false);
  *again = done + bytes < bytes_in_file (m);
  if (!*again && m->req.op == STORE_READ)
    expect_bytes (m, done + bytes, m->req.length, true);
  return (int) bytes;
}

/* --- requests --- */

static void
prepare (struct model *m, struct piece *p)
{
  struct file_call call;
  bool fua = m->req.flags & STORE_FUA;

  file_prepare (&m->store, &m->req, &call);
  decode (&call, p);
  assert_int_equal (call.flags, fua ? RWF_DSYNC : 0);
}

/* As the driver begins it.  Returns whether it goes to the kernel. */
static bool
begin (struct model *m)
{
  m->buffered = m->faulted = false;
  m->error = 0;
  m->pieces = 0;
  if (bytes_in_file (m) > 0) {
    assert_int_equal (file_begin (&m->store, &m->req), FILE_AGAIN);
    return true;
  }
  expect_end (m, 0);
  assert_int_equal (file_begin (&m->store, &m->req), 0);
  return false;
}

static void
check_content (const struct model *m)
{
  assert_memory_equal (m->memory, m->expected_memory, m->memory_size);
  assert_memory_equal (m->file, m->expected_file, m->file_size);
}

/* Do it: cut the first piece after `first' bytes and let the others be, or, if
 * that is 0, as it happens.
 */
static void
run (struct model *m, uint64_t first)
{
  bool more = begin (m);
  enum outcome outcome;
  struct piece p;
  uint64_t part;
  int r, res;

  while (more) {
    prepare (m, &p);
    check_piece (m, &p);
    outcome = first == 0 ? random_outcome (m) : m->pieces == 0 ? PART : ALL;
    part = first == 0 ? 1 + rng_below (&m->rng, p.length) : first;
    res = complete (m, &p, outcome, part, &more);
    m->pieces++;
    m->buffered |= p.fd == BUFFERED_FD || res == -EINVAL;
    r = file_advance (&m->store, &m->req, res);
    assert_int_equal (r == FILE_LATER ? FILE_AGAIN : r,
                      more ? FILE_AGAIN : m->error);
  }
  check_content (m);
}

/* --- tests --- */

/* Three elements, cut once, at each byte. */
static void
cut_everywhere (enum store_op op, bool direct)
{
  struct iovec iov[3];
  struct model m;
  uint64_t cut;

  model_init (&m, (struct rng) { 1 });
  for (cut = 1; cut < 5 * 512; cut++) {
    set_file (&m, 8192, 3 * 4096, direct);
    iov[0] = (struct iovec) { m.memory + 4096, 1024 };
    iov[1] = (struct iovec) { m.memory + 512, 512 };
    iov[2] = (struct iovec) { m.memory + 8192, 1024 };
    m.req = (struct store_req) {
      .op = op, .offset = 1024, .length = 5 * 512, .iov = iov, .niov = 3
    };
    run (&m, cut);
    assert_int_equal (m.error, 0);
    assert_true (m.pieces <= 3); /* the rest of one element, and the others */
  }
  model_free (&m);
}

TEST (cut_everywhere)
{
  cut_everywhere (STORE_READ, false);
  cut_everywhere (STORE_READ, true);
  cut_everywhere (STORE_WRITE, false);
  cut_everywhere (STORE_WRITE, true);
  cut_everywhere (STORE_ZERO, false);
  cut_everywhere (STORE_ZERO, true);
}

/* Elements of any length, or of whole sectors, with gaps between them and not
 * in the order of their place.
 */
static void
random_iov (struct model *m, bool aligned)
{
  unsigned n = (unsigned) rng_log (&m->rng, aligned ? 300 : MAX_ELEMENTS), i;
  size_t unit = aligned ? ALIGN : 1;
  size_t slot = MEMORY_SIZE / n / unit * unit;
  unsigned turn = (unsigned) rng_below (&m->rng, n);

  m->req.iov = m->iov;
  m->req.niov = (int) n;
  for (i = 0; i < n; i++) {
    size_t length = (1 + rng_below (&m->rng, slot / unit)) * unit;
    size_t skip = rng_below (&m->rng, (slot - length) / unit + 1) * unit;

    if (n > 40 && length > 4 * unit)
      length = 4 * unit;
    m->iov[i].iov_base = m->memory + (i + turn) % n * slot + skip;
    m->iov[i].iov_len = length;
    m->req.length += length;
  }
}

static void
random_request (struct model *m)
{
  static const enum store_op ops[] = { STORE_READ, STORE_WRITE, STORE_ZERO };
  uint64_t size = 1 + rng_below (&m->rng, MAX_SIZE);
  bool aligned = rng_chance (&m->rng, 70);

  if (rng_chance (&m->rng, 70))
    size = (size + 511) & ~UINT64_C (511);
  set_file (m, size, MEMORY_SIZE, rng_chance (&m->rng, 50));
  m->req = (struct store_req) { .op = ops[rng_below (&m->rng, 3)] };
  m->req.offset = rng_below (&m->rng, size + 1) & ~UINT64_C (511);
  if (m->req.op == STORE_ZERO)
    m->req.length = rng_below (&m->rng, MAX_SIZE) + 1;
  else
    random_iov (m, aligned);
  if (m->req.op == STORE_WRITE && rng_chance (&m->rng, 30))
    m->req.flags = STORE_FUA;
}

TEST (random)
{
  unsigned i, pieces = 0, whole = 0;
  struct model m;

  model_init (&m, test_rng ("file-pieces-test"));
  for (i = 0; i < 1000; i++) {
    random_request (&m);
    run (&m, 0);
    pieces += m.pieces;
    whole += m.error == 0;
  }
  /* It has seen something. */
  assert_true (pieces > 2000);
  assert_true (whole > 200);
  model_free (&m);
}

/* More elements than the kernel takes at once go in as few pieces as can be. */
TEST (many_elements)
{
  struct model m;
  unsigned i;

  model_init (&m, (struct rng) { 2 });
  set_file (&m, MAX_SIZE, MEMORY_SIZE, false);
  m.req = (struct store_req) {
    .op = STORE_WRITE, .iov = m.iov, .niov = 1025, .length = 1025 * 50
  };
  for (i = 0; i < 1025; i++)
    m.iov[i] = (struct iovec) { m.memory + i * 100, 50 };
  run (&m, 1024 * 50);
  assert_int_equal (m.pieces, 2);
  run (&m, 1000 * 50);
  assert_int_equal (m.pieces, 2);
  model_free (&m);
}

RUN_TESTS ()
