#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# NBD servers that lack this or that. What clients are promised does not depend
# on it, but for trim, which is announced only where the store has it, and the
# answer to a fast zero; and random requests have the same results. SEED=N
# replays.

. "$(dirname "$0")/remote-lib.sh"

needs nbdinfo
new_seed

# can WHAT..., cannot WHAT...: the disk, announced or not.
announced ()
{
  nbdinfo "$uri" >"$tmp/info"
}
can ()
{
  local what
  for what; do
    grep -q "can_$what: true" "$tmp/info" || fail "no $what: $lacks"
  done
}
cannot ()
{
  local what
  for what; do
    grep -q "can_$what: false" "$tmp/info" || fail "$what: $lacks"
  done
}

# Random requests, by one folio and then the disk seen by another.
random_requests ()
{
  seed=$((seed + 1))
  rm -f "$tmp/state"
  "$tools_dir/oracle" --uri "$uri" --state "$tmp/state" --seed "$seed" \
                      --ops "${OPS:-400}" || fail "random requests: $lacks"
  stop_folio
  start_folio "$remote_uri" cache-size=4M
  "$tools_dir/oracle" --uri "$uri" --verify-only --state "$tmp/state" ||
    fail "the disk: $lacks"
  stop_folio
}

# lacking WHAT REMOTE_ARG...: serve such a server.
lacking ()
{
  lacks="without $1"
  shift
  echo "== $lacks"
  remote_nbdkit "$@"
  start_folio -v -- "$remote_uri" cache-size=4M
  announced
  can flush fua multi_conn zero fast_zero cache
}

# A fast zero is declined, and changes nothing; nor does it harm others.
declines_fast_zero ()
{
  client <<'EOT' || fail "a fast zero, $lacks"
other, h = connect(), connect(checked=False)
other.pwrite(b"x" * 8192, 0)
for flags in FAST_ZERO, FAST_ZERO | FUA, FAST_ZERO | NO_HOLE:
    for n, at in (4096, 4096), (MiB, 0), (100, 8192), (5000, 4000):
        refused("a fast zero of %d at %d" % (n, at),
                lambda: h.zero(n, at, flags), "EOPNOTSUPP", "ENOTSUP")
same(other.pread(8192, 0), b"x" * 8192, 0, "what was there")
other.pwrite(bytes(8192), 0)
other.flush()
EOT
}

# It is the same to folio as any other, and the store hears of it later.
takes_fast_zero ()
{
  client "$remote_uri" <<'EOT' || fail "a fast zero, $lacks"
h, remote = connect(), connect(sys.argv[1])
h.pwrite(b"x" * 2 * MiB, 0)
h.zero(MiB, 4096, FAST_ZERO | NO_HOLE)
h.zero(100, 2 * MiB - 100, FAST_ZERO)
want = b"x" * 4096 + bytes(MiB) + b"x" * (MiB - 4196) + bytes(100)
same(h.pread(2 * MiB, 0), want, 0, "at once")
h.flush()
same(remote.pread(2 * MiB, 0), want, 0, "on the store")
h.zero(2 * MiB, 0)
h.flush()
EOT
}

# The server says so when it is asked, with the first zero that is large.
finds_slow_zero ()
{
  client "$remote_uri" <<'EOT' || fail "a slow zero, $lacks"
h, remote = connect(), connect(sys.argv[1])
h.zero(8 * MiB, 0)
h.flush()
h.pwrite(b"x" * 8 * MiB, 0)
refused("a large one", lambda: h.zero(4 * MiB, 0, FAST_ZERO),
        "EOPNOTSUPP", "ENOTSUP")
refused("a small one", lambda: h.zero(512, 0, FAST_ZERO),
        "EOPNOTSUPP", "ENOTSUP")
same(h.pread(8 * MiB, 0), b"x" * 8 * MiB, 0, "what was there")
h.zero(8 * MiB, 0)
h.flush()
same(remote.pread(8 * MiB, 0), bytes(8 * MiB), 0, "on the store")
EOT
}

lacking "anything missing" memory 16M
can trim
takes_fast_zero
grep -q ': 4 connections' "$log" || fail "not 4 connections"
random_requests
kill_remote

lacking "zero" --filter=nozero memory 16M zeromode=none
cannot trim
declines_fast_zero
random_requests
kill_remote

lacking "fast zero" --filter=nozero memory 16M zeromode=plugin \
        fastzeromode=none
can trim
declines_fast_zero
random_requests
kill_remote

lacking "zeroes that are fast" --filter=nozero memory 16M zeromode=plugin \
        fastzeromode=slow
can trim
finds_slow_zero
random_requests
kill_remote

lacking "FUA" --filter=fua memory 16M
random_requests
kill_remote

lacking "multi-conn" --filter=multi-conn memory 16M multi-conn-mode=disable
grep -q ': 1 connection' "$log" || fail "not 1 connection"
random_requests
kill_remote

lacking "extents" --filter=noextents memory 16M
nbdinfo --map "$uri" >"$tmp/map"
[ "$(awk '{ print $1, $2, $4 }' "$tmp/map")" = "0 16777216 data" ] ||
  fail "all is data: $(cat "$tmp/map")"
random_requests
kill_remote

lacking "structured replies" --no-sr memory 16M
random_requests
kill_remote

# Nothing could be made durable on it. (What it has is nothing but zeroes.)
remote_nbdkit eval get_size='echo 1M' can_write='exit 0' can_flush='exit 3' \
              can_fua='echo none' pwrite='cat >/dev/null' \
              pread='head -c $3 /dev/zero'
refuses 'neither flush nor do FUA.*unsafe-no-flush=yes' "$remote_uri"
rm -f "$log"
start_folio -r -- "$remote_uri"
[ ! -s "$log" ] || fail "read-only, and not without a word: $(cat "$log")"
stop_folio
for start in 1 2; do
  rm -f "$log"
  start_folio "$remote_uri" unsafe-no-flush=yes
  [ "$(wc -l <"$log")" = 1 ] || fail "not one line: $(cat "$log")"
  logged 'warning: .*neither flush nor' || fail "no warning: $(cat "$log")"
  lacks="without flush"
  announced
  can flush fua multi_conn
  client <<'EOF'
h = connect()
h.pwrite(b"lost" * 1024, 4096, nbd.CMD_FLAG_FUA)
h.flush()
EOF
  stop_folio
done
kill_remote

# Small blocks and large requests are its clients' matter no more.
lacking "blocks of less than 4096 bytes" --filter=blocksize-policy memory 16M \
        blocksize-minimum=4096 blocksize-preferred=64K blocksize-maximum=128K \
        blocksize-error-policy=error
grep -q 'block_size_minimum: 1$' "$tmp/info" || fail "$(cat "$tmp/info")"
random_requests
kill_remote

# The last 65 bytes are no whole block: they are not served, and that is said.
remote_nbdkit --filter=blocksize-policy memory 1000001 blocksize-minimum=512 \
       blocksize-preferred=4K blocksize-maximum=1M blocksize-error-policy=error
rm -f "$log"
start_folio "$remote_uri"
[ "$(nbdinfo --size "$uri")" = 999936 ] || fail "not the whole blocks"
[ "$(wc -l <"$log")" = 1 ] || fail "not one line: $(cat "$log")"
logged 'warning: .* last 65 bytes .* 1000001 bytes, .* 512 bytes or multiples' ||
  fail "no word of what is cut off: $(cat "$log")"
stop_folio
kill_remote

remote_nbdkit --filter=blocksize-policy memory 16M blocksize-minimum=8192 \
       blocksize-preferred=64K blocksize-maximum=128K
refuses '8192 bytes.*4096' "$remote_uri"
kill_remote

remote_nbdkit memory 16M
refuses 'NBD server' "$remote_uri" create=16M
kill_remote

# It lets two clients in, and further ones wait in front of the door: for them
# requests do not wait as long as they would until they fail.
echo "== for two clients only"
needs qemu-nbd
truncate -s 16M "$tmp/disk"
for_two ()
{
  remote_qemu -f raw -e 2 "$tmp/disk"
}
times_in_log ()
{
  [ "$(grep -c -- "$1" "$log")" = "$2" ]
}
# logged PATTERN [TIMES]: the log says so, soon; reads that waited for the
# connections may be answered before.
logged ()
{
  eventually 30 times_in_log "$1" "${2:-1}"
}
for_two
start_folio -v -- "$remote_uri" retry=5 readahead=0
client <<<"connect().pread(4096, 0)"
logged ': 2 connections' || fail "not 2 connections"
logged '2 of 4 connections could be made' || fail "not a word of it"
# Once is enough.
kill_remote
remote_qemu -f raw "$tmp/disk"
logged ': from now on 2 connections' || fail "it is not remembered"
logged ': 2 connections' 2 || fail "not 2 connections again"
client <<<"connect().pread(4096, MiB)"
stop_folio
kill_remote
