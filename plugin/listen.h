/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Sockets that listen besides nbdkit's: on loopback, or in the file system for
 * whom its permissions let in.
 */

#ifndef FOLIO_LISTEN_H
#define FOLIO_LISTEN_H

#include <stddef.h>
#include <sys/types.h>

struct listener {
  int fd;     /* listening, not blocking, closed on exec; -1: none */
  char *path; /* of the socket in the file system, absolute; or NULL; owned */
  dev_t dev;  /* which file that is */
  ino_t ino;
};

/* What is wrong with an address, [ADDRESS:]PORT or unix:PATH; NULL: nothing. */
extern const char *listen_wrong (const char *address);

/* What is behind unix: in such an address, or NULL. */
extern const char *listen_path (const char *address);

/* Listen on [ADDRESS:]PORT, by default on 127.0.0.1; or at an absolute path, where the
 * socket has these permissions.  What a server left there that is no more is
 * replaced; a socket that answers, or any other file, never.  While no other threads
 * run.  Both return 0 or a negative errno; then err, of size bytes, has one line
 * that says why.
 */
extern int listen_port (const char *address, struct listener *listener,
                        char *err, size_t size);
extern int listen_unix (const char *path, mode_t mode,
                        struct listener *listener, char *err, size_t size);

/* Close it, and remove its file if that is still ours.  Also if there is none. */
extern void listen_end (struct listener *listener);

#endif /* FOLIO_LISTEN_H */
