# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# What tests/run counts, and which tests it tries again. Sourced by what sets
#
#   build    the directory that logs go to
#   jobs     how many tests run side by side (see suite below)
#   strict   1 if a test that passed only when it was tried again has failed
#
# and has contrib/setup.sh.

# shellcheck shell=bash

passed=0 failed=0 skipped=0
failures=() unsteady=()

pass ()
{
  passed=$((passed + 1))
}

# failure WHAT [LOG]: count it, and show the end of its log.
failure ()
{
  failed=$((failed + 1))
  failures+=("$1")
  [ -n "${2:-}" ] || return 0
  echo "--- $1: the end of $2"
  tail -n 60 "$2" 2>/dev/null
  echo "---"
}

skip ()
{
  skipped=$((skipped + 1))
  echo "         skipped: $1: $2"
}

# check NAME COMMAND...: a step that counts as a test.
check ()
{
  local name=$1 log
  shift
  log=$build/${name// /-}.log
  say "$name"
  if "$@" >"$log" 2>&1 </dev/null; then pass; else failure "$name" "$log"; fi
}

# The last line, whatever happened. Nothing run is a failure.
summary ()
{
  local text
  trap - EXIT
  [ ! -d "$build" ] || give_back "$build"
  [ $((passed + failed)) -gt 0 ] || failure "nothing was run"
  if [ ${#unsteady[@]} -ne 0 ]; then
    echo
    echo "Unsteady: too late at first, and passed when tried again, alone:"
    printf '  %s\n' "${unsteady[@]}"
  fi
  if [ $failed -ne 0 ]; then
    echo
    echo "Failed:"
    printf '  %s\n' "${failures[@]}"
  fi
  say "done"
  text="$passed passed, $failed failed"
  [ $skipped -eq 0 ] || text="$text, $skipped skipped"
  echo "$text"
  # Without a status, exit in a trap would keep the one from before it.
  [ $failed -eq 0 ] || exit 1
  exit 0
}

# ------------------------------------------------------- what one test has done
#
# That is in the .trs file that automake's harness left, and in its log.

# result BASE: prints PASS, SKIP, FAIL or another of automake's words; LATE for
# a failure that run-one.sh calls so; nothing if the test did not run.
result ()
{
  local result
  result=$(sed -n 's/^:test-result: *\([A-Z]*\).*/\1/p' "$1.trs" 2>/dev/null)
  case $result:$(tail -n 1 "$1.log" 2>/dev/null) in
    FAIL:*'(exit status: 75)') echo LATE ;;
    *) echo "$result" ;;
  esac
}

# count BUILD DIRECTORY TEST: one that is late is counted when it was tried
# again, for which $late remembers it.
count ()
{
  local base=$2/tests/${3%.sh}
  case $(result "$base") in
    PASS | XFAIL) pass ;;
    SKIP) skip "$1: $3" "$(grep -m 1 '^SKIP: ' "$base.log" |
                           sed 's/^SKIP: //' || true)" ;;
    LATE) late+=("$3") ;;
    '') failure "$1: $3 (it did not run)" ;;
    *) failure "$1: $3" "$base.log" ;;
  esac
}

# again BUILD DIRECTORY TEST: once more, with nothing beside it. Its first log is
# kept.
again ()
{
  local base=$2/tests/${3%.sh} kept reason
  kept=$build/unsteady/$1/${3%.sh}.log
  mkdir -p "$(dirname "$kept")"
  cp "$base.log" "$kept"
  reason=$(grep -m 1 '^LATE: ' "$kept")
  say "$1: again, alone: $3: ${reason#LATE: }"
  rm -f "$base.trs" "$base.log"
  make -k -C "$2/tests" check TESTS="$3" >"$build/$1-again.log" 2>&1 </dev/null
  if [ "$(result "$base")" != PASS ]; then
    failure "$1: $3 (tried twice; the first log: $kept)" "$base.log"
    return
  fi
  unsteady+=("$1: $3: ${reason#LATE: } ($kept)")
  if [ "$strict" = 1 ]; then
    failure "$1: $3 (unsteady)"
  else
    pass
  fi
}

# ------------------------------------------------------------- all in one build

# The tests that took longest, for whoever wants all of it to take less time.
# slowest NAME DIRECTORY
slowest ()
{
  say "$1: the slowest, in seconds:" \
    "$(cd "$2/tests" &&
       grep -r --include='*.log' --exclude='*-suite.log' \
         '^run-one.sh: [0-9]* seconds' . |
       sed 's|^\./\(.*\)\.log:run-one.sh: \([0-9]*\) .*|\2 \1|' |
       sort -rn | head -n 8 |
       awk '{ printf "%s%s %s", n++ ? ", " : "", $2, $1 }')"
}

# tests_of DIRECTORY LIST: prints the names that the make expression LIST stands
# for.
tests_of ()
{
  make -s -C "$1/tests" list-tests LIST="$2"
}

# check_all DIRECTORY TESTS LOG: run them, with make's output on standard output,
# and automake's summary of them in the file LOG.
check_all ()
{
  [ -n "${2// /}" ] || return 0
  make -k -C "$1/tests" -j"$jobs" check TESTS="$2" TEST_SUITE_LOG="$3" 2>&1 \
    </dev/null
}

# Run those of a build's tests that the make expression LIST names: those that
# mostly wait beside the others, as they need no processor, and those that take
# long before those that do not.
# suite NAME DIRECTORY LIST
suite ()
{
  local name=$1 dir=$2 list=$3 waiting long short test line late=()
  waiting=$(tests_of "$dir" "\$(filter \$(WAITING_TESTS),$list)") &&
    list="\$(filter-out \$(WAITING_TESTS),$list)" &&
    long=$(tests_of "$dir" "\$(filter \$(LONG_TESTS),$list)") &&
    short=$(tests_of "$dir" "\$(filter-out \$(LONG_TESTS),$list)") ||
    { failure "$name: list of tests"; return; }
  find "$dir/tests" \( -name '*.trs' -o -name '*-suite.log' \) -delete
  say "$name: $(wc -w <<<"$long $short") tests, $jobs at a time, and" \
    "$(wc -w <<<"$waiting") that mostly wait, as many at a time"
  {
    check_all "$dir" "$waiting" waiting-suite.log &
    check_all "$dir" "$long $short" test-suite.log
    wait
  } |
    tee "$build/$name-check.log" |
    while read -r line; do
      case $line in
        PASS:* | FAIL:* | SKIP:* | ERROR:* | XPASS:* | XFAIL:*)
          say "  $name: $line" ;;
      esac
    done
  slowest "$name" "$dir"
  for test in $waiting $long $short; do
    count "$name" "$dir" "$test"
  done
  for test in ${late[@]+"${late[@]}"}; do
    again "$name" "$dir" "$test"
  done
}
