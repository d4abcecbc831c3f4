/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The file store: opening, geometry, closing.  The rest, each over those it uses:
 *
 * open.c     finding, making and opening the file
 * lock.c     and locking it
 * direct.c   O_DIRECT and its alignment
 * run.c      requests into an engine and out of it
 * ring.c     the engine that is an io_uring
 * threads.c  the engine that is some threads
 * request.c  what calls to the kernel a request takes
 * zero.c     zero and trim
 * punch.c    whether holes can be punched
 * io.c       reads and writes
 * status.c   holes
 * cut.c      what is cut off while it is served
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fs/file/direct.h"
#include "fs/file/file.h"
#include "fs/file/open.h"
#include "fs/file/ring.h"
#include "fs/file/run.h"
#include "fs/file/state.h"
#include "fs/file/status.h"
#include "fs/file/zero.h"

#define BEST_IO (1u << 20)
#define MAX_IO (8u << 20)

static void
file_close (struct store *store)
{
  struct file_store *file = file_store_of (store);

  if (file->created)
    file_uncreate (file);
  if (file->direct_fd >= 0)
    close (file->direct_fd);
  if (file->fd >= 0)
    close (file->fd);
  if (file->sync_fd >= 0)
    close (file->sync_fd);
  if (file->zeroes)
    munmap (file->zeroes, ZEROES_SIZE);
  pthread_mutex_destroy (&file->lock);
  free (file->path);
  free (file);
}

static int
file_peek (struct store *store, uint64_t offset, void *buf, size_t n)
{
  const struct file_store *file = file_store_of (store);
  ssize_t r;

  while (n > 0) {
    r = pread (file->sync_fd, buf, n, (off_t) offset);
    if (r < 0 && errno != EINTR)
      return -errno;
    if (r == 0) {
      memset (buf, 0, n);
      break;
    }
    r = r < 0 ? 0 : r;
    buf = (char *) buf + r;
    offset += (uint64_t) r;
    n -= (size_t) r;
  }
  return 0;
}

static const struct store_ops file_ops = {
  .name = "file",
  .peek = file_peek,
  .attach = file_attach,
  .detach = file_detach,
  .submit = file_submit,
  .resume = file_resume,
  .block_status = file_block_status,
  .close = file_close,
};

static struct file_store *
new_store (struct env *env, const struct file_store_options *options)
{
  struct file_store *file = calloc (1, sizeof *file);

  if (file == NULL)
    return NULL;
  file->store.ops = &file_ops;
  file->store.env = env;
  file->store.geo.readonly = options->readonly;
  file->sync_fd = file->fd = file->direct_fd = -1;
  file->io = options->io;
  store_queue_init (&file->queue, &file->store, options->io_depth);
  pthread_mutex_init (&file->lock, NULL);
  file->path = strdup (options->path);
  file->zeroes = store_map (ZEROES_SIZE, PROT_READ);
  if (file->path && file->zeroes)
    return file;
  file_close (&file->store);
  return NULL;
}

static void
fill_geometry (struct file_store *file, const struct stat *st)
{
  struct store_geometry *geo = &file->store.geo;
  dev_t disk = file->block_device ? st->st_rdev : st->st_dev;

  file->end = geo->size;
  file->fixed_medium =
    file->block_device && file_queue_attribute (disk, "../removable", 1) == 0;
  geo->best_io = BEST_IO;
  geo->max_io = MAX_IO;
  geo->rotational = file_queue_attribute (disk, "rotational", 0) != 0;
  geo->exclusive = true;
  geo->shared = file->block_device;
  geo->can_fua = !geo->readonly && file_fua_is_sound (file);
  geo->can_extents = file_status_probe (file);
  file_zero_probe (file, st);
}

int
file_store_open (struct env *env, const struct file_store_options *options,
                 struct store **store, char *err, size_t errlen)
{
  const struct store_message m = { err, errlen };
  struct file_store *file = new_store (env, options);
  struct stat st;
  int r;

  if (file == NULL)
    return store_refuse (&m, -ENOMEM, "out of memory");
  if ((file->io == FILE_IO_URING && (r = file_ring_probe (&m)) < 0) ||
      (r = file_open (file, options, &st, &m)) < 0 ||
      (r = file_open_direct (file, options->direct, &st, &m)) < 0) {
    file_close (&file->store);
    return r;
  }
  fill_geometry (file, &st);
  *store = &file->store;
  return 0;
}
