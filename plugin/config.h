/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The parameters: one table of them, from which parsing, defaults, --help and
 * --dump-plugin all come.  Knows nothing of nbdkit: what is wrong with a value
 * is returned as a message, so that it can be tested alone.
 */

#ifndef FOLIO_CONFIG_H
#define FOLIO_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "cache/cache.h"
#include "fs/file/file.h"
#include "fs/nbd/nbd.h"

/* Room for any message that the functions below return. */
#define CONFIG_ERROR_MAX 512

/* What was asked for.  Numbers are uint64_t whatever they mean, so that the
 * table can point at them.
 */
struct config {
  char *store;                     /* path without prefix, or URI; owned */
  bool nbd;                        /* it is the URI of an NBD server */
  uint64_t create;                 /* bytes; only if given */
  uint64_t fs;                     /* as in format_names */
  char *snapshot;                  /* of it; or NULL; owned */
  uint64_t cache_size;             /* bytes */
  uint64_t cache;                  /* enum cache_mode */
  uint64_t dirty_ratio;            /* percent of cache_size; unless in bytes */
  uint64_t dirty_bytes;            /* bytes; only if given */
  uint64_t dirty_background_ratio; /* likewise */
  uint64_t dirty_background_bytes;
  uint64_t dirty_expire;       /* ns */
  uint64_t writeback_interval; /* ns */
  uint64_t flush_target;       /* ns; 0: off */
  uint64_t shutdown_timeout;   /* ns; 0: none */
  char *metrics;               /* where they are served; or NULL; owned */
  char *control;               /* path of the socket; or NULL; owned */
  uint64_t preallocate;        /* bool */
  uint64_t folio_max;          /* bytes, a power of two */
  uint64_t readahead;          /* bytes; 0: off */
  uint64_t sequential_cutoff;  /* bytes; 0: off */
  uint64_t direct;             /* enum direct_mode */
  uint64_t io;                 /* enum file_io */
  uint64_t io_depth;           /* requests */
  uint64_t connections;        /* to an NBD server, at most */
  uint64_t retry;              /* ns; of an NBD server that is lost */
  uint64_t unsafe_no_flush;    /* 0: no, 1: yes */

  uint32_t given; /* which parameters were, a bit each; see config_given */
};

/* Fill in defaults. */
extern void config_init (struct config *config);
extern void config_free (struct config *config);

/* Take one key=value.  Returns 0, -ENOMEM, or -EINVAL when it is refused; then
 * err, CONFIG_ERROR_MAX bytes, has one line that says why and what is allowed.
 */
extern int config_set (struct config *config, const char *key,
                       const char *value, char *err);

/* After the last key: is something missing, do values contradict each other?
 * Returns as config_set.
 */
extern int config_check (const struct config *config, char *err);

/* Was this key (one that exists) in the configuration? */
extern bool config_given (const struct config *config, const char *key);

/* Change a value while the server runs: as config_set, but the key may have been
 * given, and only some can be changed.  Neither do the others of a pair count then.
 * To be checked again when all are changed.
 */
extern int config_change (struct config *config, const char *key,
                          const char *value, char *err);

/* Call fn for each key that can be changed, with what is in force, as config_set
 * takes it.
 */
typedef void config_value_fn (void *opaque, const char *key, const char *value);
extern void config_each_changeable (const struct config *config,
                                    config_value_fn *fn, void *opaque);

/* This key (one that exists) was not given; its value stays. */
extern void config_forget (struct config *config, const char *key);

/* What follows from a checked configuration for the cache and the store, which
 * is a file unless config->nbd.
 * Values that are too large for the cache size, but were not wrong to ask for,
 * are reduced: folio-max, readahead, and a default background threshold.
 * Strings stay config's.
 */
extern void config_mapping (const struct config *config,
                            struct mapping_config *mapping);
extern void config_file_store (const struct config *config, bool readonly,
                               struct file_store_options *options);
extern void config_nbd_store (const struct config *config, bool readonly,
                              struct nbd_store_options *options);

/* The text of --help. */
extern const char config_help[];

/* Write stores, formats, kinds of I/O and each key's default as KEY=VALUE
 * lines.
 */
extern void config_dump (FILE *fp);

#endif /* FOLIO_CONFIG_H */
