#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Runs one test for "make check": run-one.sh COMMAND [ARG...]. A test that
# hangs is killed, with all that it started, and fails. Slow tests may take
# longer, and so may all tests in a build with sanitizers.
#
# The status is the test's, but that one which was killed for its time has 75,
# as has one that says itself that it was too late, and 1 if either shows any
# other fault as well: see suite/verdict.sh.

set -u
. "$(dirname "$0")/suite/verdict.sh"

case ",${SANITIZERS:-}," in
  *,address,*) factor=3 ;;
  *,thread,*) factor=8 ;;
  *) factor=1 ;;
esac
export FOLIO_TIME_FACTOR=$factor

for name; do :; done
limit=600
for slow in ${FOLIO_SLOW_TESTS:-}; do
  case $name in
    "$slow" | */"$slow") limit=1200 ;;
  esac
done
limit=$((${FOLIO_TEST_TIMEOUT:-$limit} * factor))

# Freed memory is poisoned, so that use after free shows.
export MALLOC_PERTURB_=$((RANDOM % 255 + 1))
# Programs that are not servers: see nbdkit.sh for those.
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1:halt_on_error=1}
tsan=halt_on_error=0:exitcode=66:second_deadlock_stack=1
[ ! -f "$(dirname "$0")/tsan.supp" ] ||
  tsan=$tsan:suppressions=$(cd "$(dirname "$0")" && pwd)/tsan.supp
export TSAN_OPTIONS=${TSAN_OPTIONS:-$tsan}
case ",${SANITIZERS:-}," in
  *,thread,*) ! setarch -R true 2>/dev/null || set -- setarch -R "$@" ;;
esac

# Its directory: see functions.sh.
FOLIO_TMP=$(mktemp -d "/tmp/folio-${name##*/}.XXXXXX") || exit 1
export FOLIO_TMP

# What it prints, if that goes to a file: a log of make check.
output=/proc/$$/fd/1
start=$SECONDS
timeout -k 10 "$limit" "$@"
status=$?
took=$((SECONDS - start))
# Of all that has ended and was waited for, in user mode and in the kernel.
read -ra stat <"/proc/$$/stat"
spent=$((stat[15] + stat[16]))
printf 'run-one.sh: %d seconds, %d.%02d of processor time\n' \
  $took $((spent / 100)) $((spent % 100))
case $status in
  124 | 137)
    status=1
    if [ $took -ge "$limit" ]; then
      echo "LATE: killed after $took of $limit seconds"
      status=75
    fi ;;
  75) [ ! -f "$output" ] || grep -q '^LATE: ' "$output" || status=1 ;;
esac
[ $status -ne 75 ] || only_late "$output" "$FOLIO_TMP" || status=1
[ -n "${FOLIO_KEEP:-}" ] || rm -rf "$FOLIO_TMP"
exit $status
