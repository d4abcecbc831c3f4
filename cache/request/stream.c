/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Sequential streams, a few a connection; the least recently used makes room.
 */

#include <string.h>

#include "cache/request/stream.h"

void
streams_init (struct streams *streams)
{
  memset (streams, 0, sizeof *streams);
  pthread_mutex_init (&streams->lock, NULL);
}

void
streams_destroy (struct streams *streams)
{
  pthread_mutex_destroy (&streams->lock);
}

uint64_t
streams_note (struct streams *streams, uint64_t offset, uint64_t count)
{
  unsigned i, which = 0;
  uint64_t length;

  pthread_mutex_lock (&streams->lock);
  for (i = 0; i < NR_STREAMS; i++) {
    if (streams->stream[i].length && streams->stream[i].next == offset) {
      which = i;
      break;
    }
    if (streams->stream[i].used < streams->stream[which].used)
      which = i;
  }
  if (i == NR_STREAMS)
    streams->stream[which].length = 0;
  length = streams->stream[which].length += count;
  streams->stream[which].next = offset + count;
  streams->stream[which].used = ++streams->clock;
  pthread_mutex_unlock (&streams->lock);
  return length;
}
