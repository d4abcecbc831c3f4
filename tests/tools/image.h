/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The oracle's copy of the disk: what every byte must be.
 */

#ifndef FOLIO_TESTS_IMAGE_H
#define FOLIO_TESTS_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "history.h"

struct image {
  uint64_t size; /* bytes */
  uint8_t *bytes;
  uint64_t runs;          /* times it was saved */
  struct history history; /* of what made the image */
};

/* A disk of zeroes. */
void image_init (struct image *image, uint64_t size);
void image_free (struct image *image);

/* Load what image_save wrote.  Returns false if there is no such file;
 * ends the program if it is not a state file.
 */
bool image_load (struct image *image, const char *path);

/* Write image and history to a new file at path. */
void image_save (struct image *image, const char *path);

/* Take the content of the file at path, which has the image's size. */
void image_read_file (struct image *image, const char *path);

/* Do what op does to the disk.  The caller sees to it that nobody else
 * uses these bytes.
 */
void image_apply (struct image *image, const struct op *op);

/* Is got what expected says?  offset: where these bytes lie on the
 * disk.  If not, print where, what and its history to stderr, and
 * return false; who names the reader.
 */
bool image_check (struct image *image, uint64_t offset, const uint8_t *expected,
                  const uint8_t *got, size_t length, const char *who);

/* The same for an extent: if flags say that the bytes read as zeroes
 * or are a hole, expected must be zeroes.
 */
bool image_check_extent (struct image *image, uint64_t offset,
                         const uint8_t *expected, size_t length, uint32_t flags,
                         const char *who);

/* Compare the file at path with the image.  False and a report if they
 * differ.
 */
bool image_compare_file (struct image *image, const char *path);

#endif /* FOLIO_TESTS_IMAGE_H */
