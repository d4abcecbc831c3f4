#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Snapshots of a thin disk, served: each has the bytes and the extents that the disk had
# when it was made, whatever was done to the disk afterwards, and takes no write; on a file
# by both kinds of I/O and on a server. What cannot be is refused in one line.

. "$(dirname "$0")/folio-img-lib.sh"

needs nbdcopy python3

# change SEED: the disk at $uri; what it has is in $tmp/SEED afterwards.
change ()
{
  client "$tmp/$1" "$1" <<'EOT'
path, seed = sys.argv[1], int(sys.argv[2])
disk = Shadow(connect())
rng = random.Random(seed)
for i in range(30):
    n = rng.choice((512, 4096, 9000, 70000, 300000))
    at = rng.randrange(0, len(disk.bytes) - n, 512)
    rng.choice((lambda n, at: disk.zero(n, at), lambda n, at: disk.trim(n, at),
                lambda n, at: disk.zero(n, at, NO_HOLE),
                lambda n, at: disk.write(pattern(n, i), at),
                lambda n, at: disk.write(pattern(n, i), at, FUA)))(n, at)
disk.h.flush()
disk.save(path)
EOT
}

# map: what $uri says of its blocks, as lines.
map_of ()
{
  client <<'EOT'
h = connect()
for n, flags in extents(h, 0, h.get_size()):
    print(n, flags)
EOT
}

# is_as CONTENT: $uri, to every byte and extent, and it stays so.
is_as ()
{
  client "$tmp/$1" <<'EOT'
h = connect(checked=False)
if not h.is_read_only():
    fail("the snapshot does not say that it is read-only")
for name, request in (("write", lambda: h.pwrite(b"x" * 512, 0)),
                      ("FUA write", lambda: h.pwrite(b"x" * 512, 0, FUA)),
                      ("zero", lambda: h.zero(4096, 0)),
                      ("trim", lambda: h.trim(4096, 0))):
    refused(name, request, "EPERM", "EROFS")
h.flush()
disk = Shadow.load(h, sys.argv[1])
if h.get_size() != len(disk.bytes):
    fail("it has %d bytes" % h.get_size())
disk.check("the snapshot")
EOT
  nbdcopy "$uri" "$tmp/copy"
  cmp "$tmp/copy" "$tmp/$1" || fail "nbdcopy: not what it was"
  map_of | diff - "$tmp/$1.map" || fail "the extents are not what they were"
}

# lives N STORE PARAMETER...: changes, with a snapshot after each, and another size.
lives ()
{
  local n=$1 store=$2 life
  shift 2
  img_status 0 create -s 8M "$store"
  img_status 0 snapshot create empty "$store"
  for life in $(seq "$n"); do
    start_folio "$store" fs=thin "$@"
    change "$life"
    stop_folio
    start_folio -r -- "$store" fs=thin "$@"
    map_of >"$tmp/$life.map"
    stop_folio
    img_status 0 snapshot create "no. $life" "$store"
    img_status 0 resize "$store" $((8 + life))M
  done
  start_folio "$store" fs=thin "$@"
  change 4
  stop_folio
  for life in $(seq "$n" -1 1); do
    start_folio "$store" fs=thin snapshot="no. $life" cache-size=1M "$@"
    is_as "$life"
    stop_folio
  done
  start_folio "$store" fs=thin snapshot=empty "$@"
  [ "$(map_of)" = "8388608 3" ] || fail "the empty one: $(map_of)"
  stop_folio
  clean "$store"
}

disk=$tmp/disk.thin
img_status 0 create -s 8M "$disk"
refuses "disk\.thin: it has no snapshots, so no 'x'" "$disk" fs=thin snapshot=x
rm "$disk"
lives 1 "$disk" io=threads
rm "$disk"
lives 3 "$disk"

# --- who else has it

start_folio "$disk" fs=thin snapshot='no. 1'
server=b start_folio "$disk" fs=thin snapshot='no. 2' cache-size=1M
is_as 2
server=c start_folio -r -- "$disk" fs=thin
nbdcopy "$uri" "$tmp/copy"
cmp "$tmp/copy" "$tmp/4"
server=d refuses 'disk\.thin is locked' "$disk" fs=thin
img_refuses 'disk\.thin is locked' 1 snapshot delete 'no. 1' "$disk"
use_folio main
is_as 1
for server in c b main; do
  stop_folio
done

# --- killed with a log: a snapshot does not need it, and leaves it there

start_folio "$disk" fs=thin
change 5
kill_folio
sum=$(sha256sum <"$disk")
start_folio "$disk" fs=thin snapshot='no. 3'
is_as 3
stop_folio
[ "$(sha256sum <"$disk")" = "$sum" ] || fail "the image was written to"

# --- what is refused

no="it has no snapshot 'no\. 9'; allowed: empty, no\. 1, no\. 2, no\. 3$"
refuses "disk\.thin: $no" "$disk" fs=thin snapshot='no. 9'
for i in $(seq 10 30); do
  img_status 0 snapshot create "one of many, number $i" "$disk"
done
refuses 'allowed: empty, .*, one of many, number 10, .*, \.\.\. \(see folio-img' \
        "$disk" fs=thin snapshot='no. 9'
refuses 'fs=raw has no snapshots; allowed: only with fs=thin' "$disk" snapshot=x
refuses 'snapshot=: no name given' "$disk" fs=thin snapshot=
refuses 'snapshot is given a second time' "$disk" fs=thin snapshot=a snapshot=b
refuses 'create and snapshot are both given' "$disk" fs=thin create=8M snapshot=x
img_status 0 snapshot delete 'no. 1' "$disk"
refuses "no snapshot 'no\. 1'" "$disk" fs=thin snapshot='no. 1'
clean "$disk"

# --- on a server

nbd_server memory memory 64M
lives 2 "$nbd"
