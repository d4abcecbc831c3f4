/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What tests of the NBD store stand on: see nbd-rig.h.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/nbd/state.h"
#include "tests/tools/util.h"
#include "tests/unit/nbd-rig.h"

#define MAX_ARGS 24
#define TICKS_PER_RETRY 8 /* the store's, if a tick is not too short or long */

static void
rig_log (struct env *env, enum log_level level, const char *message)
{
  struct nbd_rig *rig = (struct nbd_rig *) env; /* its first member */

  printf ("# %s\n", message);
  if (level != LOG_ERROR)
    return;
  pthread_mutex_lock (&rig->log_lock);
  snprintf (rig->last_error, sizeof rig->last_error, "%s", message);
  pthread_mutex_unlock (&rig->log_lock);
  atomic_fetch_add (&rig->errors, 1);
  env->wake (env, &rig->errors);
}

void
nbd_rig_init (struct nbd_rig *rig)
{
  memset (rig, 0, sizeof *rig);
  signal (SIGPIPE, SIG_IGN);
  env_init (&rig->env);
  rig->env.log = rig_log;
  pthread_mutex_init (&rig->log_lock, NULL);
  strcpy (rig->dir, "/tmp/folio-test.XXXXXX");
  assert_non_null (mkdtemp (rig->dir));
  snprintf (rig->socket, sizeof rig->socket, "%s/sock", rig->dir);
  snprintf (rig->pidfile, sizeof rig->pidfile, "%s/pid", rig->dir);
  snprintf (rig->disk, sizeof rig->disk, "%s/disk", rig->dir);
  snprintf (rig->uri, sizeof rig->uri, "nbd+unix:///?socket=%s", rig->socket);
}

void
nbd_rig_serve (struct nbd_rig *rig, const char *const *args)
{
  const char *argv[MAX_ARGS] = { getenv ("NBDKIT"),   "-f", "-U",
                                 rig->socket,         "-P", rig->pidfile,
                                 "--exit-with-parent" };
  unsigned n = 7;
  struct stat st;

  if (argv[0] == NULL)
    argv[0] = "nbdkit";
  while (*args && n < MAX_ARGS - 1)
    argv[n++] = *args++;
  unlink (rig->socket);
  unlink (rig->pidfile);
  rig->server = fork ();
  if (rig->server == 0) {
    execvp (argv[0], (char **) argv);
    _exit (127);
  }
  assert_true (rig->server > 0);
  while (stat (rig->pidfile, &st) < 0 || st.st_size == 0) {
    assert_int_equal (waitpid (rig->server, NULL, WNOHANG), 0);
    sched_yield ();
  }
}

void
nbd_rig_serve_disk (struct nbd_rig *rig, uint64_t size)
{
  const char *args[] = { "file", rig->disk, NULL };

  nbd_rig_make_file (rig->disk, size);
  nbd_rig_serve (rig, args);
}

void
nbd_rig_kill (struct nbd_rig *rig, int sig)
{
  assert_true (rig->server > 0);
  assert_int_equal (kill (rig->server, sig), 0);
  nbd_rig_await_end (rig);
}

void
nbd_rig_await_end (struct nbd_rig *rig)
{
  assert_int_equal (waitpid (rig->server, NULL, 0), rig->server);
  rig->server = 0;
}

void
nbd_rig_freeze (struct nbd_rig *rig)
{
  int status;

  assert_int_equal (kill (rig->server, SIGSTOP), 0);
  assert_int_equal (waitpid (rig->server, &status, WUNTRACED), rig->server);
  assert_true (WIFSTOPPED (status));
}

struct nbd_store_options
nbd_rig_options (struct nbd_rig *rig)
{
  return (struct nbd_store_options) {
    .uri = rig->uri,
    .connections = 4,
    .io_depth = 16,
    .retry = 3600 * NSEC_PER_SEC,
  };
}

static void
on_changed (void *opaque)
{
  struct nbd_rig *rig = opaque;

  atomic_fetch_add (&rig->changed, 1);
}

/* Also while the store is idle, when its own timer stands. */
static void
on_pass (struct ev_loop *loop, ev_async *async, int revents)
{
  struct nbd_rig *rig = async->data;

  (void) revents;
  ev_invoke (loop, &nbd_store_of (rig->store)->tick, EV_TIMER);
  completion_signal (&rig->env, &rig->passed);
}

void
nbd_rig_open (struct nbd_rig *rig, const struct nbd_store_options *options)
{
  char message[300] = "";

  rig->tick = options->retry / TICKS_PER_RETRY;
  if (nbd_store_open (&rig->env, options, &rig->store, message,
                      sizeof message) < 0)
    fail_msg ("%s", message);
  rig->store->changed = on_changed;
  rig->store->opaque = rig;
  store_loop_make (&rig->on);
  ev_async_init (&rig->pass, on_pass);
  rig->pass.data = rig;
  ev_async_start (rig->on.ev, &rig->pass);
  store_loop_start (&rig->on, rig->store);
}

void
nbd_rig_start (struct nbd_rig *rig, const char *const *args)
{
  struct nbd_store_options o = nbd_rig_options (rig);

  nbd_rig_serve (rig, args);
  nbd_rig_open (rig, &o);
}

void
nbd_rig_close (struct nbd_rig *rig)
{
  if (rig->on.running)
    store_loop_end (&rig->on, rig->store);
}

static void
remove_directory (const char *path)
{
  DIR *dir = opendir (path);
  struct dirent *entry;

  assert_non_null (dir);
  while ((entry = readdir (dir)) != NULL)
    if (entry->d_name[0] != '.')
      unlinkat (dirfd (dir), entry->d_name,
                entry->d_type == DT_DIR ? AT_REMOVEDIR : 0);
  closedir (dir);
  rmdir (path);
}

void
nbd_rig_exit (struct nbd_rig *rig)
{
  if (rig->server)
    nbd_rig_kill (rig, SIGKILL);
  remove_directory (rig->dir);
}

int
nbd_rig_setup (void **state)
{
  nbd_rig_init (*state = xcalloc (1, sizeof (struct nbd_rig)));
  return 0;
}

int
nbd_rig_teardown (void **state)
{
  struct nbd_rig *rig = *state;

  nbd_rig_exit (rig);
  if (!rig->on.running) {
    pthread_mutex_destroy (&rig->log_lock);
    free (rig);
  }
  return 0;
}

/* ------------------------------------------------------- a clock that stands */

static uint64_t
stopped_now (struct env *env)
{
  return atomic_load (&((struct nbd_rig *) env)->clock);
}

/* A deadline comes when the test moves the clock, or if it so wishes, at once. */
static void
stopped_wait (struct env *env, _Atomic uint32_t *word, uint32_t value,
              uint64_t deadline)
{
  struct nbd_rig *rig = (struct nbd_rig *) env;

  if (deadline == ENV_FOREVER)
    rig->real_wait (env, word, value, deadline);
  else if (rig->hasten && stopped_now (env) < deadline)
    atomic_store (&rig->clock, deadline);
  else
    poll (NULL, 0, 1);
}

void
nbd_rig_stop_clock (struct nbd_rig *rig)
{
  rig->clock = rig->env.now (&rig->env);
  rig->real_wait = rig->env.wait;
  rig->env.now = stopped_now;
  rig->env.boottime = NULL;
  rig->env.wait = stopped_wait;
}

static void
pass (struct nbd_rig *rig, uint64_t time)
{
  atomic_store (&rig->passed.word, 0);
  atomic_fetch_add (&rig->clock, time);
  ev_async_send (rig->on.ev, &rig->pass);
  completion_wait (&rig->env, &rig->passed);
}

void
nbd_rig_tick (struct nbd_rig *rig)
{
  pass (rig, rig->tick);
}

void
nbd_rig_stand_still (struct nbd_rig *rig, unsigned n)
{
  pass (rig, n * rig->tick);
}

/* ----------------------------------------------------------------- requests */

int
nbd_rig_read_start (struct nbd_rig *rig, uint8_t *first)
{
  uint8_t buf[512];
  int r = store_io (rig->store, STORE_READ, 0, 0, buf, sizeof buf);

  *first = buf[0];
  return r;
}

static void
pending_done (struct store_req *req, int error)
{
  struct pending *p = (struct pending *) req;

  p->error = error;
  completion_signal (p->env, &p->done);
}

void
pending_start (struct nbd_rig *rig, struct pending *p, enum store_op op,
               unsigned flags, uint64_t offset, int fill)
{
  struct store_req *reqs[1] = { &p->req };

  memset (p, 0, sizeof *p);
  memset (p->buf, fill, sizeof p->buf);
  p->iov = (struct iovec) { p->buf, sizeof p->buf };
  p->env = &rig->env;
  p->req = (struct store_req) {
    .op = op,
    .flags = flags,
    .offset = offset,
    .length = sizeof p->buf,
    .iov = &p->iov,
    .niov = 1,
    .done = pending_done,
  };
  rig->store->ops->submit (rig->store, reqs, 1);
}

bool
pending_over (struct pending *p)
{
  return atomic_load (&p->done.word) != 0;
}

int
pending_wait (struct pending *p)
{
  completion_wait (p->env, &p->done);
  return p->error;
}

void
nbd_rig_lose (struct nbd_rig *rig)
{
  struct nbd_store *nbd = nbd_store_of (rig->store);
  uint32_t losses = rig->store->losses;

  pthread_mutex_lock (&nbd->lock);
  session_lose (nbd->session, "for a test");
  pthread_mutex_unlock (&nbd->lock);
  nbd_store_wake (nbd);
  UNTIL (rig->store->losses > losses);
}

void
nbd_rig_make_file (const char *path, uint64_t size)
{
  int fd = open (path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);

  assert_true (fd >= 0);
  assert_int_equal (ftruncate (fd, (off_t) size), 0);
  close (fd);
}

static bool
last_error_has (struct nbd_rig *rig, const char *text)
{
  bool has;

  pthread_mutex_lock (&rig->log_lock);
  has = strstr (rig->last_error, text) != NULL;
  pthread_mutex_unlock (&rig->log_lock);
  return has;
}

void
nbd_rig_await_error (struct nbd_rig *rig, const char *text)
{
  uint32_t seen;

  for (;;) {
    seen = atomic_load (&rig->errors);
    if (last_error_has (rig, text))
      return;
    rig->env.wait (&rig->env, &rig->errors, seen, ENV_FOREVER);
  }
}
