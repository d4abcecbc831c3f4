/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Memory that is taken and locked at start, see memory.h.
 */

#include <errno.h>
#include <inttypes.h>
#include <link.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "plugin/memory.h"

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

/* Of each thread made later, nbdkit's 16 a connection among them.  A stack is
 * taken as a whole when its thread is made, and 8 MiB are the usual size.
 */
#define STACK_SIZE ((size_t) 512 << 10)

/* Heap to begin with: nbdkit's buffers for requests, what connections, NBD
 * requests and answers about extents need.
 */
#define HEAP_SIZE ((size_t) 16 << 20)

#define MIB (1 << 20)

/* Bytes that the process has mapped, which is what the limit is held against;
 * 0 if that cannot be found out.
 */
static uint64_t
mapped_bytes (void)
{
  FILE *fp = fopen ("/proc/self/statm", "re");
  uint64_t pages = 0;

  if (fp == NULL)
    return 0;
  if (fscanf (fp, "%" SCNu64, &pages) != 1)
    pages = 0;
  fclose (fp);
  return pages * (uint64_t) sysconf (_SC_PAGESIZE);
}

static int
refuse (int error, uint64_t bytes, char *err, size_t size)
{
  char limit[32] = "unlimited";
  struct rlimit rlimit;

  if (getrlimit (RLIMIT_MEMLOCK, &rlimit) == 0 &&
      rlimit.rlim_cur != RLIM_INFINITY)
    snprintf (limit, sizeof limit, "%" PRIu64 " KiB",
              (uint64_t) rlimit.rlim_cur >> 10);
  errno = error;
  snprintf (err, size,
            "preallocate=on: cannot lock %" PRIu64 " MiB of memory: %m; the "
            "limit is %s; allowed: with \"ulimit -l unlimited\", "
            "LimitMEMLOCK=infinity (systemd) or --ulimit memlock=-1 "
            "(containers), or as root without -u",
            bytes / MIB, limit);
  return -error;
}

static bool
is_over_limit (uint64_t bytes)
{
  struct rlimit rlimit;

  return getrlimit (RLIMIT_MEMLOCK, &rlimit) == 0 &&
         rlimit.rlim_cur != RLIM_INFINITY && bytes > rlimit.rlim_cur;
}

int
memory_fits (uint64_t cache_size, char *err, size_t size)
{
  uint64_t memory =
    (uint64_t) sysconf (_SC_PHYS_PAGES) * (uint64_t) sysconf (_SC_PAGESIZE);

  if (cache_size < memory)
    return 0;
  snprintf (err, size,
            "preallocate=on: cache-size is %" PRIu64 " MiB, and this machine "
            "has %" PRIu64 " MiB of memory; allowed: less than that",
            cache_size / MIB, memory / MIB);
  return -ENOMEM;
}

int
memory_check (uint64_t cache_size, bool user, char *err, size_t size)
{
  uint64_t bytes = mapped_bytes () + cache_size / 16 + HEAP_SIZE;
  int error = 0;
  void *p;

  if (user && is_over_limit (bytes))
    return refuse (ENOMEM, bytes, err, size);
  /* Locks that are charged, and nothing that they could hold. */
  p = mmap (NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
            -1, 0);
  if (p == MAP_FAILED)
    return refuse (errno, bytes, err, size);
  if (mlock2 (p, bytes, MLOCK_ONFAULT) < 0)
    error = errno;
  munmap (p, bytes);
  return error ? refuse (error, bytes, err, size) : 0;
}

/* One heap for all threads, which never gives anything back and has some to
 * begin with; small stacks.
 */
static void
need_little (void)
{
  void *volatile heap; /* or the compiler sees that it is of no use */
  pthread_attr_t attr;

  mallopt (M_ARENA_MAX, 1);
  mallopt (M_TRIM_THRESHOLD, INT32_MAX);
  mallopt (M_MMAP_THRESHOLD, (int) HEAP_SIZE * 2);
  heap = malloc (HEAP_SIZE);
  free (heap);

  if (pthread_attr_init (&attr) != 0)
    return;
  if (pthread_attr_setstacksize (&attr, STACK_SIZE) == 0)
    pthread_setattr_default_np (&attr);
  pthread_attr_destroy (&attr);
}

/* Addresses [start, end). */
struct span {
  uintptr_t start, end;
};

/* The memory of the main program, which comes first, that its file does not
 * fill: nbdkit has some 190 MiB of it, and touches little.
 */
static int
find_bss (struct dl_phdr_info *info, size_t size, void *opaque)
{
  uintptr_t page = (uintptr_t) sysconf (_SC_PAGESIZE);
  struct span *bss = opaque;

  (void) size;
  for (unsigned i = 0; i < info->dlpi_phnum; i++) {
    const ElfW (Phdr) *header = &info->dlpi_phdr[i];
    uintptr_t start = info->dlpi_addr + header->p_vaddr;

    if (header->p_type == PT_LOAD && header->p_memsz > header->p_filesz) {
      bss->start = (start + header->p_filesz + page - 1) / page * page;
      bss->end = start + header->p_memsz;
    }
  }
  return 1;
}

/* Take what a line of /proc/self/maps is about, unless it is the kernel's own,
 * cannot be used, or is in `not'.  Returns 0 or an errno.
 */
static int
take_line (const char *line, const struct span * not )
{
  char mode[5], name[8] = "";
  struct span span;

  if (sscanf (line, "%" SCNxPTR "-%" SCNxPTR " %4s %*s %*s %*s %7s",
              &span.start, &span.end, mode, name) < 3 ||
      mode[0] != 'r' || strncmp (name, "[v", 2) == 0 ||
      (span.start >= not ->start && span.start < not ->end))
    return 0;
  return mlock ((const void *) span.start, span.end - span.start) == 0 ? 0
                                                                       : errno;
}

/* Take all that is mapped, but what the main program does not use. */
static int
take_all (void)
{
  struct span bss = { 0, 0 };
  FILE *fp = fopen ("/proc/self/maps", "re");
  char line[512];
  int r = 0;

  if (fp == NULL)
    return errno;
  dl_iterate_phdr (find_bss, &bss);
  while (r == 0 && fgets (line, sizeof line, fp))
    r = take_line (line, &bss);
  fclose (fp);
  return r;
}

/* What is there stays when it is touched, what comes is taken as it comes, and
 * then what is there is taken.
 */
static int
lock_all (void)
{
  if (mlockall (MCL_CURRENT | MCL_ONFAULT) < 0 || mlockall (MCL_FUTURE) < 0)
    return errno;
  return take_all ();
}

int
memory_lock (char *err, size_t size)
{
  int error;

  need_little ();
  /* Threads inherit it.  Only a help: that this cannot be done is no reason not
   * to serve.
   */
  prctl (PR_SET_IO_FLUSHER, 1, 0, 0, 0);
  error = lock_all ();
  return error ? refuse (error, mapped_bytes (), err, size) : 0;
}
