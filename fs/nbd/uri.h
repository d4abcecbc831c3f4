/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * NBD URIs, as far as they concern more than libnbd.
 */

#ifndef FOLIO_NBD_URI_H
#define FOLIO_NBD_URI_H

#include <stdbool.h>
#include <stddef.h>

/* Is this store named by a URI of NBD? */
extern bool nbd_store_is_uri (const char *name);

/* The URI with its relative paths (of a socket, of certificates, of a file of
 * keys) made absolute, since a server that goes into the background leaves its
 * directory; to be freed.  NULL, and errno: out of memory, or the current
 * directory has no path.
 */
extern char *nbd_store_absolute_uri (const char *uri);

/* Has it no parameters but those that there are, each where it means something?
 * If not, says in why (size bytes) what is wrong and what is allowed.
 */
extern bool nbd_store_check_uri (const char *uri, char *why, size_t size);

/* Of a URI that was checked: the directory of certificates that it names (to be
 * freed) or NULL, and whether it names a file of keys.  Returns 0 or -ENOMEM.
 */
extern int nbd_store_tls_paths (const char *uri, char **certificates,
                                bool *psk);

#endif /* FOLIO_NBD_URI_H */
