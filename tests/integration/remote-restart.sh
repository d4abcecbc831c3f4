#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# The remote server dies under load, at any point of its work, takes with it
# what was not flushed, and comes back, again and again: no client sees an error
# or a wrong byte, and after the next flush the remote disk is exactly what
# clients wrote. SEED=N replays, ROUNDS=N makes more or fewer.

. "$(dirname "$0")/remote-lib.sh"
. "$(dirname "$0")/disk-lib.sh"

new_seed
rounds=${ROUNDS:-$(share 50)}
RANDOM=$seed

# The parameters take turns.
parameters=(
  ""
  "cache-size=4M"
  "connections=1 io-depth=4"
  "dirty-background-ratio=1 dirty-ratio=5"
  "cache=writethrough"
  "connections=8 folio-max=4K"
  "writeback-interval=600 dirty-expire=600 dirty-background-ratio=30"
)

format_disk 8M
store=$remote_uri
died=0
for round in $(seq "$rounds"); do
  read -r -a words <<<"${parameters[round % ${#parameters[@]}]}" || true
  seed=$((seed + 1))
  # Some lives are just long enough to say hello, none is as long as it takes
  # to write everything.
  remote_mortal "$disk" $((RANDOM % 4000 + 100)) $((RANDOM % 200 + 1)) \
                $((RANDOM % 8000 + 1))
  start_disk "${words[@]}"
  "$tools_dir/oracle" --uri "$uri" --state "$tmp/state" --seed "$seed" \
                      --ops "${OPS:-800}" --max-len 256K ||
    fail "round $round, ${words[*]}"
  "$tools_dir/hold" --uri "$uri" --flush </dev/null || fail "round $round: flush"
  # Whatever the server still has only in memory is lost now.
  died=$((died + $(deaths)))
  end_mortal
  look_inside
  "$tools_dir/oracle" --state "$tmp/state" --compare-file "$bytes" ||
    fail "round $round, ${words[*]}: the remote disk after a flush"
  kill_folio
  forget_owner
done
echo "the server died $died times in $rounds rounds"
[ "$died" -ge "$rounds" ] || fail "that is too few to show anything"
