/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Requests to replay, from a file, see trace-load.h.
 */

#include <inttypes.h>
#include <stdlib.h>

#include "tests/bench/trace-load.h"

#define OP_READ 0x28

void *
trace_check (void *memory)
{
  if (memory == NULL) {
    fprintf (stderr, "trace-replay: out of memory\n");
    exit (EXIT_FAILURE);
  }
  return memory;
}

void
trace_add (struct trace *trace, uint32_t time, uint64_t sector,
           uint64_t sectors, bool is_read)
{
  struct trace_req req = { sector, (uint32_t) sectors, time, is_read };
  uint64_t pages;

  if (trace->nr == trace->room) {
    trace->room = trace->room ? trace->room * 2 : 1 << 16;
    trace->reqs = trace_check (realloc (trace->reqs, trace->room * sizeof req));
  }
  trace->reqs[trace->nr++] = req;
  pages = trace_last_page (&req) - trace_first_page (&req) + 1;
  trace->page_accesses += pages;
  trace->page_reads += is_read ? pages : 0;
  if (trace->sectors < sector + sectors)
    trace->sectors = sector + sectors;
  if (trace->largest < sectors)
    trace->largest = (uint32_t) sectors;
}

void
trace_count (struct trace *trace)
{
  uint64_t pages = trace->sectors / TRACE_PAGE_SECTORS + 1;
  uint8_t *seen = trace_check (calloc (pages, 1));

  trace->footprint = 0;
  for (size_t i = 0; i < trace->nr; ++i)
    for (uint64_t page = trace_first_page (&trace->reqs[i]);
         page <= trace_last_page (&trace->reqs[i]); ++page) {
      trace->footprint += !seen[page];
      seen[page] = 1;
    }
  free (seen);
}

void
trace_read (struct trace *trace, FILE *file)
{
  uint64_t size, sector;
  uint32_t time;
  unsigned op;
  char line[256];

  while (fgets (line, sizeof line, file))
    if (sscanf (line, "%*u,%" SCNu32 ",%x,%" SCNu64 ",%" SCNu64, &time, &op,
                &size, &sector) == 4 &&
        size >= 1u << TRACE_SECTOR_SHIFT && size <= UINT32_C (64) << 20 &&
        sector < UINT64_C (1) << 32)
      trace_add (trace, time, sector, size >> TRACE_SECTOR_SHIFT,
                 op == OP_READ);
  trace_count (trace);
}

void
trace_free (struct trace *trace)
{
  free (trace->reqs);
}
