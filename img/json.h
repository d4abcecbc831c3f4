/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * JSON on standard output.
 */

#ifndef FOLIO_IMG_JSON_H
#define FOLIO_IMG_JSON_H

#include <jansson.h>

/* Print it, readable, and free it.  NULL: there was no memory to make it.  Returns 0;
 * or a negative errno, and has said why.
 */
extern int json_print (json_t *json);

/* One element of a list, on a line of its own; first: it is the first.  Then the list's
 * end.  Likewise.
 */
extern int json_print_element (json_t *json, bool first);
extern void json_print_end (bool empty);

#endif /* FOLIO_IMG_JSON_H */
