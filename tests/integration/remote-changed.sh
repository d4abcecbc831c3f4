#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# The remote server comes back with another export: smaller, read-only, without
# flush, not at all, or it is no NBD server any more. Nothing is written to it, the
# log says what is wrong, nothing hangs; and when the right one is there again all is
# written. One that is larger, or takes one client only, is as good as before.

. "$(dirname "$0")/remote-lib.sh"

find_python

# comes_back MODE PATTERN: with what the log must say.
comes_back ()
{
  echo "== $1"
  rm -f "$tmp/main.log" "$tmp/disk"
  truncate -s 4M "$tmp/disk"
  remote_hostile --file "$tmp/disk" --mode "$1" --multi-conn --only flush \
                 --after 2
  start_folio "$remote_uri" retry=4 readahead=0 writeback-interval=600
  client "$tmp" <<'EOF'
disk = Shadow(connect())


def flush():
    try:
        disk.h.flush()
    except nbd.Error as e:
        if e.errno != "EIO":
            fail("a flush: %s" % e.errno)
        return False
    return True


# The server breaks off at this flush or, if it was the first request, the next.
disk.write(pattern(MiB, 1), 0)
if flush():
    disk.write(pattern(MiB, 2), 512 * KiB)
    if flush():
        fail("a flush succeeds, but the disk is another one")
with open(sys.argv[1] + "/disk", "rb") as f:
    before = f.read()
disk.write(pattern(4096, 3), 3 * MiB)
disk.check("what is in memory", MiB)
disk.check("what is in memory", 4096, 3 * MiB)
if flush():
    fail("a flush succeeds, but the disk is another one")
with open(sys.argv[1] + "/disk", "rb") as f:
    if f.read() != before:
        fail("something was written to the wrong disk")
disk.save(sys.argv[1] + "/want")
EOF
  eventually 30 logged "$2" || late "$1: the log does not say what is wrong"
  kill -USR1 "$remote_pid"
  eventually 60 cmp "$tmp/want" "$tmp/disk" ||
    late "$1: not all is written to the right disk"
  client <<<"connect().flush()"
  stop_folio
  kill_remote
}

comes_back shrink '4194304.*2097152|2097152.*4194304'
comes_back readonly 'read-only'
comes_back no-flush 'flush'
comes_back gone 'remote.sock'
comes_back garbage 'remote.sock'

# goes_on MODE PATTERN: the same, but it makes no difference to clients.
goes_on ()
{
  echo "== $1"
  rm -f "$tmp/main.log" "$tmp/disk"
  truncate -s 4M "$tmp/disk"
  remote_hostile --file "$tmp/disk" --mode "$1" --multi-conn --only flush \
                 --after 2
  start_folio -v -- "$remote_uri" readahead=0 writeback-interval=600
  client "$tmp" <<'EOF'
disk = Shadow(connect())
# The server breaks off at the second flush at the latest.
for i in range(3):
    disk.write(pattern(MiB, i), i * 512 * KiB)
    disk.write(pattern(4096, i), 4 * MiB - 4096)
    disk.h.flush()
if connect().get_size() != 4 * MiB:
    fail("the disk's size is another one")
disk.check("the disk", 4 * MiB)
disk.save(sys.argv[1] + "/want")
EOF
  cmp "$tmp/want" "$tmp/disk" || fail "$1: not all is written"
  logged "$2" || fail "$1: the log does not say what is different"
  logged 'connected again' || fail "$1: the server did not come back"
  stop_folio
  kill_remote
}

goes_on grow 'has grown from 4194304 to 8388608 bytes; the disk keeps its size'
goes_on one-client ': 1 connections'

echo "== more than before"
rm -f "$tmp/disk"
truncate -s 4M "$tmp/disk"
remote_nbdkit --filter=nozero --filter=multi-conn file "$tmp/disk" \
              zeromode=plugin fastzeromode=none multi-conn-mode=disable
start_folio "$remote_uri" writeback-interval=600
client <<<"connect().pwrite(b'first' * 100, 0)"
kill_remote
remote_nbdkit file "$tmp/disk"
client "$tmp" <<'EOF'
disk = Shadow(connect())
disk.write(pattern(MiB, 4), MiB)
disk.h.flush()
disk.save(sys.argv[1] + "/want")
EOF
cmp "$tmp/want" "$tmp/disk" || fail "not all is written to the better server"
stop_folio
kill_remote

# It can even be written to.
remote_nbdkit -r file "$tmp/disk"
start_folio -r -- "$remote_uri" readahead=0
client <<<"connect().pread(4096, 0)"
kill_remote
remote_nbdkit file "$tmp/disk"
client "$tmp/want" <<'EOF'
with open(sys.argv[1], "rb") as f:
    same(connect().pread(4 * MiB, 0), f.read(), 0, "the remote disk")
EOF
stop_folio
kill_remote
