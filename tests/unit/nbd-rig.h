/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What tests of the NBD store stand on: a server, nbdkit, as a child process,
 * and an open store with a loop thread under it.
 */

#ifndef NBD_RIG_H
#define NBD_RIG_H

#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <ev.h>

#include "fs/nbd/nbd.h"
#include "tests/unit/store-loop.h"
#include "tests/unit/test.h"

#define KIB UINT64_C (1024)
#define MIB (UINT64_C (1) << 20)

struct nbd_rig {
  struct env env; /* first */
  char dir[64];   /* a fresh one, removed at the end */
  char socket[80], pidfile[80], disk[80], uri[120];
  pid_t server; /* or 0 */

  struct store *store;
  struct store_loop on;

  uint64_t tick; /* ns: the store's */

  /* Of a clock that was stopped: */
  void (*real_wait) (struct env *env, _Atomic uint32_t *word, uint32_t value,
                     uint64_t deadline);
  _Atomic uint64_t clock; /* ns */
  _Atomic bool hasten;    /* it jumps to each deadline that is waited for */
  ev_async pass;          /* has the loop do what is done each tick */
  struct completion passed;

  _Atomic unsigned changed;
  _Atomic uint32_t errors; /* lines of LOG_ERROR; woken as a futex word */
  pthread_mutex_t log_lock;
  char last_error[600]; /* the latest line */
};

/* A directory, names, no server. */
extern void nbd_rig_init (struct nbd_rig *rig);

/* cmocka's set-up and tear-down of one.  The server and the files are removed always,
 * the rig if its store is closed: it is not when the test has failed.
 */
extern int nbd_rig_setup (void **state);
extern int nbd_rig_teardown (void **state);

/* A test whose body has a rig; an open store is closed behind it. */
#define NBD_TEST(name)                                                         \
  static void with_##name (struct nbd_rig *rig);                               \
  TEST_BETWEEN (name, nbd_rig_setup, nbd_rig_teardown)                         \
  {                                                                            \
    with_##name (*state);                                                      \
    nbd_rig_close (*state);                                                    \
  }                                                                            \
  static void with_##name (struct nbd_rig *rig)

/* Start nbdkit with these arguments, which end with NULL, on the socket; it
 * takes connections on return.
 */
extern void nbd_rig_serve (struct nbd_rig *rig, const char *const *args);

/* Start it on rig->disk, made of size bytes if it is not there. */
extern void nbd_rig_serve_disk (struct nbd_rig *rig, uint64_t size);

/* End the server with a signal, and wait until it is gone. */
extern void nbd_rig_kill (struct nbd_rig *rig, int sig);

/* Wait until it has ended by itself. */
extern void nbd_rig_await_end (struct nbd_rig *rig);

/* Stop it, with all its threads, until it gets SIGCONT or SIGKILL. */
extern void nbd_rig_freeze (struct nbd_rig *rig);

/* Four connections, 16 in flight, an hour's retry. */
extern struct nbd_store_options nbd_rig_options (struct nbd_rig *rig);

/* Open, attach and run the loop; the test fails if one does. */
extern void nbd_rig_open (struct nbd_rig *rig,
                          const struct nbd_store_options *options);

/* Stop the store's clock, so that nothing takes any time but what the test lets
 * pass.  To be called before the store is opened.
 */
extern void nbd_rig_stop_clock (struct nbd_rig *rig);

/* Let the time of one tick of the store pass; it had the tick on return. */
extern void nbd_rig_tick (struct nbd_rig *rig);

/* Let the time of so many ticks pass at once, as if all had stood still. */
extern void nbd_rig_stand_still (struct nbd_rig *rig, unsigned n);

/* Start a server with these arguments, and open the store with such options. */
extern void nbd_rig_start (struct nbd_rig *rig, const char *const *args);

/* Stop the loop, detach, close, if it is open. */
extern void nbd_rig_close (struct nbd_rig *rig);

/* End the server too, remove the directory with all that is in it. */
extern void nbd_rig_exit (struct nbd_rig *rig);

/* Read 512 bytes at the start, the first of them into *first. */
extern int nbd_rig_read_start (struct nbd_rig *rig, uint8_t *first);

/* A request of 512 bytes, on its way. */
struct pending {
  struct store_req req; /* first */
  struct iovec iov;
  struct env *env;
  struct completion done;
  int error;
  uint8_t buf[512];
};

/* Send it; all of its memory is fill. */
extern void pending_start (struct nbd_rig *rig, struct pending *p,
                           enum store_op op, unsigned flags, uint64_t offset,
                           int fill);

/* Is it done? */
extern bool pending_over (struct pending *p);

/* Wait until it is, and return its error or 0. */
extern int pending_wait (struct pending *p);

/* Lose the session, though the server has done nothing; it is lost on return,
 * and the next one may not be there yet.
 */
extern void nbd_rig_lose (struct nbd_rig *rig);

/* Make a file of size bytes, which are zero if they are new. */
extern void nbd_rig_make_file (const char *path, uint64_t size);

/* Look every millisecond until it holds (or run-one.sh loses patience). */
#define UNTIL(condition)                                                       \
  do {                                                                         \
    while (!(condition))                                                       \
      poll (NULL, 0, 1);                                                       \
  } while (0)

/* Wait until the latest line of LOG_ERROR has this in it. */
extern void nbd_rig_await_error (struct nbd_rig *rig, const char *text);

#endif /* NBD_RIG_H */
