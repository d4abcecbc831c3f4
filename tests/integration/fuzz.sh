#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Whatever a client sends, in the protocol or out of it, on each kind of store: the
# server lives, each answer is one that the protocol has, and the disk holds what it
# must, for the client and in the store. SEED=N replays, REQUESTS=N sends so many on
# each, KINDS='FUNCTION...' picks some; "make fuzz-long" sends 100,000.

. "$(dirname "$0")/remote-lib.sh"

new_seed
requests=${REQUESTS:-$(share 2000)}
size=$((8 << 20))

# fuzz [OPTION...]: the server that was started, whose disk must afterwards begin
# with $tmp/want.
fuzz ()
{
  local status=0 own
  # Not the same requests for each.
  own=$((seed + $(cksum <<<"$kind" | cut -d ' ' -f 1)))
  "$tools_dir/fuzz" --socket "$sock" --seed $own --requests "$requests" \
                    --save "$tmp/want" "$@" || status=$?
  [ $status -eq 0 ] || { show_log; fail "$kind, SEED=$seed"; }
  stop_folio
}

in_file ()
{
  cmp -n "$(stat -c %s "$tmp/want")" "$tmp/want" "$1" ||
    fail "$kind: wrong in the store, SEED=$seed"
}

# The remote server's disk.
in_remote ()
{
  nbdcopy --no-extents --request-size=65536 "$remote_uri" - >"$tmp/remote.copy"
  in_file "$tmp/remote.copy"
}

new_file ()
{
  rm -f "$tmp/disk"
  head -c $((size / 2)) /dev/urandom >"$tmp/disk"
  truncate -s "${1:-$size}" "$tmp/disk"
}

file_with ()
{
  new_file $size
  start_folio "$tmp/disk" "$@"
  fuzz
  in_file "$tmp/disk"
}

remote_lacking ()
{
  remote_nbdkit "$@"
  start_folio "$remote_uri" cache-size=4M
  fuzz
  in_remote
  kill_remote
}

# ---------------------------------------------------------------------- kinds

file ()           { file_with cache-size=4M; }
file_buffered ()  { file_with cache-size=64M direct=off; }
file_tiny ()      { file_with cache-size=1M folio-max=4K readahead=0; }
file_through ()   { file_with cache-size=4M cache=writethrough; }
file_no_cache ()  { file_with cache=none; }
file_streams ()   { file_with cache-size=4M sequential-cutoff=64K; }
remote ()         { remote_lacking memory 8M; }
remote_no_zero () { remote_lacking --filter=nozero memory 8M zeromode=none; }
remote_no_fua ()  { remote_lacking --filter=fua memory 8M; }
remote_no_extents () { remote_lacking --filter=noextents --no-sr memory 8M; }
remote_no_fast_zero ()
{
  remote_lacking --filter=nozero memory 8M zeromode=plugin fastzeromode=none
}
remote_large_blocks ()
{
  remote_lacking --filter=blocksize-policy memory 8M blocksize-minimum=4096 \
                 blocksize-preferred=64K blocksize-maximum=128K \
                 blocksize-error-policy=error
}

file_odd ()
{
  new_file $((size - 1234567))
  start_folio "$tmp/disk" cache-size=4M
  fuzz
  in_file "$tmp/disk"
}

file_readonly ()
{
  local sum
  new_file $size
  sum=$(sha256sum <"$tmp/disk")
  start_folio -r -- "$tmp/disk" cache-size=4M
  fuzz
  [ "$(sha256sum <"$tmp/disk")" = "$sum" ] || fail "$kind: changed, SEED=$seed"
}

# Lengths of the protocol's whole 32 bits are inside, and most of it is one hole.
file_huge ()
{
  new_file 8T || { echo "not here"; return; }
  start_folio "$tmp/disk" cache-size=4M
  fuzz
  in_file "$tmp/disk"
  rm -f "$tmp/disk"
}

remote_huge ()
{
  remote_nbdkit memory 1P
  start_folio "$remote_uri" cache-size=4M
  fuzz
  kill_remote
}

remote_no_cache ()
{
  remote_nbdkit memory 8M
  start_folio "$remote_uri" cache-size=4M cache=none
  fuzz
  in_remote
  kill_remote
}

qcow2 ()
{
  command -v qemu-nbd >/dev/null || { echo "not here"; return; }
  rm -f "$tmp/disk.qcow2"
  qemu-img create -q -f qcow2 -o cluster_size=512 "$tmp/disk.qcow2" 8M
  remote_qemu -f qcow2 --shared=0 "$tmp/disk.qcow2"
  start_folio "$remote_uri" cache-size=4M
  fuzz --partial-fast-zero
  in_remote
  kill_remote
}

loop=
detach ()
{
  [ -z "$loop" ] || losetup -d "$loop"
  loop=
}
on_exit detach

block_device ()
{
  [ "$(id -u)" = 0 ] || { echo "not here"; return; }
  new_file $size
  loop=$(losetup -f --show -b 4096 "$tmp/disk") || { echo "not here"; return; }
  start_folio "$loop" cache-size=4M
  fuzz
  in_file "$tmp/disk"
  detach
}

needs nbdcopy nbdinfo
: "${KINDS:=file file_buffered file_tiny file_through file_no_cache \
    file_streams file_odd file_readonly file_huge remote remote_no_zero \
    remote_no_fua remote_no_extents remote_no_fast_zero remote_large_blocks \
    remote_huge remote_no_cache qcow2 block_device}"
for kind in $KINDS; do
  echo "== $kind"
  $kind
done
