/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The oracle's copy of the disk.  See image.h.
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "image.h"
#include "state-file.h"
#include "util.h"

struct header {
  char magic[STATE_MAGIC];
  uint64_t size;
  uint64_t runs;
};

static const char magic[STATE_MAGIC] = "oracle1";

/* Bytes of a file compared in one go. */
#define CHUNK (1 << 20)

void
image_init (struct image *image, uint64_t size)
{
  image->size = size;
  image->bytes = xcalloc (size, 1);
  image->runs = 0;
  history_init (&image->history);
}

void
image_free (struct image *image)
{
  history_free (&image->history);
  free (image->bytes);
  image->bytes = NULL;
}

bool
image_load (struct image *image, const char *path)
{
  struct header header;
  int fd = state_open (path, magic, &header, sizeof header);

  if (fd < 0)
    return false;
  image_init (image, header.size);
  image->runs = header.runs;
  history_load (&image->history, fd, path);
  read_all (fd, path, image->bytes, image->size);
  close (fd);
  return true;
}

void
image_save (struct image *image, const char *path)
{
  struct header header = { .size = image->size, .runs = ++image->runs };
  int fd;

  memcpy (header.magic, magic, sizeof magic);
  fd = state_create (path, &header, sizeof header);
  history_save (&image->history, fd, path);
  write_all (fd, path, image->bytes, image->size);
  state_commit (fd, path);
}

static int
open_disk (const struct image *image, const char *path)
{
  int fd = open (path, O_RDONLY | O_CLOEXEC);
  off_t end = fd < 0 ? -1 : lseek (fd, 0, SEEK_END);

  if (end < 0 || lseek (fd, 0, SEEK_SET) < 0)
    die ("%s: %s", path, strerror (errno));
  if ((uint64_t) end != image->size)
    die ("%s: %lld bytes, not %" PRIu64, path, (long long) end, image->size);
  return fd;
}

void
image_read_file (struct image *image, const char *path)
{
  int fd = open_disk (image, path);

  read_all (fd, path, image->bytes, image->size);
  close (fd);
}

void
image_apply (struct image *image, const struct op *op)
{
  if (op_modifies (op))
    op_content (op, op->offset, image->bytes + op->offset, op->length);
}

static void
print_bytes (const char *name, const uint8_t *p, size_t n)
{
  size_t i;

  fprintf (stderr, "  %-9s", name);
  for (i = 0; i < n && i < 16; i++)
    fprintf (stderr, " %02x", p[i]);
  fputc ('\n', stderr);
}

/* The first byte that differs; length if there is none. */
static size_t
first_difference (const uint8_t *a, const uint8_t *b, size_t length)
{
  size_t i = 0;

  while (i < length && a[i] == b[i])
    i++;
  return i;
}

static size_t
count_differences (const uint8_t *a, const uint8_t *b, size_t length)
{
  size_t i, n = 0;

  for (i = 0; i < length; i++)
    n += a[i] != b[i];
  return n;
}

bool
image_check (struct image *image, uint64_t offset, const uint8_t *expected,
             const uint8_t *got, size_t length, const char *who)
{
  size_t i, n;

  if (memcmp (expected, got, length) == 0)
    return true;
  i = first_difference (expected, got, length);
  n = length - i;
  flockfile (stderr);
  fprintf (stderr,
           "MISMATCH at offset %" PRIu64 ", found by %s\n"
           "  in %" PRIu64 "+%zu: %zu bytes are wrong, the first one at +%zu\n",
           offset + i, who, offset, length,
           count_differences (expected, got, length), i);
  print_bytes ("expected", expected + i, n);
  print_bytes ("got", got + i, n);
  for (n = 1; i + n < length && expected[i + n] != got[i + n]; n++)
    ;
  history_tell (&image->history, stderr, offset + i, got + i, n);
  funlockfile (stderr);
  return false;
}

bool
image_check_extent (struct image *image, uint64_t offset,
                    const uint8_t *expected, size_t length, uint32_t flags,
                    const char *who)
{
  size_t i = 0;

  if (!(flags & (LIBNBD_STATE_HOLE | LIBNBD_STATE_ZERO)))
    return true;
  while (i < length && expected[i] == 0)
    i++;
  if (i == length)
    return true;
  flockfile (stderr);
  fprintf (stderr,
           "MISMATCH: data is reported as%s%s at offset %" PRIu64
           ", found by %s\n  the extent covers %" PRIu64 "+%zu\n",
           flags & LIBNBD_STATE_HOLE ? " hole" : "",
           flags & LIBNBD_STATE_ZERO ? " zero" : "", offset + i, who, offset,
           length);
  print_bytes ("expected", expected + i, length - i);
  history_tell (&image->history, stderr, offset + i, NULL, 0);
  funlockfile (stderr);
  return false;
}

bool
image_compare_file (struct image *image, const char *path)
{
  int fd = open_disk (image, path);
  uint8_t *buf = xcalloc (CHUNK, 1);
  uint64_t offset = 0;
  bool ok = true;

  while (ok && offset < image->size) {
    size_t n = CHUNK;

    n = n < image->size - offset ? n : image->size - offset;
    read_all (fd, path, buf, n);
    ok = image_check (image, offset, image->bytes + offset, buf, n,
                      "comparing the image file");
    offset += n;
  }
  free (buf);
  close (fd);
  return ok;
}
