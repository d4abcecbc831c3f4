# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Whether a failure may be one of time alone. Sourced by run-one.sh.
#
# A test that was too late for something (a server was not up in time, or the
# test was killed for its time) ends with status 75, and tests/run tries it
# again; all other failures are final. Late is only who shows nothing else: a
# server that crashed is not up in time either.

# shellcheck shell=bash

# What sanitizers, the C library, shells, cmocka and fail of functions.sh print.
accusations='(Address|Leak|Thread|UndefinedBehavior)Sanitizer|runtime error: '
accusations+='|Assertion .*failed|(core dumped|stack smashing|buffer overflow)'
accusations+='|Aborted|Segmentation fault|Bus error|Illegal instruction'
accusations+='|Floating point exception|Trace/breakpoint trap'
accusations+='|(free|malloc|realloc|calloc|munmap_chunk|corrupt)[a-z_]*\(\): '
accusations+='|malloc_consolidate|corrupted |double free'
accusations+='|^FAIL: |^\[  FAILED  \]'

# accused FILE...: prints the first such line in each, and succeeds if there is
# one.
accused ()
{
  local file line found=1
  for file; do
    [ -f "$file" ] || continue
    line=$(grep -a -m 1 -E -- "$accusations" "$file") || continue
    echo "$file: $line"
    found=0
  done
  return $found
}

# only_late OUTPUT DIRECTORY: neither the test's output, if that is a file, nor
# what it left in its directory says more than that it is late.
only_late ()
{
  local found
  if found=$(accused "$2"/*.log "$2"/sanitizer.* "$1"); then
    echo "FAIL: late, but this is no matter of time:"
    echo "$found"
    return 1
  fi
}
