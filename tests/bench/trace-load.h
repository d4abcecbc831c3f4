/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Requests to replay: a trace from a file, or made up.
 */

#ifndef FOLIO_TRACE_LOAD_H
#define FOLIO_TRACE_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define TRACE_PAGE_SHIFT 12
#define TRACE_SECTOR_SHIFT 9
#define TRACE_PAGE_SECTORS (1u << (TRACE_PAGE_SHIFT - TRACE_SECTOR_SHIFT))

struct trace_req {
  uint64_t sector;
  uint32_t sectors;
  uint32_t time; /* seconds */
  bool is_read;
};

struct trace {
  struct trace_req *reqs;
  size_t nr, room;
  uint64_t sectors;   /* of the disk: the last that is used, and one */
  uint32_t largest;   /* sectors */
  uint32_t footprint; /* different pages */
  uint64_t page_accesses, page_reads;
};

/* The CSV of libCacheSim's CloudPhysics sample: a line of headings, then
 * version,time,op,size,lbn with time in seconds, op a SCSI opcode in hexadecimal (28: READ(10)),
 * size in bytes, lbn in sectors of 512 bytes.  Ends the program without memory.
 */
extern void trace_read (struct trace *trace, FILE *file);

/* A workload by its name; false if there is none of that name. */
extern bool trace_make (struct trace *trace, const char *name);

/* The names, separated by blanks. */
extern const char trace_names[];

extern void trace_free (struct trace *trace);

static inline uint64_t
trace_first_page (const struct trace_req *req)
{
  return req->sector / TRACE_PAGE_SECTORS;
}

static inline uint64_t
trace_last_page (const struct trace_req *req)
{
  return (req->sector + req->sectors - 1) / TRACE_PAGE_SECTORS;
}

/* For those who make one: a request more; and, at the end, the footprint. */
extern void trace_add (struct trace *trace, uint32_t time, uint64_t sector,
                       uint64_t sectors, bool is_read);
extern void trace_count (struct trace *trace);

extern void *trace_check (void *memory);

#endif /* FOLIO_TRACE_LOAD_H */
