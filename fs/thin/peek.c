/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * thin: what has to be known of an image before its store is attached, while a start can
 * still be refused for all to see: is it one, how large is the disk, and is there such a
 * snapshot.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/thin/io.h"
#include "fs/thin/thin-impl.h"
#include "fs/thin/thin.h"

/* Nodes to keep in memory: it is a table that is read. */
#define NODES 64

/* --- superblocks --- */

static int
read_block (struct store *store, uint64_t block, void *buf)
{
  if (store->ops->peek)
    return store->ops->peek (store, block * THIN_BLOCK, buf, THIN_BLOCK);
  return thin_io_read (store, block, buf, 1);
}

int
thin_peek_super (struct store *store, struct thin_super *super,
                 const struct store_message *why)
{
  static const uint64_t places[] = { THIN_SUPER_A, THIN_SUPER_B };
  void *buf = thin_io_alloc (1);
  struct thin_super found;
  int r, error = -ENOMEM;
  bool any = false;
  unsigned i;

  for (i = 0; buf && i < 2; i++) {
    r = read_block (store, places[i], buf);
    if (r == 0)
      r = thin_super_decode (buf, places[i], &found);
    if (r == 0 && (!any || found.generation > super->generation))
      *super = found;
    any |= r == 0;
    if (i == 0 || error == -EINVAL)
      error = r;
  }
  free (buf);
  if (any)
    return 0;
  return store_refuse (why, error, "%s",
                       error == -EINVAL ? "there is no thin image in it"
                       : error == -ENOTSUP
                         ? "its thin image is of a newer version"
                         : strerror (-error));
}

bool
thin_is_image (struct store *store)
{
  char text[128];
  const struct store_message why = { text, sizeof text };
  struct thin_super super;

  return thin_peek_super (store, &super, &why) == 0;
}

/* --- the table of snapshots --- */

/* The store as one that can be asked, for nothing but reads. */
struct peeking {
  struct store store;
  struct store *real;
};

static void
submit_peeks (struct store *store, struct store_req **reqs, unsigned n)
{
  struct store *real = ((struct peeking *) store)->real;
  struct store_req *req;
  unsigned i;
  int r;

  for (i = 0; i < n; i++) {
    req = reqs[i];
    r = req->op == STORE_READ
          ? real->ops->peek (real, req->offset, req->iov->iov_base,
                             req->iov->iov_len)
          : -EROFS;
    req->done (req, r);
  }
}

static const struct store_ops peek_ops = { .name = "peek",
                                           .submit = submit_peeks };

/* There is none of that name: which are there? */
static int
refuse_name (const struct thin_snapshot *list, size_t n, const char *name,
             const struct store_message *why)
{
  char names[128] = "";
  size_t i, used = 0;

  if (n == 0)
    return store_refuse (why, -ENOENT, "it has no snapshots, so no '%.63s'",
                         name);
  for (i = 0; i < n; i++) {
    if (used + strlen (list[i].name) + sizeof ", ..." > sizeof names)
      break;
    used += (size_t) snprintf (names + used, sizeof names - used, "%s%s",
                               i ? ", " : "", list[i].name);
  }
  return store_refuse (why, -ENOENT,
                       "it has no snapshot '%.63s'; allowed: %s%s", name, names,
                       i == n ? ""
                       : i    ? ", ... (see folio-img snapshot list)"
                              : "see folio-img snapshot list");
}

static int
find (struct thin_meta *m, const char *name, struct thin_snapshot *snapshot,
      const struct store_message *why)
{
  struct thin_snapshot *list;
  size_t i, n;
  int r = thin_snapshot_list (m, &list, &n);

  if (r < 0)
    return store_refuse (why, r, "its snapshots: %s", strerror (-r));
  for (i = 0; i < n; i++)
    if (strcmp (list[i].name, name) == 0)
      break;
  if (i < n)
    *snapshot = list[i];
  else
    r = refuse_name (list, n, name, why);
  free (list);
  return r;
}

int
thin_peek_snapshot (struct store *store, const char *name,
                    struct thin_snapshot *snapshot,
                    const struct store_message *why)
{
  const struct thin_open how = { .readonly = true, .cache_nodes = NODES };
  struct peeking peeking = { .real = store };
  struct thin_meta *m;
  int r;

  peeking.store.ops = &peek_ops;
  peeking.store.geo = store->geo;
  peeking.store.env = store->env;
  r = thin_meta_open (store->ops->peek ? &peeking.store : store, &how, &m, why);
  if (r < 0)
    return r;
  r = find (m, name, snapshot, why);
  thin_meta_close (m);
  return r;
}
