#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# What tests/run makes of a suite of tests that fail in all kinds of ways: only
# those that were nothing but late are tried again, once, and what became of each
# is counted and said.

. "$(dirname "$0")/../functions.sh"

# ------------------------------------------------------------ a suite of its own

fake=$tmp/fake/tests
mkdir -p "$fake" "$tmp/ran" "$tmp/build"
names=

# fake_test NAME <<SCRIPT: one test more. $first in it is true when it runs for
# the first time.
fake_test ()
{
  names="$names $1.sh"
  {
    echo "echo >>'$tmp/ran/$1'"
    echo "first () { [ \$(wc -l <'$tmp/ran/$1') = 1 ]; }"
    echo ". '$tests_dir/functions.sh'"
    cat
  } >"$fake/$1.sh"
}

# A test that hangs: for the sake of time it says itself that its limit is over,
# to its parent, timeout(1), once that waits for it. One that is deaf is told to
# end, then killed.
hang='{
  until [[ $(</proc/$PPID/stat) == *") S "* ]]; do :; done
  kill -ALRM $PPID
  while :; do sleep 1 || true; done
}'
deaf='trap "kill -ALRM $PPID" TERM;'

fake_test passes <<<'true'
fake_test is-skipped <<<'skip "nothing to do"'
fake_test has-wrong-data <<<'fail "not what was written"'
fake_test ends-without-a-word <<<'exit 1'
fake_test says-nothing-of-being-late <<<'exit 75'
fake_test runs-a-tool-that-was-too-late <<<'timeout 0.1 sleep 100'
fake_test is-killed <<<'kill -9 $$'
fake_test is-late-once <<<'! first || late "no server"'
fake_test is-late-twice <<<'late "no server"'
fake_test is-late-in-a-shell-of-its-own-once <<<'(! first || late "no server")'
fake_test hangs-once <<<"! first || $hang"
fake_test hangs-twice <<<"$hang"
fake_test is-late-then-has-wrong-data <<'EOF'
! first || late "no server"
fail "not what was written"
EOF
fake_test is-late-then-is-skipped <<'EOF'
! first || late "no server"
skip "nothing to do"
EOF
fake_test hangs-after-a-report-of-its-own <<EOF
first || exit 0
echo "WARNING: ThreadSanitizer: data race (pid=1)"
$hang
EOF
fake_test hangs-after-a-failed-check <<EOF
first || exit 0
echo "[  FAILED  ] test_of_something"
$hang
EOF
fake_test is-late-after-an-assertion-in-a-log <<'EOF'
first || exit 0
echo "nbdkit: backend.c:1: f: Assertion \`x == 1' failed." >"$tmp/main.log"
late "no answer"
EOF
fake_test is-late-with-a-report <<'EOF'
first || exit 0
echo "ERROR: AddressSanitizer: heap-use-after-free" >"$tmp/sanitizer.1"
late "no answer"
EOF
fake_test hangs-deaf-with-a-report <<EOF
first || exit 0
echo "ERROR: AddressSanitizer: heap-use-after-free" >"\$tmp/sanitizer.1"
$deaf $hang
EOF
fake_test hangs-deaf-once <<<"! first || { $deaf $hang; }"
fake_test is-late-for-a-server-that-crashed <<'EOF'
first || exit 0
bash -c 'ulimit -c 0; kill -ABRT $$' &
echo $! >"$tmp/main.child"
touch "$tmp/main.log"
while kill -0 $! 2>/dev/null; do sleep 0.01; done
late "no answer"
EOF
fake_test is-late-for-a-server-that-was-killed-once <<'EOF'
first || exit 0
sleep 1000 &
echo $! >"$tmp/main.child"
touch "$tmp/main.log"
kill -9 $!
late "no answer"
EOF

# What automake makes of it, as far as tests/run knows.
cat >"$fake/Makefile" <<EOF
hangs-%: export FOLIO_TEST_TIMEOUT = 0
LONG_TESTS = passes.sh
WAITING_TESTS = hangs-once.sh hangs-twice.sh
list-tests:
	@echo \$(LIST)
check: \$(TESTS:.sh=.log)
again:
%.log: %.sh again
	@'$abs_top_srcdir/build-aux/test-driver' --test-name \$< --log-file \$@ \\
	  --trs-file \$*.trs --color-tests no --enable-hard-errors yes -- \\
	  '$tests_dir/run-one.sh' bash '$fake/\$<'
EOF

# run_fake STRICT: what tests/run would print, into $tmp/output.
run_fake ()
{
  (
    unset MAKEFLAGS FOLIO_TMP FOLIO_KEEP FOLIO_TEST_TIMEOUT
    export SANITIZERS=
    set +eu
    trap - EXIT ERR
    . "$abs_top_srcdir/contrib/setup.sh"
    . "$tests_dir/suite/counting.sh"
    build=$tmp/build jobs=8 strict=$1
    suite fake "$tmp/fake" "$names"
    summary
  ) >"$tmp/output" 2>&1 </dev/null
}

# ---------------------------------------------------------------------- verdicts

# listed HEADING: the names under it at the end of the output.
listed ()
{
  sed -n "/^$1/,/^\$/s/^  fake: \\([^ :]*\\)\\.sh.*/\\1/p" "$tmp/output"
}

# expect WHAT NAME... <<LIST: these are the names in the list.
expect ()
{
  local what=$1 differences
  shift
  differences=$(diff <(printf '%s\n' "$@" | sort) <(sort)) ||
    fail "$what: $differences"
}

unsteady=(is-late-once is-late-in-a-shell-of-its-own-once hangs-once
          hangs-deaf-once is-late-for-a-server-that-was-killed-once)
in_vain=(is-late-twice hangs-twice is-late-then-has-wrong-data
         is-late-then-is-skipped)
final=(has-wrong-data ends-without-a-word says-nothing-of-being-late
       runs-a-tool-that-was-too-late is-killed hangs-after-a-report-of-its-own
       hangs-after-a-failed-check is-late-after-an-assertion-in-a-log
       is-late-with-a-report hangs-deaf-with-a-report
       is-late-for-a-server-that-crashed)

# summed STATUS LAST-LINE STRICT: run it, which ends so.
summed ()
{
  local status=0
  run_fake "$3" || status=$?
  cat "$tmp/output"
  [ $status = "$1" ] || fail "status $status"
  [ "$(tail -n 1 "$tmp/output")" = "$2" ] || fail "not \"$2\""
}

summed 1 "$((1 + ${#unsteady[@]})) passed, \
$((${#in_vain[@]} + ${#final[@]})) failed, 1 skipped" 0
expect "failed" "${in_vain[@]}" "${final[@]}" < <(listed Failed:)
expect "unsteady" "${unsteady[@]}" < <(listed Unsteady:)
expect "run twice" "${unsteady[@]}" "${in_vain[@]}" \
  < <(cd "$tmp/ran" && wc -l -- * | sed -n 's/^ *2 //p')
for name in "${unsteady[@]}" "${in_vain[@]}"; do
  grep -q '^LATE: ' "$tmp/build/unsteady/fake/$name.log" ||
    fail "$name: the log of its first run is not kept"
done

echo "== all that is unsteady, and nothing worse"
names=" passes.sh"
for name in "${unsteady[@]}"; do
  names="$names $name.sh"
done
rm "$tmp/ran"/*
summed 0 "$((1 + ${#unsteady[@]})) passed, 0 failed" 0
expect "unsteady" "${unsteady[@]}" < <(listed Unsteady:)

echo "== strictly"
rm "$tmp/ran"/*
summed 1 "1 passed, ${#unsteady[@]} failed" 1
expect "failed, strictly" "${unsteady[@]}" < <(listed Failed:)
expect "unsteady, strictly" "${unsteady[@]}" < <(listed Unsteady:)
