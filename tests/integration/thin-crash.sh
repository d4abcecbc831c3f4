#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# kill -9 of the server of a thin disk at random moments under load: what a successful
# flush or FUA covered is there, every other sector is old or new, whole, and nothing is
# wrong with the image. Snapshots made between are what they were. SEED=N replays,
# ROUNDS=N makes more or fewer.

. "$(dirname "$0")/folio-img-lib.sh"

seed=${SEED:-$((RANDOM * 32768 + RANDOM + 1))}
rounds=${ROUNDS:-$(share 30)}
echo "SEED=$seed ROUNDS=$rounds"

# The parameters of the server take turns.
parameters=(
  ""
  "cache-size=4M"
  "dirty-background-ratio=1 dirty-ratio=5"
  "io=threads"
  "cache=writethrough"
  "cache=none"
)

# Each round may begin with a snapshot of what the last one left.
disk=$tmp/disk.thin
img_status 0 create -s 32M --store-size 400M "$disk"
for round in $(seq "$rounds"); do
  read -r -a words <<<"${parameters[round % ${#parameters[@]}]}" || true
  if [ $((round % 10)) = 5 ]; then
    img_status 0 snapshot create "round$round" "$disk"
    img_status 0 convert -q -O raw "$disk" "$tmp/round$round.raw"
  fi
  start_folio "$disk" fs=thin "${words[@]}"
  "$tools_dir/crash" --uri "$uri" --state "$tmp/state" \
                     --seed $((seed + round)) --kill-pid "$pid" ||
    fail "round $round, ${words[*]}"
  status=0
  wait_folio || status=$?
  [ $status -eq 137 ] || fail "round $round: the server's status is $status"
  clean "$disk"
done

start_folio "$disk" fs=thin
"$tools_dir/crash" --uri "$uri" --state "$tmp/state" --verify ||
  fail "after the last round"
stop_folio
clean "$disk"
for raw in "$tmp"/round*.raw; do
  [ -e "$raw" ] || continue
  name=$(basename "$raw" .raw)
  img_status 0 compare -q -F raw --snapshot "$name" "$disk" "$raw"
done
