/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Tests that list themselves, in the order in which they stand:
 *
 *   TEST (what_must_hold)
 *   {
 *     assert_true (...);
 *   }
 *
 *   RUN_TESTS ()
 */

#ifndef FOLIO_TESTS_TEST_H
#define FOLIO_TESTS_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define MAX_TESTS 64

/* Those of the program. */
static struct CMUnitTest unit_tests[MAX_TESTS] __attribute__ ((unused));
static size_t nr_unit_tests __attribute__ ((unused));

/* A test; its body follows. */
#define TEST(name)                                                             \
  static void test_##name (void **state);                                      \
  __attribute__ ((constructor (1000 + __LINE__))) static void list_##name (    \
    void)                                                                      \
  {                                                                            \
    if (nr_unit_tests == MAX_TESTS)                                            \
      abort ();                                                                \
    unit_tests[nr_unit_tests++] =                                              \
      (struct CMUnitTest) cmocka_unit_test (test_##name);                      \
  }                                                                            \
  static void test_##name (void **state __attribute__ ((unused)))

/* A test whose body has a fixture, f: start, an expression, makes it, and stop ends
 * it behind the body.  If the test has failed, threads may be using it and locks be
 * held: then it stays as it is, where leak checkers find it, and nothing keeps the
 * message waiting.
 */
#define TEST_WITH(name, type, start, stop)                                     \
  static void with_##name (type *f);                                           \
  TEST (name)                                                                  \
  {                                                                            \
    static type *f;                                                            \
                                                                               \
    f = start;                                                                 \
    with_##name (f);                                                           \
    stop (f);                                                                  \
  }                                                                            \
  static void with_##name (type *f __attribute__ ((unused)))

static inline void
set_up_each (CMFixtureFunction setup, CMFixtureFunction teardown)
{
  size_t i;

  for (i = 0; i < nr_unit_tests; i++) {
    unit_tests[i].setup_func = setup;
    unit_tests[i].teardown_func = teardown;
  }
}

/* The program: it runs the tests, as a group with a set-up and a tear-down ... */
#define RUN_GROUP(setup, teardown)                                             \
  int main (void)                                                              \
  {                                                                            \
    return _cmocka_run_group_tests ("tests", unit_tests, nr_unit_tests, setup, \
                                    teardown);                                 \
  }

/* ... without, */
#define RUN_TESTS() RUN_GROUP (NULL, NULL)

/* ... or each with these. */
#define RUN_EACH(setup, teardown)                                              \
  int main (void)                                                              \
  {                                                                            \
    set_up_each (setup, teardown);                                             \
    return _cmocka_run_group_tests ("tests", unit_tests, nr_unit_tests, NULL,  \
                                    NULL);                                     \
  }

#endif /* FOLIO_TESTS_TEST_H */
