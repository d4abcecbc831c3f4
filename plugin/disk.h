/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * One served disk: its store, mapping format, cache and mapping, and their
 * life from before nbdkit forks to its end.
 */

#ifndef FOLIO_DISK_H
#define FOLIO_DISK_H

#include <stdbool.h>
#include <stdint.h>

#include "cache/cache.h"
#include "fs/iomap.h"
#include "plugin/cmdline.h"
#include "plugin/config.h"

/* What it is called where disks are told apart by name. */
#define DISK_NAME "default"

struct disk;

/* Open and lock the store and make all that is needed, but no threads: this is
 * before nbdkit forks, and the last place where a start can be refused for
 * all to see.  The configuration was checked.  Returns 0; or a negative errno
 * with in err, CONFIG_ERROR_MAX bytes, one line that says why.
 */
extern int disk_open (const struct config *config,
                      const struct cmdline *cmdline, struct disk **disk,
                      char *err);

/* Start the threads: from here on the disk serves.
 * Returns 0 or a negative errno.
 */
extern int disk_start (struct disk *disk);

/* The process ends although clients may be there and requests under way: write
 * everything back, and nothing else.  Of a disk that was started, which is of no
 * use after that.  Returns as disk_close.
 */
extern int disk_save (struct disk *disk);

/* Write everything back, stop and free all, conns that are still there too; no
 * requests are running or will come.  Also for a disk that was not started, or
 * not quite.  Returns 0, or the negative errno
 * for which data was lost, and logged.
 */
extern int disk_close (struct disk *disk);

/* A client comes and goes.  When the last one leaves, what is dirty is written
 * back in the background.  Returns 0 or a negative errno.
 */
extern int disk_connect (struct disk *disk, struct conn **conn);
extern void disk_disconnect (struct disk *disk, struct conn *conn);

/* Has the server been told to stop?  Of a disk that was started. */
extern bool disk_stopping (const struct disk *disk);

/* Its mapping, for who looks on; until it is closed. */
extern struct mapping *disk_mapping (const struct disk *disk);

/* Its environment. */
extern struct env *disk_env (struct disk *disk);

/* What it is and can do. */
extern const struct fs *disk_fs (const struct disk *disk);

#endif /* FOLIO_DISK_H */
