/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The protocol fuzzer: NBD, as far as it takes it.
 */

#include <endian.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "fuzz.h"

/* No answer may take so long. */
#define SECONDS 300

#define OPT_GO 7
#define OPT_STRUCTURED_REPLY 8
#define OPT_SET_META_CONTEXT 10
#define OPT_MAGIC UINT64_C (0x49484156454F5054)
#define OPT_REPLY_MAGIC UINT64_C (0x3e889045565a9)
#define REP_ACK 1
#define REP_INFO 3

#define SIMPLE_MAGIC UINT32_C (0x67446698)
#define STRUCTURED_MAGIC UINT32_C (0x668e33ef)
#define REPLY_DONE 0x1u
#define REPLY_DATA 1
#define REPLY_HOLE 2
#define REPLY_STATUS 5
#define REPLY_ERROR 0x8000u

#define CONTEXT "base:allocation"

struct __attribute__ ((packed)) header {
  uint32_t magic;
  uint16_t flags, type;
  uint64_t handle, offset;
  uint32_t count;
};

/* --- bytes --- */

static void
get (struct fuzz *fuzz, const struct wire *wire, void *buf, size_t n)
{
  uint8_t *p = buf;
  ssize_t r;

  for (; n > 0; p += r, n -= (size_t) r) {
    r = recv (wire->fd, p, n, 0);
    if (r == 0)
      fuzz_fail (fuzz, "the server has hung up");
    if (r < 0)
      fuzz_fail (fuzz, "the server does not answer: %s", strerror (errno));
  }
}

static void
put (struct fuzz *fuzz, const struct wire *wire, const void *buf, size_t n)
{
  const uint8_t *p = buf;
  ssize_t r;

  for (; n > 0; p += r, n -= (size_t) r) {
    r = send (wire->fd, p, n, MSG_NOSIGNAL);
    if (r < 0)
      fuzz_fail (fuzz, "the server takes nothing: %s", strerror (errno));
  }
}

static uint16_t
get16 (struct fuzz *fuzz, const struct wire *wire)
{
  uint16_t x;

  get (fuzz, wire, &x, sizeof x);
  return be16toh (x);
}

static uint32_t
get32 (struct fuzz *fuzz, const struct wire *wire)
{
  uint32_t x;

  get (fuzz, wire, &x, sizeof x);
  return be32toh (x);
}

static uint64_t
get64 (struct fuzz *fuzz, const struct wire *wire)
{
  uint64_t x;

  get (fuzz, wire, &x, sizeof x);
  return be64toh (x);
}

static void
skip (struct fuzz *fuzz, const struct wire *wire, uint64_t n)
{
  uint8_t buf[4096];
  size_t k;

  for (; n > 0; n -= k) {
    k = n < sizeof buf ? (size_t) n : sizeof buf;
    get (fuzz, wire, buf, k);
  }
}

/* --- connecting --- */

static void
option (struct fuzz *fuzz, struct wire *wire, uint32_t number, const void *data,
        size_t n)
{
  struct __attribute__ ((packed)) {
    uint64_t magic;
    uint32_t number, length;
  } head = { htobe64 (OPT_MAGIC), htobe32 (number), htobe32 ((uint32_t) n) };

  put (fuzz, wire, &head, sizeof head);
  put (fuzz, wire, data, n);
}

/* Take replies to the option up to the last; true if it was granted. */
static bool
granted (struct fuzz *fuzz, struct wire *wire)
{
  uint32_t type = 0, length;

  do {
    if (get64 (fuzz, wire) != OPT_REPLY_MAGIC)
      fuzz_fail (fuzz, "no option reply");
    get32 (fuzz, wire);
    type = get32 (fuzz, wire);
    length = get32 (fuzz, wire);
    if (type == REP_INFO && length >= 2 && get16 (fuzz, wire) == 0) {
      wire->size = get64 (fuzz, wire);
      wire->has = get16 (fuzz, wire);
      length -= 12;
    }
    else if (type == REP_INFO)
      length -= 2;
    skip (fuzz, wire, length);
  } while (type != REP_ACK && type < 0x80000000u);
  return type == REP_ACK;
}

static void
negotiate (struct fuzz *fuzz, struct wire *wire, bool structured, bool status)
{
  struct __attribute__ ((packed)) {
    uint32_t name, queries, length;
    char context[sizeof CONTEXT - 1];
  } meta = { 0, htobe32 (1), htobe32 (sizeof CONTEXT - 1), "" };
  uint32_t flags = htobe32 (0x3);
  static const uint8_t any_export[6];

  skip (fuzz, wire, 8 + 8 + 2);
  put (fuzz, wire, &flags, sizeof flags);
  wire->structured = wire->status = false;
  if (structured) {
    option (fuzz, wire, OPT_STRUCTURED_REPLY, NULL, 0);
    wire->structured = granted (fuzz, wire);
  }
  if (status && wire->structured) {
    memcpy (meta.context, CONTEXT, sizeof meta.context);
    option (fuzz, wire, OPT_SET_META_CONTEXT, &meta, sizeof meta);
    wire->status = granted (fuzz, wire);
  }
  option (fuzz, wire, OPT_GO, any_export, sizeof any_export);
  if (!granted (fuzz, wire))
    fuzz_fail (fuzz, "the export is not served");
}

void
wire_open (struct fuzz *fuzz, struct wire *wire, bool structured, bool status)
{
  struct sockaddr_un addr = { .sun_family = AF_UNIX };
  struct timeval patience = { .tv_sec = SECONDS };

  if (strlen (fuzz->socket) >= sizeof addr.sun_path)
    die ("%s: too long for a socket", fuzz->socket);
  strcpy (addr.sun_path, fuzz->socket);
  wire->fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (wire->fd < 0)
    die ("socket: %s", strerror (errno));
  setsockopt (wire->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  setsockopt (wire->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  if (connect (wire->fd, (struct sockaddr *) &addr, sizeof addr) < 0)
    fuzz_fail (fuzz, "%s: %s", fuzz->socket, strerror (errno));
  negotiate (fuzz, wire, structured, status);
}

void
wire_close (struct wire *wire)
{
  close (wire->fd);
  wire->fd = -1;
}

void
wire_expect_end (struct fuzz *fuzz, struct wire *wire)
{
  uint8_t byte;
  ssize_t r = recv (wire->fd, &byte, 1, 0);

  if (r > 0 || (r < 0 && errno != ECONNRESET))
    fuzz_fail (fuzz, "the server does not end the connection");
}

/* --- requests --- */

void
wire_send_part (struct fuzz *fuzz, struct wire *wire,
                const struct request *request, uint32_t magic, size_t n)
{
  struct header header = {
    .magic = htobe32 (magic),
    .flags = htobe16 (request->flags),
    .type = htobe16 (request->cmd),
    .handle = htobe64 (request->handle),
    .offset = htobe64 (request->offset),
    .count = htobe32 (request->count),
  };
  size_t head = n < sizeof header ? n : sizeof header;

  put (fuzz, wire, &header, head);
  if (request->cmd == CMD_WRITE && request->data) {
    n -= head;
    put (fuzz, wire, request->data, n < request->count ? n : request->count);
  }
}

void
wire_send (struct fuzz *fuzz, struct wire *wire, const struct request *request)
{
  wire_send_part (fuzz, wire, request, REQUEST_MAGIC, SIZE_MAX);
}

static struct request *
find (struct fuzz *fuzz, uint64_t handle)
{
  unsigned i;

  for (i = 0; i < fuzz->nr_burst; i++)
    if (fuzz->burst[i].handle == handle && !fuzz->burst[i].answered)
      return &fuzz->burst[i];
  fuzz_fail (fuzz, "an answer to nothing");
}

static void
receive_simple (struct fuzz *fuzz, struct wire *wire)
{
  uint32_t error = get32 (fuzz, wire);
  struct request *request;

  request = find (fuzz, get64 (fuzz, wire));
  request->error = error;
  request->answered = true;
  if (request->cmd == CMD_READ && error == 0)
    get (fuzz, wire, request->data, request->count);
}

static void
receive_data (struct fuzz *fuzz, struct wire *wire, struct request *request,
              unsigned type, uint32_t length)
{
  uint64_t at = get64 (fuzz, wire) - request->offset;

  length = type == REPLY_HOLE ? get32 (fuzz, wire) : length - 8;
  if (request->cmd != CMD_READ || at > request->count ||
      length > request->count - at)
    fuzz_fail (fuzz, "data that is not of the request");
  if (type == REPLY_HOLE)
    memset (request->data + at, 0, length);
  else
    get (fuzz, wire, request->data + at, length);
}

static void
receive_status (struct fuzz *fuzz, struct wire *wire, struct request *request,
                uint32_t length)
{
  unsigned i;

  if (request->cmd != CMD_STATUS || length < 12 || length % 8 != 4)
    fuzz_fail (fuzz, "a block status of %u bytes", length);
  get32 (fuzz, wire);
  request->nr_extents = (length - 4) / 8;
  request->extents = xcalloc (request->nr_extents, sizeof (struct extent));
  for (i = 0; i < request->nr_extents; i++) {
    request->extents[i].length = get32 (fuzz, wire);
    request->extents[i].state = get32 (fuzz, wire);
  }
}

static void
receive_structured (struct fuzz *fuzz, struct wire *wire)
{
  uint16_t flags = get16 (fuzz, wire), type = get16 (fuzz, wire);
  struct request *request = find (fuzz, get64 (fuzz, wire));
  uint32_t length = get32 (fuzz, wire);

  if (!wire->structured)
    fuzz_fail (fuzz, "a structured reply, which was not negotiated");
  if (type & REPLY_ERROR) {
    request->error = get32 (fuzz, wire);
    skip (fuzz, wire, length - 4);
  }
  else if (type == REPLY_DATA || type == REPLY_HOLE)
    receive_data (fuzz, wire, request, type, length);
  else if (type == REPLY_STATUS)
    receive_status (fuzz, wire, request, length);
  else if (type != 0 || length != 0)
    fuzz_fail (fuzz, "a reply of type %u", type);
  request->answered = flags & REPLY_DONE;
}

void
wire_receive (struct fuzz *fuzz, struct wire *wire)
{
  unsigned i;

  for (i = 0; i < fuzz->nr_burst; i++) {
    while (!fuzz->burst[i].answered) {
      switch (get32 (fuzz, wire)) {
      case SIMPLE_MAGIC: receive_simple (fuzz, wire); break;
      case STRUCTURED_MAGIC: receive_structured (fuzz, wire); break;
      default: fuzz_fail (fuzz, "this is no answer");
      }
    }
  }
}
