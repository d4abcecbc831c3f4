# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# What the random-ops tests share: random requests against a server, its
# answers compared with an oracle's, over several lives of the server.
# Sourced, never run.
#
# SEED=N replays the requests of an earlier run; OPS=N makes so many of them in
# each life, which a build with sanitizers otherwise makes fewer of (see share); LIVES=N
# is how many there are of each disk.

# shellcheck shell=bash

. "$(dirname "${BASH_SOURCE[0]}")/disk-lib.sh"

seed=${SEED:-$((RANDOM * 32768 + RANDOM + 1))}
echo "SEED=$seed"

# random_ops LIVES SIZE [PARAMETER...]: a new disk of SIZE bytes served with
# these parameters; the server ends with SIGTERM and starts again between the
# lives, and after each life the file is compared. $oracle_options go to the
# oracle as well; $ops is how many requests a life has (without it 4000).
oracle_options=()
random_ops ()
{
  local lives=$1 size=$2 life requests
  shift 2
  lives=${LIVES:-$lives}
  requests=${OPS:-$(share "${ops:-4000}")}
  echo "== $size $*"
  rm -f "$tmp/state"
  new_disk "$size"
  for life in $(seq "$lives"); do
    seed=$((seed + 1))
    start_disk "$@"
    "$tools_dir/oracle" --uri "$uri" --state "$tmp/state" --seed "$seed" \
                        --ops "$requests" "${oracle_options[@]}" ||
      fail "life $life of $size $*"
    stop_folio
    look_inside
    "$tools_dir/oracle" --state "$tmp/state" --compare-file "$bytes" ||
      fail "the file after life $life of $size $*"
  done
}
