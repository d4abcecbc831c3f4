/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The bell of a disk: by it any thread has the loop thread look for work.  Who
 * rings it knows nothing of the loop.
 */

#ifndef FOLIO_BELL_H
#define FOLIO_BELL_H

struct bell {
  void (*ring) (void *opaque); /* any thread; NULL: there is no loop yet */

  /* The same, by a thread that will do nothing until the work is done, and so
   * may do some of it itself.  No lock is held; not the loop thread.
   */
  void (*work) (void *opaque);
  void *opaque;
};

/* bell: NULL, where there is none. */
static inline void
bell_ring (const struct bell *bell)
{
  if (bell && bell->ring)
    bell->ring (bell->opaque);
}

static inline void
bell_work (const struct bell *bell)
{
  if (bell && bell->ring)
    bell->work (bell->opaque);
}

#endif /* FOLIO_BELL_H */
