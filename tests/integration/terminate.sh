#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# SIGTERM, or SIGABRT, under load, again and again: every write that was acknowledged is in
# the file, flushed or not; those that were not are there whole or not at all.
# SEED=N replays, ROUNDS=N makes more or fewer.

. "$(dirname "$0")/disk-lib.sh"

seed=${SEED:-$((RANDOM * 32768 + RANDOM + 1))}
rounds=${ROUNDS:-$(share 20)}
echo "SEED=$seed ROUNDS=$rounds"

ulimit -c 0
new_disk 64M
for round in $(seq "$rounds"); do
  how=--terminate want=0
  [ $((round % 2)) = 0 ] || how=--abort want=134
  start_disk writeback-interval=600 dirty-expire=600
  "$tools_dir/crash" --uri "$uri" --state "$tmp/state" \
                     --seed $((seed + round)) --flush 0 --fua 0 \
                     --kill-pid "$pid" $how ||
    fail "round $round"
  status=0
  wait_folio || status=$?
  [ $status -eq $want ] || fail "round $round: the server's status is $status"
  forget_owner
  look_inside
  "$tools_dir/crash" --state "$tmp/state" --file "$bytes" ||
    fail "the file after round $round"
done
