#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# preallocate=on: all of the cache is there and locked before the first client,
# nothing is taken while all of it is written, and who may not lock so much is told
# so. Also with nbdkit --swap.

. "$(dirname "$0")/helpers.sh"

needs fio
needs setpriv
[ -z "$SANITIZERS" ] || skip "sanitizers turn locking off"
[ "$(id -u)" = 0 ] || [ "$(ulimit -l)" = unlimited ] ||
  skip "locking memory needs root, or ulimit -l unlimited"

img=$tmp/disk.img
cache=32 # MiB
truncate -s 128M "$img"

# status FIELD: in KiB.
status () { awk -v f="$1:" '$1 == f { print $2 }' "/proc/$pid/status"; }

# Page faults so far, of all threads, also of those that are gone.
faults () { sed 's/.*) //' "/proc/$pid/stat" | awk '{ print $8 + $10 }'; }

# Locked and resident: the mapping of the cache's own size.
locked_mapping ()
{
  awk -v kib=$((cache * 1024)) '
    /^Size:/ { size = $2 } /^Rss:/ { rss = $2 }
    /^Locked:/ && size >= kib && size < kib * 1.2 && rss == size && $2 == size {
      found = 1
    }
    END { exit !found }' "/proc/$pid/smaps"
}

# Write the whole disk, in requests of 4 KiB to 64 KiB, by 16 threads.
write_all ()
{
  fio --ioengine=nbd --uri="$uri" --randseed=1 --rw=randwrite --bsrange=4k-64k \
      --iodepth=32 --size=128M --name=all --output="$tmp/fio.log" "$@" ||
    fail "fio: $(cat "$tmp/fio.log")"
}

check_locked ()
{
  # A request is served: so it has started.
  nbdinfo --size "$uri" >/dev/null
  locked_mapping || fail "the cache is not all there and locked"
  [ "$(status VmLck)" -ge $((cache * 1024)) ] || fail "VmLck: $(status VmLck) kB"
}

for options in "" --swap; do
  # shellcheck disable=SC2086
  start_folio $options -- "$img" cache-size=${cache}M preallocate=on
  check_locked
  write_all # the threads of a connection come, and their stacks
  before=$(faults) resident=$(status VmRSS)
  write_all
  taken=$(($(status VmRSS) - resident)) faulted=$(($(faults) - before))
  echo "${options:-plain}: $taken kB more, $faulted faults"
  # Some of a connection may come anew; the cache is 8192 pages.
  [ $taken -lt 4096 ] || fail "$taken kB were taken while the cache was written"
  [ $faulted -lt 1000 ] || fail "$faulted faults while the cache was written"
  stop_folio
done

# Without it, the same is taken as it is used.
start_folio "$img" cache-size=${cache}M
nbdinfo --size "$uri" >/dev/null
! locked_mapping || fail "locked without being asked to"
stop_folio

# A limit that is too low: one line, at once, with what to do. Not as root, who
# needs no limit, unless nbdkit makes itself somebody else: that is later, when a
# server in the background can tell nobody any more.
under_low_limit ()
{
  local output
  output=$(ulimit -l 1024
           "$@" "$FOLIO_PLUGIN" "$img" cache-size=${cache}M preallocate=on 2>&1) &&
    fail "not refused under a low limit: $*"
  echo "$output"
  grep -q 'preallocate=on: cannot lock.*1024 KiB.*LimitMEMLOCK=infinity' \
    <<<"$output" || fail "refused, but does not say what to do: $*"
  [ "$(wc -l <<<"$output")" = 1 ] || fail "more than one line: $*"
}

if [ "$(id -u)" = 0 ]; then
  chmod 711 "$tmp"
  chmod 644 "$img"
  under_low_limit setpriv --reuid=65534 --regid=65534 --clear-groups \
    --inh-caps=-all "${NBDKIT:-nbdkit}" -r -U - --run true
  under_low_limit "${NBDKIT:-nbdkit}" -u 65534 -U "$tmp/low.sock"
fi
