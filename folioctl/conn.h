/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The client's side of the control socket.  What goes wrong ends the program, with a
 * line that says why.
 */

#ifndef FOLIOCTL_CONN_H
#define FOLIOCTL_CONN_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

struct conn {
  FILE *in;
  int fd;
  json_int_t id; /* of the last command */
};

/* Status 1: the server refused something; 2: it cannot be asked. */
#define EXIT_REFUSED 1
#define EXIT_TROUBLE 2

extern void die (int status, const char *fmt, ...)
  __attribute__ ((format (printf, 2, 3), noreturn));

/* Connect, and take the greeting. */
extern void conn_open (struct conn *conn, const char *path);
extern void conn_close (struct conn *conn);

/* Begin a command; arguments (or NULL) are freed. */
extern void conn_begin (struct conn *conn, const char *command,
                        json_t *arguments);

/* The next line, or NULL when the server has hung up. */
extern json_t *conn_line (struct conn *conn);

/* What the command returns; to be freed.  fn (or NULL) is called for each event
 * meanwhile.
 */
typedef void conn_event_fn (const json_t *event);
extern json_t *conn_answer (struct conn *conn, conn_event_fn *fn);

/* Both. */
extern json_t *conn_run (struct conn *conn, const char *command,
                         json_t *arguments);

/* --- taking answers apart --- */

/* 0 for what is not there, or no number; "" for what is no string. */
extern double number_of (const json_t *object, const char *key);
extern const char *string_of (const json_t *object, const char *key);
extern bool is_known (const json_t *object, const char *key);

#endif /* FOLIOCTL_CONN_H */
