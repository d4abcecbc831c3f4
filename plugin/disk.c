/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * One served disk.
 */

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "plugin/disk.h"
#include "plugin/format.h"
#include "plugin/log.h"
#include "plugin/memory.h"
#include "plugin/parse.h"
#include "plugin/shutdown.h"
#include "plugin/signals.h"

/* A connection that is open.  They are kept in a list because nbdkit does not
 * close those that are open when it is told to stop.
 */
struct client {
  struct client *next;
  struct conn *conn; /* owned */
};

/* What is not NULL exists.  Made in this order, ended in reverse. */
struct disk {
  struct env env;
  struct cache *cache;
  struct store *store;
  struct fs *fs;
  struct mapping *mapping;
  struct watcher *watcher;
  uint64_t shutdown_timeout; /* ns; 0: none */

  pthread_mutex_t lock; /* of clients */
  struct client *clients;
};

/* Such a cache works until it is full, and then the machine swaps or kills. */
static void
warn_of_size (uint64_t cache_size)
{
  uint64_t memory =
    (uint64_t) sysconf (_SC_PHYS_PAGES) * (uint64_t) sysconf (_SC_PAGESIZE);
  char shown[24];

  if (cache_size <= memory)
    return;
  format_size (shown, sizeof shown, cache_size);
  nbdkit_error ("folio: warning: cache-size=%s is more than the memory of this "
                "machine, %" PRIu64 " MiB",
                shown, memory >> 20);
}

static int
make_cache (struct disk *disk, const struct config *config, bool user,
            char *err)
{
  uint64_t bytes = config->cache_size;
  int r = config->preallocate ? memory_fits (bytes, err, CONFIG_ERROR_MAX) : 0;

  if (r < 0)
    return r;
  r = cache_create (&disk->env, bytes, &disk->cache);
  errno = -r;
  if (r < 0) {
    snprintf (err, CONFIG_ERROR_MAX,
              "cache-size=%" PRIu64 ": cannot make a cache of so many bytes: "
              "%m",
              bytes);
    return r;
  }
  if (config->preallocate)
    return memory_check (bytes, user, err, CONFIG_ERROR_MAX);
  warn_of_size (bytes);
  return 0;
}

static int
open_file (struct disk *disk, const struct config *config, bool readonly,
           char *err)
{
  struct file_store_options options;

  config_file_store (config, readonly, &options);
  return file_store_open (&disk->env, &options, &disk->store, err,
                          CONFIG_ERROR_MAX);
}

#ifdef HAVE_LIBNBD
static int
open_nbd (struct disk *disk, const struct config *config, bool readonly,
          char *err)
{
  struct nbd_store_options options;

  config_nbd_store (config, readonly, &options);
  return nbd_store_open (&disk->env, &options, &disk->store, err,
                         CONFIG_ERROR_MAX);
}
#endif

static int
open_store (struct disk *disk, const struct config *config, bool readonly,
            char *err)
{
#ifdef HAVE_LIBNBD
  if (config->nbd)
    return open_nbd (disk, config, readonly, err);
#endif
  return open_file (disk, config, readonly, err);
}

static int
make_mapping (struct disk *disk, const struct config *config, char *err)
{
  char text[384] = "";
  const struct store_message why = { text, sizeof text };
  struct mapping_config mapping;
  int r;

  config_mapping (config, &mapping);
  nbdkit_debug ("folio: largest folio %u bytes, dirty limit %" PRIu64
                ", background %" PRIu64 ", readahead %" PRIu64,
                4096u << mapping.folio_max_order, mapping.dirty_limit,
                mapping.dirty_background, mapping.readahead);
  r = format_open ((unsigned) config->fs, disk->store, config->snapshot,
                   &disk->fs, &why);
  if (r == 0)
    r = mapping_create (disk->cache, disk->fs, &mapping, &disk->mapping);
  errno = -r;
  if (r < 0 && text[0])
    snprintf (err, CONFIG_ERROR_MAX, "%s: %s", config->store, text);
  else if (r < 0)
    snprintf (err, CONFIG_ERROR_MAX, "%s: cannot be cached: %m", config->store);
  return r;
}

/* A file that was made for what is refused then is removed by the store's close. */
int
disk_open (const struct config *config, const struct cmdline *cmdline,
           struct disk **diskp, char *err)
{
  struct disk *disk = calloc (1, sizeof *disk);
  int r;

  if (disk == NULL) {
    snprintf (err, CONFIG_ERROR_MAX, "out of memory");
    return -ENOMEM;
  }
  pthread_mutex_init (&disk->lock, NULL);
  disk->shutdown_timeout = config->shutdown_timeout;
  env_init (&disk->env);
  disk->env.log = log_message;
  r = make_cache (disk, config, cmdline->user, err);
  if (r == 0)
    r = open_store (disk, config, cmdline->readonly || config->snapshot, err);
  if (r == 0)
    r = make_mapping (disk, config, err);
  if (r < 0) {
    disk_close (disk);
    return r;
  }
  nbdkit_debug ("folio: %s: %s on a store of kind %s, %" PRIu64 " bytes",
                config->store, disk->fs->ops->name, disk->store->ops->name,
                disk->fs->size);
  *diskp = disk;
  return 0;
}

int
disk_start (struct disk *disk)
{
  int r = cache_start (disk->cache);

  if (r == 0)
    r = mapping_start (disk->mapping);
  if (r == 0)
    r = fs_ready (disk->fs);
  if (r == 0)
    r = watcher_start (&disk->env, disk->mapping, disk->shutdown_timeout,
                       &disk->watcher);
  return r;
}

static void
free_client (struct client *client)
{
  conn_destroy (client->conn);
  free (client);
}

static void
free_clients (struct disk *disk)
{
  struct client *client;

  while ((client = disk->clients) != NULL) {
    disk->clients = client->next;
    free_client (client);
  }
}

int
disk_save (struct disk *disk)
{
  int r = 0;

  if (disk->watcher)
    r = watcher_finish (disk->watcher);
  disk->watcher = NULL;
  return r;
}

int
disk_close (struct disk *disk)
{
  int r = disk_save (disk);

  free_clients (disk);
  if (disk->mapping)
    mapping_destroy (disk->mapping);
  if (disk->fs)
    disk->fs->ops->close (disk->fs);
  if (disk->store)
    disk->store->ops->close (disk->store);
  if (disk->cache)
    cache_destroy (disk->cache);
  pthread_mutex_destroy (&disk->lock);
  free (disk);
  return r;
}

/* Has the client of this thread's request hung up?  nbdkit knows no other way to
 * ask than to sleep, for no time; what ends that may also be a signal, which has
 * been seen then.
 */
static bool
client_gone (void *opaque)
{
  (void) opaque;
  return signals_may_ask () && nbdkit_nanosleep (0, 0) == -1 &&
         errno == ESHUTDOWN && signals_may_ask ();
}

int
disk_connect (struct disk *disk, struct conn **conn)
{
  struct client *client = malloc (sizeof *client);
  int r;

  if (client == NULL)
    return -ENOMEM;
  r = conn_create (disk->mapping, &client->conn);
  if (r < 0) {
    free (client);
    return r;
  }
  conn_set_gone (client->conn, client_gone, NULL);
  *conn = client->conn;
  pthread_mutex_lock (&disk->lock);
  client->next = disk->clients;
  disk->clients = client;
  pthread_mutex_unlock (&disk->lock);
  return 0;
}

void
disk_disconnect (struct disk *disk, struct conn *conn)
{
  struct client *client, **link = &disk->clients;
  bool last;

  pthread_mutex_lock (&disk->lock);
  while ((client = *link)->conn != conn)
    link = &client->next;
  *link = client->next;
  last = disk->clients == NULL;
  pthread_mutex_unlock (&disk->lock);
  free_client (client);
  if (last)
    mapping_kick (disk->mapping);
}

bool
disk_stopping (const struct disk *disk)
{
  return mapping_is_shutdown (disk->mapping);
}

const struct fs *
disk_fs (const struct disk *disk)
{
  return disk->fs;
}

struct mapping *
disk_mapping (const struct disk *disk)
{
  return disk->mapping;
}

struct env *
disk_env (struct disk *disk)
{
  return &disk->env;
}
