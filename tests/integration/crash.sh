#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# kill -9 of the server at random moments under load, again and again: what a
# successful flush or FUA covered is there, every other sector is old or new,
# whole. SEED=N replays, ROUNDS=N makes more or fewer.

. "$(dirname "$0")/disk-lib.sh"

seed=${SEED:-$((RANDOM * 32768 + RANDOM + 1))}
rounds=${ROUNDS:-$(share 100)}
echo "SEED=$seed ROUNDS=$rounds"

# The parameters of the server take turns.
parameters=(
  ""
  "cache-size=4M"
  "dirty-background-ratio=1 dirty-ratio=5"
  "writeback-interval=600 dirty-expire=600"
  "direct=off"
  "cache=writethrough"
  "folio-max=4K cache-size=8M"
  "cache=none"
)

new_disk 32M
for round in $(seq "$rounds"); do
  read -r -a words <<<"${parameters[round % ${#parameters[@]}]}" || true
  start_disk "${words[@]}"
  "$tools_dir/crash" --uri "$uri" --state "$tmp/state" \
                     --seed $((seed + round)) --kill-pid "$pid" ||
    fail "round $round, ${words[*]}"
  status=0
  wait_folio || status=$?
  [ $status -eq 137 ] || fail "round $round: the server's status is $status"
  forget_owner
done

start_disk
"$tools_dir/crash" --uri "$uri" --state "$tmp/state" --verify ||
  fail "after the last round"
stop_folio
look_inside
