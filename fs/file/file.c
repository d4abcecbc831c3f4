/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The file store: opening, geometry, closing.  The rest is in
 * store-file-open.c    finding, making and locking the file
 * store-file-direct.c  O_DIRECT and its alignment
 * store-file-run.c     requests into an engine and out of it
 * store-file-ring.c    the engine that is an io_uring
 * store-file-threads.c the engine that is some threads
 * store-file-request.c what calls to the kernel a request takes
 * store-file-io.c      reads and writes
 * store-file-zero.c    zero and trim
 * store-file-punch.c   whether holes can be punched
 * store-file-cut.c     what is cut off while it is served
 * store-file-status.c  holes
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fs/file/file-impl.h"

#define BEST_IO (1u << 20)
#define MAX_IO (8u << 20)
#define MAX_DEPTH 4096u

static void
file_close (struct store *store)
{
  struct store_file *sf = store_file_of (store);

  if (sf->created)
    file_uncreate (sf);
  if (sf->direct_fd >= 0)
    close (sf->direct_fd);
  if (sf->fd >= 0)
    close (sf->fd);
  if (sf->sync_fd >= 0)
    close (sf->sync_fd);
  if (sf->zeroes)
    munmap (sf->zeroes, ZEROES_SIZE);
  pthread_mutex_destroy (&sf->lock);
  free (sf->path);
  free (sf);
}

/* From now on the file is there to stay. */
static int
attach_and_keep (struct store *store, struct ev_loop *loop)
{
  int r = file_attach (store, loop);

  if (r == 0)
    store_file_of (store)->created = false;
  return r;
}

static const struct store_ops file_ops = {
  .name = "file",
  .attach = attach_and_keep,
  .detach = file_detach,
  .submit = file_submit,
  .block_status = file_block_status,
  .close = file_close,
};

static unsigned
clamp_depth (unsigned depth)
{
  if (depth < 1)
    return 1;
  return depth < MAX_DEPTH ? depth : MAX_DEPTH;
}

/* Memory that reads as zero and, never written, takes none. */
static void *
map_zeroes (void)
{
  void *p =
    mmap (NULL, ZEROES_SIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

  return p == MAP_FAILED ? NULL : p;
}

static struct store_file *
new_store (struct env *env, const struct store_file_options *options)
{
  struct store_file *sf = calloc (1, sizeof *sf);

  if (sf == NULL)
    return NULL;
  sf->store.ops = &file_ops;
  sf->store.env = env;
  sf->store.geo.readonly = options->readonly;
  sf->sync_fd = sf->fd = sf->direct_fd = -1;
  sf->io = options->io;
  store_queue_init (&sf->queue, clamp_depth (options->io_depth));
  pthread_mutex_init (&sf->lock, NULL);
  sf->path = strdup (options->path);
  sf->zeroes = map_zeroes ();
  if (sf->path && sf->zeroes)
    return sf;
  file_close (&sf->store);
  return NULL;
}

static void
fill_geometry (struct store_file *sf, const struct stat *st)
{
  struct store_geometry *geo = &sf->store.geo;
  dev_t disk = sf->block_device ? st->st_rdev : st->st_dev;

  sf->end = geo->size;
  sf->fixed_medium =
    sf->block_device && file_queue_attribute (disk, "../removable", 1) == 0;
  geo->best_io = BEST_IO;
  geo->max_io = MAX_IO;
  geo->rotational = file_queue_attribute (disk, "rotational", 0) != 0;
  geo->can_fua = !geo->readonly;
  geo->can_extents = file_status_probe (sf);
  file_zero_probe (sf, st);
}

int
store_file_open (struct env *env, const struct store_file_options *options,
                 struct store **store, char *err, size_t errlen)
{
  const struct store_message m = { err, errlen };
  struct store_file *sf = new_store (env, options);
  struct stat st;
  int r;

  if (sf == NULL)
    return store_refuse (&m, -ENOMEM, "out of memory");
  if ((sf->io == FILE_IO_URING && (r = file_ring_probe (&m)) < 0) ||
      (r = file_open (sf, options, &st, &m)) < 0 ||
      (r = file_open_direct (sf, options->direct, &st, &m)) < 0) {
    file_close (&sf->store);
    return r;
  }
  fill_geometry (sf, &st);
  *store = &sf->store;
  return 0;
}
