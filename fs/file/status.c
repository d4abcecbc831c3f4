/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The file store: what is data, what was allocated and never written, what is
 * a hole.  SEEK_DATA and SEEK_HOLE know of data in the page cache, FIEMAP
 * knows of allocated ranges among what SEEK_HOLE calls a hole.  What can't be
 * found out is data; and so is what a file has lost that was truncated behind
 * our back, so that it is not taken for zeroes: reading it fails.
 */

#include <errno.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "fs/file/cut.h"
#include "fs/file/status.h"
#include "fs/num.h"

#define FIEMAP_BATCH 128 /* extents asked for at once */
#define MAX_RUNS 256     /* reported by one call, about */

struct status {
  struct file_store *file;
  store_extent_fn *fn;
  void *opaque;
  uint64_t pos, end;
  unsigned runs;
};

static void
report (struct status *s, uint64_t to, enum store_extent type)
{
  to = min_u64 (to, s->end);
  if (to <= s->pos)
    return;
  s->fn (s->opaque, s->pos, to - s->pos, type);
  s->pos = to;
  s->runs++;
}

/* One extent of a range that SEEK_HOLE calls a hole: yet it may have been
 * written since, or be of a kind that we know nothing of.
 */
static void
report_extent (struct status *s, const struct fiemap_extent *fe, uint64_t end)
{
  const uint32_t harmless = FIEMAP_EXTENT_UNWRITTEN | FIEMAP_EXTENT_LAST |
                            FIEMAP_EXTENT_MERGED | FIEMAP_EXTENT_SHARED;
  bool unwritten =
    (fe->fe_flags & FIEMAP_EXTENT_UNWRITTEN) && !(fe->fe_flags & ~harmless);

  report (s, min_u64 (fe->fe_logical, end), STORE_HOLE);
  report (s, min_u64 (fe->fe_logical + fe->fe_length, end),
          unwritten ? STORE_UNWRITTEN : STORE_DATA);
}

/* Report from s->pos on, by one question; up to `end' if that answers it. */
static void
report_batch (struct status *s, struct fiemap *fm, uint64_t end)
{
  unsigned i;

  *fm = (struct fiemap) {
    .fm_start = s->pos,
    .fm_length = end - s->pos,
    .fm_extent_count = FIEMAP_BATCH,
  };
  if (ioctl (s->file->fd, FS_IOC_FIEMAP, fm) < 0) {
    /* Without FIEMAP there is nothing to tell apart. */
    report (s, end,
            errno == EOPNOTSUPP || errno == ENOTTY ? STORE_HOLE : STORE_DATA);
    return;
  }
  for (i = 0; i < fm->fm_mapped_extents; i++)
    report_extent (s, &fm->fm_extents[i], end);
  if (fm->fm_mapped_extents < FIEMAP_BATCH)
    report (s, end, STORE_HOLE);
}

static void
report_hole (struct status *s, uint64_t end)
{
  struct fiemap *fm =
    malloc (sizeof *fm + FIEMAP_BATCH * sizeof (struct fiemap_extent));

  if (fm == NULL) {
    report (s, end, STORE_DATA);
    return;
  }
  while (s->pos < end && s->runs < MAX_RUNS)
    report_batch (s, fm, end);
  free (fm);
}

/* Where data, or a hole, begins at pos or after it; s->end if not before.
 * Returns a negative errno if that is not to be found out.
 */
static int64_t
seek (const struct status *s, int whence)
{
  off_t r = lseek (s->file->fd, (off_t) s->pos, whence);

  if (r < 0 && errno != ENXIO)
    return -errno;
  return r < 0 || (uint64_t) r > s->end ? (int64_t) s->end : r;
}

/* Where the file ends, or did once, but s->end if that is before.  To be asked
 * after where holes are, which all that was cut off by then may have been taken
 * for.
 */
static int64_t
file_end (const struct status *s)
{
  struct stat st;

  if (fstat (s->file->fd, &st) < 0)
    return -errno;
  file_note_end (s->file, (uint64_t) st.st_size);
  return (int64_t) min_u64 (atomic_load (&s->file->end), s->end);
}

/* The hole from s->pos up to where the data at `data' begins, or the file ends.
 * Returns 1 if there is more to report, 0 if not, or a negative errno.
 */
static int
report_up_to (struct status *s, int64_t data)
{
  int64_t end = file_end (s);

  if (end < 0)
    return (int) end;
  if (data <= end) {
    report_hole (s, (uint64_t) data);
    return s->pos == (uint64_t) data && s->pos < s->end;
  }
  report_hole (s, (uint64_t) end);
  if (s->pos >= (uint64_t) end)
    report (s, s->end, STORE_DATA);
  return 0;
}

/* One hole, which may be empty, and the data after it, likewise. */
static int
report_next (struct status *s)
{
  int64_t data = seek (s, SEEK_DATA), hole;
  uint64_t sector_end;
  int r;

  if (data < 0)
    return (int) data;
  r = report_up_to (s, data);
  if (r <= 0)
    return r;
  hole = seek (s, SEEK_HOLE);
  if (hole < 0)
    return (int) hole;
  /* If a hole was made just now where data began: say data, and move on. */
  sector_end = (s->pos | 511) + 1;
  report (s, (uint64_t) hole > s->pos ? (uint64_t) hole : sector_end,
          STORE_DATA);
  return 0;
}

int
file_block_status (struct store *store, uint64_t offset, uint64_t length,
                   store_extent_fn *fn, void *opaque)
{
  struct status s = {
    .file = file_store_of (store),
    .fn = fn,
    .opaque = opaque,
    .pos = offset,
    .end = store->geo.size,
  };

  if (offset >= store->geo.size || length == 0)
    return -EINVAL;
  if (length < s.end - offset)
    s.end = offset + length;
  while (s.pos < s.end && s.runs < MAX_RUNS)
    if (!store->geo.can_extents || report_next (&s) < 0)
      report (&s, s.end, STORE_DATA);
  return 0;
}

bool
file_status_probe (const struct file_store *file)
{
  return !file->block_device &&
         (lseek (file->fd, 0, SEEK_DATA) >= 0 || errno == ENXIO);
}
