/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * without-io-uring ERROR PROGRAM [ARG...]: runs the program where all system
 * calls of io_uring fail with this error, as they do in a container (EPERM) or
 * on an old kernel (ENOSYS).  ERROR "half" lets it make a ring, and not use it.
 * Exits with 77 if that can't be had.
 */

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SKIPPED 77

/* All calls but `allowed' fail with error.  Returns false if impossible. */
static int
forbid (int allowed, unsigned error)
{
  struct sock_filter filter[] = {
    BPF_STMT (BPF_LD | BPF_W | BPF_ABS, offsetof (struct seccomp_data, nr)),
    BPF_JUMP (BPF_JMP | BPF_JEQ | BPF_K, (uint32_t) allowed, 3, 0),
    BPF_JUMP (BPF_JMP | BPF_JGE | BPF_K, SYS_io_uring_setup, 0, 2),
    BPF_JUMP (BPF_JMP | BPF_JGT | BPF_K, SYS_io_uring_register, 1, 0),
    BPF_STMT (BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
    BPF_STMT (BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const struct sock_fprog program = {
    .len = sizeof filter / sizeof filter[0],
    .filter = filter,
  };

  return prctl (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

int
main (int argc, char **argv)
{
  int allowed = -1;
  unsigned error = EPERM;

  if (argc < 3) {
    fprintf (stderr, "usage: %s EPERM|ENOSYS|half PROGRAM [ARG...]\n", argv[0]);
    return 2;
  }
  if (strcmp (argv[1], "half") == 0)
    allowed = SYS_io_uring_setup;
  else if (strcmp (argv[1], "ENOSYS") == 0)
    error = ENOSYS;
  if (!forbid (allowed, error)) {
    perror ("seccomp");
    return SKIPPED;
  }
  execvp (argv[2], argv + 2);
  perror (argv[2]);
  return 2;
}
