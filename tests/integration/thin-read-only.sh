#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# A thin disk served read-only: nothing is written to its image, not even when the server
# before was killed and its log has what the trees have not. Where the store has a lock,
# readers and a writer keep each other out. On a server, which has none, who reads is
# refused while somebody writes, and stops when somebody comes who does.

. "$(dirname "$0")/folio-img-lib.sh"

needs nbdcopy nbdinfo

# write_some SEED: to $uri, of which everything is flushed but for the last.
write_some ()
{
  client "$tmp/want" "$1" <<'EOT'
disk = Shadow(connect())
seed = int(sys.argv[2])
rng = random.Random(seed)
for i in range(40):
    n = rng.choice((512, 4096, 70000, 300000))
    at = rng.randrange(0, len(disk.bytes) - n, 512)
    rng.choice((disk.zero, disk.trim,
                lambda n, at: disk.write(pattern(n, seed + i), at),
                lambda n, at: disk.write(pattern(n, seed - i), at)))(n, at)
disk.h.flush()
disk.save(sys.argv[1])
EOT
}

# reads_as_wanted: and takes no write.
reads_as_wanted ()
{
  client "$tmp/want" <<'EOT'
h = connect(checked=False)
if not h.is_read_only():
    fail("the disk does not say that it is read-only")
for name, request in (("write", lambda: h.pwrite(b"x" * 512, 0)),
                      ("FUA write", lambda: h.pwrite(b"x" * 512, 0, FUA)),
                      ("zero", lambda: h.zero(4096, 0)),
                      ("trim", lambda: h.trim(4096, 0))):
    refused(name, request, "EPERM", "EROFS")
h.flush()
Shadow.load(h, sys.argv[1]).check("read-only")
EOT
  nbdcopy "$uri" "$tmp/copy"
  cmp "$tmp/want" "$tmp/copy" || fail "nbdcopy: not what was written"
}

# --- in a file, with a log and without one

disk=$tmp/disk.thin
img_status 0 create -s 16M --store-size 64M "$disk"
for end in kill_folio stop_folio; do
  start_folio "$disk" fs=thin
  write_some $RANDOM
  server=b refuses 'disk\.thin is locked' -r -- "$disk" fs=thin
  use_folio main
  $end
  sum=$(sha256sum <"$disk")
  began=$SECONDS
  start_folio -r -- "$disk" fs=thin
  nbdinfo --size "$uri"
  [ $((SECONDS - began)) -lt $((5 * FOLIO_TIME_FACTOR)) ] ||
    fail "it waits for somebody whom the lock keeps out"
  reads_as_wanted
  server=b start_folio -r -- "$disk" fs=thin
  reads_as_wanted
  server=c refuses 'disk\.thin is locked' "$disk" fs=thin
  server=b stop_folio
  server=main stop_folio
  [ "$(sha256sum <"$disk")" = "$sum" ] || fail "$end: the image was written to"
done
clean "$disk"

# --- on a server

nbd_server memory memory 64M
store=$nbd
img_status 0 create -s 16M "$store"
start_folio "$store" fs=thin
write_some $RANDOM
launch_reader ()
{
  server=b try_folio -r -- "$store" fs=thin || true
}
[[ $(launch_reader) == *'another server has it open for writing, on '* ]] ||
  fail "who reads is not refused while another writes: $(show_log b 2>&1)"
use_folio main
kill_folio
server=b start_folio -r -- "$store" fs=thin cache-size=1M
reads_as_wanted
server=main start_folio "$store" fs=thin
eventually 20 grep -q 'another server has taken the image: nothing is read' \
           "$tmp/b.log" || late "who reads goes on"
use_folio b
client <<'EOT'
h = connect()
refused("reading all of it", lambda: [h.pread(65536, at)
                                      for at in range(0, 16 * MiB, 65536)])
EOT
stop_folio
use_folio main
nbdcopy "$uri" "$tmp/copy"
cmp "$tmp/want" "$tmp/copy" || fail "the writer has something else"
stop_folio
clean "$store"
