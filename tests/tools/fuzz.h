/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The protocol fuzzer: an NBD client that may send anything, and knows what the
 * disk must hold and which answers are possible.
 *
 *   fuzz.c        options, the run, what is rude to the connection itself
 *   fuzz-gen.c    which requests are made
 *   fuzz-check.c  whether an answer is right, and what has changed
 *   fuzz-wire.c   the protocol: connecting, sending, receiving
 */

#ifndef FOLIO_TESTS_FUZZ_H
#define FOLIO_TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util.h"

/* Commands; the first that the protocol does not have follows the last. */
enum {
  CMD_READ,
  CMD_WRITE,
  CMD_DISC,
  CMD_FLUSH,
  CMD_TRIM,
  CMD_CACHE,
  CMD_ZERO,
  CMD_STATUS,
  NR_CMDS
};

/* Their flags. */
#define CMD_FUA 0x1u
#define CMD_NO_HOLE 0x2u
#define CMD_DF 0x4u
#define CMD_REQ_ONE 0x8u
#define CMD_FAST_ZERO 0x10u
#define CMD_FLAGS 0x1fu /* there are no others */

/* What a server offers. */
#define HAS_READ_ONLY 0x2u
#define HAS_FLUSH 0x4u
#define HAS_FUA 0x8u
#define HAS_TRIM 0x20u
#define HAS_ZERO 0x40u
#define HAS_CACHE 0x400u

/* Errors of the protocol. */
#define ERR_ENOTSUP 95u

/* The most that a request may carry, and that one is sent of. */
#define MAX_REQUEST (UINT32_C (64) << 20)
#define MAX_WRITE (UINT32_C (512) << 10)

/* What a block status says of a range. */
#define STATE_ZERO 0x2u
#define MAX_EXTENTS 4096

struct extent {
  uint32_t length, state;
};

struct request {
  uint16_t cmd, flags;
  uint32_t count;
  uint64_t offset, handle;
  uint8_t *data; /* of a write, or room for what is read; or NULL */
  bool answered;
  uint32_t error;
  unsigned nr_extents; /* as many as were there, up to MAX_EXTENTS */
  struct extent *extents;
};

/* One connection, and what was negotiated on it. */
struct wire {
  int fd;
  uint64_t size;
  uint16_t has;
  bool structured, status;
};

#define NR_WIRES 3
#define MAX_BURST 8

struct fuzz {
  const char *socket;
  uint64_t seed, requests;
  bool partial;     /* a fast zero that is declined may have zeroed some */
  const char *save; /* file for what the disk must hold, or NULL */

  struct rng rng;
  struct wire wires[NR_WIRES];
  uint64_t area; /* bytes from the disk's start that are looked at */
  uint8_t *disk; /* what they must be */
  struct request burst[MAX_BURST];
  unsigned nr_burst;
  uint64_t sent, refused, rude; /* counts */
};

/* Print what went wrong, with the seed and the requests sent last, and end. */
extern void fuzz_fail (struct fuzz *fuzz, const char *fmt, ...)
  __attribute__ ((format (printf, 2, 3), noreturn));

/* --- fuzz-wire.c; all end the program when the server does not talk --- */

extern void wire_open (struct fuzz *fuzz, struct wire *wire, bool structured,
                       bool status);
extern void wire_close (struct wire *wire);
extern void wire_send (struct fuzz *fuzz, struct wire *wire,
                       const struct request *request);

/* Only the first n bytes of it, and with this magic number. */
extern void wire_send_part (struct fuzz *fuzz, struct wire *wire,
                            const struct request *request, uint32_t magic,
                            size_t n);
#define REQUEST_MAGIC UINT32_C (0x25609513)

/* Take answers until all of the burst's requests have theirs. */
extern void wire_receive (struct fuzz *fuzz, struct wire *wire);

/* The server has ended the connection, or does. */
extern void wire_expect_end (struct fuzz *fuzz, struct wire *wire);

/* --- fuzz-gen.c --- */

/* Make a request, of the bytes from `from' to `to' if that is not 0, else of
 * anything.
 */
extern void generate (struct fuzz *fuzz, const struct wire *wire,
                      struct request *request, uint64_t from, uint64_t to);

/* --- fuzz-check.c --- */

/* The request was answered: is that right?  Takes note of what it has changed. */
extern void check (struct fuzz *fuzz, const struct wire *wire,
                   const struct request *request);

#endif /* FOLIO_TESTS_FUZZ_H */
