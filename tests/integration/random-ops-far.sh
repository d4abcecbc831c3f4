#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Random requests in windows of a huge sparse disk: around the places where a
# number of 32 bits would overflow, be it of bytes, of sectors or of pages, and
# at the end.

. "$(dirname "$0")/random-ops-lib.sh"

# ext4 ends at 16 TiB; tmpfs does not.
disk=$tmp/far.img
size=64T
if ! truncate -s $size "$disk" 2>/dev/null; then
  shm=$(mktemp -d /dev/shm/folio.XXXXXX 2>/dev/null || true)
  if [ -n "$shm" ]; then
    on_exit rm -rf "$shm"
    disk=$shm/far.img
  fi
  if [ -z "$shm" ] || ! truncate -s $size "$disk" 2>/dev/null; then
    disk=$tmp/far.img
    size=15T
    truncate -s $size "$disk" || skip "no file system here takes huge files"
  fi
fi
echo "a disk of $size"

windows=($((4096 - 16))M $((2 * 1024 * 1024 - 16))M)
case $size in
  64T) windows+=($((16 * 1024 * 1024 - 16))M $((64 * 1024 * 1024 - 32))M) ;;
  15T) windows+=($((15 * 1024 * 1024 - 32))M) ;;
esac

for life in 1 2; do
  seed=$((seed + 1))
  start_folio "$disk" cache-size=8M
  for window in "${windows[@]}"; do
    echo "== window at $window, life $life"
    "$tools_dir/oracle" --uri "$uri" --state "$tmp/state-$window" \
                        --window "$window" --size 32M --seed "$seed" \
                        --ops "${OPS:-$(share 2000)}" ||
      fail "window at $window, life $life"
  done
  # What was written in one window is still there after all the others.
  for window in "${windows[@]}"; do
    "$tools_dir/oracle" --uri "$uri" --state "$tmp/state-$window" \
                        --window "$window" --size 32M --verify-only ||
      fail "window at $window, life $life, afterwards"
  done
  stop_folio
done
