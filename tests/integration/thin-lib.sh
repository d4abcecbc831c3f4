# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Other tests, run with thin disks (see disk-lib.sh). Sourced, never run.

# shellcheck shell=bash

. "$(dirname "${BASH_SOURCE[0]}")/helpers.sh"

: "${SEED:=$((RANDOM * 32768 + RANDOM + 1))}"
export SEED
echo "SEED=$SEED"

# as_thin STORES TEST...: each of these on each kind of store, $STORES if that is given.
# Where none of that kind can be had, it is left out.
as_thin ()
{
  local stores=${STORES:-$1} store name status dir
  shift
  for name; do
    for store in $stores; do
      echo "== $name, STORE=$store"
      dir=$tmp/$store
      status=0
      mkdir "$dir"
      FORMAT=thin STORE=$store FOLIO_TMP=$dir bash "$here/$name.sh" || status=$?
      [ -n "${FOLIO_KEEP:-}" ] || rm -rf "$dir"
      case $status in
        0) ;;
        75) late "$name, STORE=$store" ;;
        77) echo "left out: $name, STORE=$store" ;;
        *) fail "FORMAT=thin STORE=$store SEED=$SEED $name.sh: status $status" ;;
      esac
    done
  done
}
