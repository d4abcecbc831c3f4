/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A disk to be read, in either format.
 */

#ifndef FOLIO_IMG_DISK_H
#define FOLIO_IMG_DISK_H

#include <stdbool.h>
#include <stdint.h>

#include "img/image.h"

enum img_format { FORMAT_RAW, FORMAT_THIN };

/* Their names, NULL after the last. */
extern const char *const disk_formats[];

/* What stands in a place is asked for by whole blocks of so many bytes. */
#define DISK_BLOCK UINT64_C (4096)

/* What stands at a place of the disk, and for how many bytes: data at a place of the
 * store, or zeroes.
 */
struct disk_part {
  uint64_t length; /* bytes, more than 0 */
  bool data;
  uint64_t addr; /* byte on the store, if data */
};

struct disk {
  struct image image; /* of a raw one just its store, image.at */
  uint64_t size;      /* bytes */
  enum img_format format;
  bool is_snapshot;
  struct thin_snapshot snapshot; /* if it is one */
};

/* Open it to be read; snapshot: one of a thin disk, or NULL; salvage: what is damaged is left
 * out, as zeroes.  Returns 0; or a negative errno, and has said why.
 */
extern int disk_open (struct disk *d, const char *name, enum img_format format,
                      const char *snapshot, bool salvage);

/* Was something left out? */
extern bool disk_is_damaged (const struct disk *d);

/* What stands at pos, for up to length bytes?  Returns as disk_open. */
extern int disk_look (struct disk *d, uint64_t pos, uint64_t length,
                      struct disk_part *part);

extern void disk_close (struct disk *d);

#endif /* FOLIO_IMG_DISK_H */
