/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What the parameters mean together: contradictions, and what follows from
 * them for the cache and the store.
 */

#include <errno.h>
#include <stdbool.h>

#include "cache/base/arena.h"
#include "fs/num.h"
#include "plugin/config.h"
#include "plugin/format.h"
#include "plugin/parse.h"

/* Readahead windows are no larger than this part of the cache, so that there is
 * room for a few.
 */
#define MIN_WINDOWS 8

static uint64_t
dirty_limit (const struct config *config)
{
  uint64_t limit = config->cache_size * config->dirty_ratio / 100;

  if (config_given (config, "dirty-bytes"))
    limit = config->dirty_bytes;
  return max_u64 (limit, PAGE_SIZE);
}

/* As asked for; or by default, but then below the limit. */
static uint64_t
dirty_background (const struct config *config)
{
  uint64_t limit = dirty_limit (config);
  uint64_t background =
    config->cache_size * config->dirty_background_ratio / 100;

  if (config_given (config, "dirty-background-bytes"))
    return config->dirty_background_bytes;
  if (!config_given (config, "dirty-background-ratio") && background >= limit)
    return limit / 2;
  return background;
}

static int
check_pair (const struct config *config, const char *ratio, const char *bytes,
            char *err)
{
  if (!config_given (config, ratio) || !config_given (config, bytes))
    return 0;
  snprintf (err, CONFIG_ERROR_MAX, "%s and %s are both given; allowed: one",
            ratio, bytes);
  return -EINVAL;
}

static int
check_snapshot (const struct config *config, char *err)
{
  if (config->snapshot == NULL)
    return 0;
  if (format_has_snapshots ((unsigned) config->fs))
    return check_pair (config, "create", "snapshot", err);
  snprintf (
    err, CONFIG_ERROR_MAX,
    "snapshot=%.100s: a disk with fs=%s has no snapshots; allowed: only "
    "with fs=thin",
    config->snapshot, format_names[config->fs]);
  return -EINVAL;
}

static int
check_dirty (const struct config *config, char *err)
{
  const char *key = config_given (config, "dirty-bytes") ? "bytes" : "ratio";
  const char *background_key =
    config_given (config, "dirty-background-bytes") ? "bytes" : "ratio";
  uint64_t limit = dirty_limit (config);
  uint64_t background = dirty_background (config);
  char shown[24], bound[24];

  if (limit > config->cache_size) {
    format_size (shown, sizeof shown, limit);
    format_size (bound, sizeof bound, config->cache_size);
    snprintf (err, CONFIG_ERROR_MAX,
              "dirty-bytes=%s: more than cache-size, which is %s; allowed: 4k "
              "to %s",
              shown, bound, bound);
    return -EINVAL;
  }
  if (background >= limit) {
    format_size (shown, sizeof shown, background);
    format_size (bound, sizeof bound, limit);
    snprintf (err, CONFIG_ERROR_MAX,
              "dirty-background-%s: %s is not below the dirty limit, which by "
              "dirty-%s is %s; allowed: less than that",
              background_key, shown, key, bound);
    return -EINVAL;
  }
  return 0;
}

/* Some keys mean nothing for some stores. */
static int
check_store_keys (const struct config *config, char *err)
{
  static const struct {
    const char *key;
    bool nbd;
    const char *allowed;
  } keys[] = {
    { "create", false, "files" },
    { "direct", false, "files and block devices" },
    { "io", false, "files and block devices" },
    { "connections", true, "NBD servers" },
    { "retry", true, "NBD servers" },
    { "unsafe-no-flush", true, "NBD servers" },
  };
  size_t i;

  for (i = 0; i < sizeof keys / sizeof keys[0]; i++) {
    if (config_given (config, keys[i].key) && config->nbd != keys[i].nbd) {
      snprintf (err, CONFIG_ERROR_MAX,
                "%s is given, but the store is %s; allowed: only for %s",
                keys[i].key,
                config->nbd ? "an NBD server" : "a file or block device",
                keys[i].allowed);
      return -EINVAL;
    }
  }
  return 0;
}

int
config_check (const struct config *config, char *err)
{
  int r;

  if (config->store == NULL) {
    snprintf (err, CONFIG_ERROR_MAX,
              "no store given: which file, block device or NBD server is to be "
              "served? For example: nbdkit folio disk.img");
    return -EINVAL;
  }
  r = check_store_keys (config, err);
  if (r == 0)
    r = check_snapshot (config, err);
  if (r == 0)
    r = check_pair (config, "dirty-ratio", "dirty-bytes", err);
  if (r == 0)
    r = check_pair (config, "dirty-background-ratio", "dirty-background-bytes",
                    err);
  return r < 0 ? r : check_dirty (config, err);
}

void
config_mapping (const struct config *config, struct mapping_config *mapping)
{
  *mapping = (struct mapping_config) {
    .mode = config->cache,
    .folio_max_order =
      cache_fit_order (config->cache_size, arena_order (config->folio_max)),
    .dirty_limit = dirty_limit (config),
    .dirty_background = dirty_background (config),
    .dirty_expire = config->dirty_expire,
    .writeback_interval = config->writeback_interval,
    .flush_target = config->flush_target,
    .readahead = min_u64 (config->readahead, config->cache_size / MIN_WINDOWS),
    .sequential_cutoff = config->sequential_cutoff,
    .io_depth = config->io_depth,
  };
}

void
config_file_store (const struct config *config, bool readonly,
                   struct file_store_options *options)
{
  bool create = config_given (config, "create");

  *options = (struct file_store_options) {
    .path = config->store,
    .readonly = readonly,
    .create = create ? (int64_t) config->create : -1,
    .direct = config->direct,
    .io = config->io,
    .io_depth = config->io_depth,
  };
}

void
config_nbd_store (const struct config *config, bool readonly,
                  struct nbd_store_options *options)
{
  *options = (struct nbd_store_options) {
    .uri = config->store,
    .readonly = readonly,
    .unsafe_no_flush = config->unsafe_no_flush,
    .connections = config->connections,
    .io_depth = config->io_depth,
    .retry = config->retry,
    .patience = config_given (config, "retry") ? config->retry : 0,
  };
}
