/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * folio-img: what its commands share.
 *
 *   main       the commands, and which is asked for
 *   args       a command's options and operands
 *   say        messages: one line each, and sizes for readers
 *   stop       Ctrl-C
 *   progress   how far long work is, on a terminal
 *   attached   a store that is open, with its loop thread
 */

#ifndef FOLIO_IMG_H
#define FOLIO_IMG_H

#include <errno.h>

/* Exit statuses; compare and check have more. */
enum {
  IMG_OK = 0,
  IMG_FAILED = 1, /* also: compare has found a difference */
  IMG_USAGE = 2,
  IMG_STOPPED = 130, /* by a signal */
};

struct img_args;

/* A command: runs with its arguments, returns an exit status.  What went wrong has
 * been said.
 */
typedef int img_command_fn (const struct img_args *args);

extern img_command_fn img_create, img_info, img_map, img_check, img_resize,
  img_snapshot, img_convert, img_compare;

/* The exit status for 0 or a negative errno. */
static inline int
img_status (int r)
{
  return r == 0 ? IMG_OK : r == -EINTR ? IMG_STOPPED : IMG_FAILED;
}

#endif /* FOLIO_IMG_H */
