/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * One client of the control socket: lines that come, lines that go.  All on the
 * thread of the control socket.
 */

#ifndef FOLIO_CONTROL_CLIENT_H
#define FOLIO_CONTROL_CLIENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a client may take of us: bytes of a line, of answers that it does not read,
 * ns for a line that has begun, and without a word.
 */
#define CLIENT_LINE_MAX ((size_t) 65536)
#define CLIENT_OUT_MAX ((size_t) 1 << 20)
#define CLIENT_LINE_TIME (10 * NSEC_PER_SEC)
#define CLIENT_IDLE_TIME (3600 * NSEC_PER_SEC)

struct client {
  int fd;
  char *in;           /* CLIENT_LINE_MAX bytes */
  size_t in_size;     /* bytes of it that have come */
  char *out;          /* not sent yet */
  size_t out_size;    /* bytes of it */
  bool ended;         /* no more is read; to be closed when all is sent */
  bool broken;        /* to be closed at once */
  unsigned waits;     /* for so many long commands */
  uint64_t last_line; /* ns: the last one was complete */
  uint64_t since;     /* ns: the one that comes has begun; 0: none */
};

/* Returns NULL without memory; then fd is not closed. */
extern struct client *client_create (int fd, uint64_t now);
extern void client_destroy (struct client *client);

/* Have a line sent: the object, which is freed.  NULL: there is no memory, and the
 * client is broken.
 */
extern void client_send (struct client *client, json_t *object);

/* The client's socket can be read, or written.  fn is called for each line that is
 * complete, without its end.
 */
typedef void client_line_fn (void *opaque, struct client *client,
                             const char *line, size_t size);
extern void client_readable (struct client *client, uint64_t now,
                             client_line_fn *fn, void *opaque);
extern void client_writable (struct client *client);

/* What to poll for. */
extern short client_events (const struct client *client);

/* Is it to be closed now? */
extern bool client_is_over (const struct client *client, uint64_t now);

/* When that may be so though nothing has come (ns). */
extern uint64_t client_deadline (const struct client *client);

/* An error, as it is sent. */
extern json_t *client_error (const char *class, const char *desc);

#endif /* FOLIO_CONTROL_CLIENT_H */
