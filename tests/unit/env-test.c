/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The real environment, and what is built on any.
 */

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>

#include "fs/store.h"
#include "tests/unit/fake-store.h"
#include "tests/unit/test.h"

TEST (time_goes_on)
{
  struct env env;
  uint64_t before, after;

  env_init (&env);
  before = env.now (&env);
  after = env.now (&env);
  assert_true (before > 0);
  assert_true (after >= before);
}

/* Each of these would hang if it were wrong. */
TEST (waiting_ends_by_itself)
{
  _Atomic uint32_t word = 1;
  struct env env;
  uint64_t deadline;

  env_init (&env);
  env.wait (&env, &word, 0, ENV_FOREVER); /* it is not 0 */
  env.wait (&env, &word, 1, 0);           /* long past */
  deadline = env.now (&env) + NSEC_PER_MSEC;
  while (env.now (&env) < deadline)
    env.wait (&env, &word, 1, deadline);
}

struct relay {
  struct env env;
  struct completion there, back;
  int value;
};

static void *
answer (void *opaque)
{
  struct relay *relay = opaque;

  completion_wait (&relay->env, &relay->there);
  relay->value++;
  completion_signal (&relay->env, &relay->back);
  return NULL;
}

TEST (completions_pass_on_what_was_done_before)
{
  struct relay relay;
  pthread_t thread;
  int i;

  for (i = 0; i < 200; i++) {
    memset (&relay, 0, sizeof relay);
    env_init (&relay.env);
    assert_int_equal (pthread_create (&thread, NULL, answer, &relay), 0);
    relay.value = 41;
    completion_signal (&relay.env, &relay.there);
    completion_wait (&relay.env, &relay.back);
    assert_int_equal (relay.value, 42);
    completion_wait (&relay.env, &relay.back); /* it stays signalled */
    pthread_join (thread, NULL);
  }
}

struct log_env {
  struct env env;
  enum log_level level;
  char text[5000];
};

static void
keep (struct env *env, enum log_level level, const char *message)
{
  struct log_env *le = (struct log_env *) env; /* its first member */

  le->level = level;
  strcpy (le->text, message);
  errno = ENOTTY;
}

TEST (a_message_is_one_bounded_line)
{
  struct log_env le;
  char name[4000];

  env_init (&le.env);
  le.env.log = keep;
  errno = EDOM;
  env_log (&le.env, LOG_INFO, "%s: %d of %d", "a\nb\033c", 1, 2);
  assert_string_equal (le.text, "a b c: 1 of 2");
  assert_int_equal (le.level, LOG_INFO);
  assert_int_equal (errno, EDOM);
  memset (name, 'x', sizeof name - 1);
  name[sizeof name - 1] = '\0';
  env_log (&le.env, LOG_ERROR, "%s", name);
  assert_int_equal (strlen (le.text), 1023);
}

TEST (submit_wait_gives_the_result)
{
  struct env env;
  struct fake_store *fake;
  uint8_t buf[512] = { 7 };
  struct iovec iov = { buf, sizeof buf };
  struct store_req req = {
    .op = STORE_WRITE,
    .offset = 1024,
    .length = sizeof buf,
    .iov = &iov,
    .niov = 1,
  };

  env_init (&env);
  fake = fake_store_create (&env, 4096);
  assert_int_equal (store_submit_wait (&fake->store, &req), 0);
  assert_int_equal (fake->content[1024], 7);
  fake_store_fail_next (fake, STORE_WRITE, 1, -EIO);
  fake_store_latency (fake, STORE_WRITE, NSEC_PER_MSEC, false);
  assert_int_equal (store_submit_wait (&fake->store, &req), -EIO);
  assert_int_equal (store_submit_wait (&fake->store, &req), 0);
  fake->store.ops->close (&fake->store);
}

RUN_TESTS ()
