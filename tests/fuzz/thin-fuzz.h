/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The fuzzer of thin images, see thin-fuzz.c, and its inputs.
 */

#ifndef FOLIO_THIN_FUZZ_H
#define FOLIO_THIN_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define FUZZ_BLOCKS UINT64_C (640) /* of the store */
#define FUZZ_HEADER 5              /* bytes, of a record of the input */
#define FUZZ_SEAL 1                /* flags of one */
#define FUZZ_CHAIN 2
#define FUZZ_RECORDS 300 /* that are looked at, at most */
#define FUZZ_LOOKUPS 5000
#define FUZZ_SNAPSHOTS 8

/* An input is done: libFuzzer's name for it. */
extern int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

/* Put an input's blocks on a store of FUZZ_BLOCKS, zeroed. */
extern void fuzz_unpack (const uint8_t *data, size_t size, uint8_t *content);

/* Write an input with all metadata of such a store. */
extern void fuzz_pack (const uint8_t *content, FILE *fp);

/* The UUID, 16 bytes, that all images of inputs have. */
extern const uint8_t *fuzz_uuid (void);

#endif /* FOLIO_THIN_FUZZ_H */
