#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# The remote server dies under load and comes back several times, and then both
# servers are killed in the middle of it: what a successful flush or FUA covered
# is on the remote disk, whichever life of the remote server it was written to.
# SEED=N replays, ROUNDS=N makes more or fewer.

. "$(dirname "$0")/remote-lib.sh"
. "$(dirname "$0")/disk-lib.sh"

new_seed
rounds=${ROUNDS:-$(share 40)}
RANDOM=$seed

parameters=(
  ""
  "cache-size=4M"
  "dirty-background-ratio=1 dirty-ratio=5"
  "connections=1"
  "cache=writethrough"
  "folio-max=4K cache-size=8M"
)

format_disk 8M
store=$remote_uri
died=0
for round in $(seq "$rounds"); do
  read -r -a words <<<"${parameters[round % ${#parameters[@]}]}" || true
  seed=$((seed + 1))
  remote_mortal "$disk" $((RANDOM % 6000 + 1)) $((RANDOM % 6000 + 1)) \
                $((RANDOM % 6000 + 1)) $((RANDOM % 6000 + 1))
  start_disk "${words[@]}"
  "$tools_dir/crash" --uri "$uri" --state "$tmp/state" --seed "$seed" \
                     --max-len 64K --kill-pid "$pid" ||
    fail "round $round, ${words[*]}"
  wait_folio || true
  died=$((died + $(deaths)))
  end_mortal
  forget_owner
done
echo "the remote server died $died times in $rounds rounds"
[ "$died" -ge $((rounds / 2)) ] || fail "that is too few to show anything"

remote_mortal "$disk"
start_disk
"$tools_dir/crash" --uri "$uri" --state "$tmp/state" --verify ||
  fail "after the last round"
stop_folio
end_mortal
look_inside
