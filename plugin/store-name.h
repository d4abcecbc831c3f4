/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The names of stores, as they are given to store=.
 */

#ifndef FOLIO_STORE_NAME_H
#define FOLIO_STORE_NAME_H

/* What is wrong with the store's name, NULL if nothing: a driver that is not
 * here, or one that nobody knows.  (A file may have any of these names: as
 * file:nbd://x, or ./rbd:x.)
 */
extern const char *store_name_wrong (const char *value);

/* The name without what says that it is a file's. */
extern const char *store_name_rest (const char *value);

/* What is allowed, in words. */
extern const char store_name_allowed[];

#endif /* FOLIO_STORE_NAME_H */
