/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Headers of metadata blocks, and superblocks.
 */

#ifndef FOLIO_THIN_SUPER_H
#define FOLIO_THIN_SUPER_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/thin/meta.h"

/* The checksum of a block or record of so many bytes, header and all. */
extern uint64_t thin_checksum (const struct thin_block_header *h, size_t bytes);

/* Fill in the header of a block but for kind, level and count; all else is there. */
extern void thin_seal (struct thin_block_header *h, uint32_t magic,
                       const uint8_t *uuid, uint64_t address,
                       uint64_t generation, size_t bytes);

/* Is it of this kind, image and place, and as it was written?  (The generation is
 * another matter.)
 */
extern bool thin_sealed (const struct thin_block_header *h, uint32_t magic,
                         const uint8_t *uuid, uint64_t address, size_t bytes);

/* Features of which a program that does not know them may only read the image. */
#define THIN_KNOWN_RO_COMPAT UINT64_C (0)
#define THIN_KNOWN_INCOMPAT UINT64_C (0)

/* The superblock as it is at address: 4096 bytes. */
extern void thin_super_encode (const struct thin_super *super, uint64_t address,
                               void *block);

#endif /* FOLIO_THIN_SUPER_H */
