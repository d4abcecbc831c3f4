/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A screen that shows what all disks do, again and again.
 */

#ifndef FOLIOCTL_TOP_H
#define FOLIOCTL_TOP_H

#include "folioctl/conn.h"

/* count: how often it is shown; 0: until q, or a signal. */
extern void top (struct conn *conn, double interval, unsigned count);

#endif /* FOLIOCTL_TOP_H */
