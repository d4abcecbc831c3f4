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

/* A test between a set-up and a tear-down; its body follows. */
#define TEST_BETWEEN(name, setup, teardown)                                    \
  static void test_##name (void **state);                                      \
  __attribute__ ((constructor (1000 + __LINE__))) static void list_##name (    \
    void)                                                                      \
  {                                                                            \
    if (nr_unit_tests == MAX_TESTS)                                            \
      abort ();                                                                \
    unit_tests[nr_unit_tests++] =                                              \
      (struct CMUnitTest) cmocka_unit_test_setup_teardown (test_##name, setup, \
                                                           teardown);          \
  }                                                                            \
  static void test_##name (void **state __attribute__ ((unused)))

/* A test without. */
#define TEST(name) TEST_BETWEEN (name, NULL, NULL)

/* A test whose body has a fixture, declared as `struct fixture *f' or the like: start,
 * an expression, makes it, and stop ends it behind the body.  If the test has failed,
 * threads may be using it and locks be held: then it stays as it is, where leak
 * checkers find it, and nothing keeps the message waiting.
 */
#define TEST_WITH(name, fixture, start, stop)                                  \
  static void with_##name (fixture);                                           \
  TEST (name)                                                                  \
  {                                                                            \
    static void *made;                                                         \
                                                                               \
    made = start;                                                              \
    with_##name (made);                                                        \
    stop (made);                                                               \
  }                                                                            \
  static void with_##name (fixture __attribute__ ((unused)))

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
