/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Messages, each one line, and sizes as people read them.
 */

#ifndef FOLIO_IMG_SAY_H
#define FOLIO_IMG_SAY_H

#include <stdint.h>

#include "fs/env.h"

/* "folio-img: ...", on standard error, whatever the words hold. */
extern void say_error (const char *fmt, ...)
  __attribute__ ((format (printf, 1, 2)));

/* The log of an env: errors and infos are messages like others. */
extern void say_log (struct env *env, enum log_level level,
                     const char *message);

/* As "1.5 GiB", or "512 bytes"; of len bytes (24 are enough).  Returns buf. */
extern const char *say_size (char *buf, unsigned len, uint64_t bytes);

#endif /* FOLIO_IMG_SAY_H */
