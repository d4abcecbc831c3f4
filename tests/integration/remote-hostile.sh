#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Remote servers that break the protocol, or off in the middle of anything:
# folio does not crash or hang, reads no wrong byte, and loses nothing.
# SEED=N replays.

. "$(dirname "$0")/hostile-lib.sh"

new_seed

broken () # MODE TIMES [HOSTILE_OPTION...] -- [PARAMETER...]
{
  seed=$((seed + 1))
  begin --mode "$1" --after 60 --times "$2" --multi-conn "${@:3}" cache-size=1M
  "$tools_dir/oracle" --uri "$uri" --state "$tmp/state" --seed "$seed" \
                      --ops 400 --max-len 128K || fail "$1"
  "$tools_dir/hold" --uri "$uri" --flush </dev/null
  "$tools_dir/oracle" --state "$tmp/state" --compare-file "$tmp/disk" ||
    fail "$1: the remote disk after a flush"
  [ "$(misdeeds "$1")" = "$2" ] || fail "$1: the server did not misbehave"
  end
}

# some_of MODE...: all of them, or one in three under ThreadSanitizer, where each
# takes long and bad memory accesses, which they are after, are not looked for.
some_of ()
{
  local mode n=$seed
  for mode; do
    n=$((n + 1))
    [[ $SANITIZERS == *thread* && $((n % 3)) != 0 ]] || echo "$mode"
  done
}

# Breaks that a client need not know of.
for mode in $(some_of close close-header close-payload error-shutdown); do
  broken $mode 3 --hang-up --
done
broken chunk-order 3 --

# No answer can be told from another any more.
lost="handle twice magic chunk-type chunk-long chunk-outside chunk-short"
for mode in $(some_of $lost); do
  broken $mode 1 --hang-up --
done

# If the server does not hang up either, writes wait for `retry'. One is enough
# for that.
if [[ $SANITIZERS != *thread* ]]; then
  modes=($lost)
  broken ${modes[seed % 7]} 1 -- retry=$((5 * FOLIO_TIME_FACTOR))
fi

# More connections than the server takes, though it promised to.
begin --mode refuse-more --multi-conn -- connections=4
"$tools_dir/oracle" --uri "$uri" --state "$tmp/state" --seed "$seed" \
                    --ops 200 --max-len 128K || fail "refuse-more"
grep -q '^refused a connection' "$remote_log" || fail "nothing was refused"
end

# Answers that say less, or other, than was asked: an error or the truth, or zeroes,
# which it is here. What memory held before it never is.
for mode in chunk-missing chunk-twice error-unknown; do
  begin --mode $mode --only read --times 1000 -- readahead=0 cache-size=1M
  client <<'EOF'
h = connect()
for at in range(2 * MiB, 4 * MiB, MiB):
    h.pwrite(pattern(MiB, 1), at)
h.flush()
for at in range(0, 2 * MiB, 16384):
    try:
        same(h.pread(16384, at), bytes(16384), at, "a read")
    except nbd.Error as e:
        if e.errno not in ("EIO", "EINVAL"):
            fail("a read: %s" % e.errno)
h.pwrite(pattern(65536, 1), 0)
h.flush()
EOF
  end
done

# Nonsense about holes does not make zeroes of data.
head -c 4M /dev/urandom >"$tmp/data"
for mode in $(some_of status-none status-zero status-huge); do
  from=$tmp/data begin --mode $mode --times 1000 -- readahead=0
  client "$tmp/data" <<'EOF'
h = connect()
with open(sys.argv[1], "rb") as f:
    data = f.read()
same(h.pread(MiB, 1000), data[1000:MiB + 1000], 1000, "a read")
h.pwrite(b"ABC", 2 * MiB + 1)
try:
    for n, flags in extents(h, 0, h.get_size()):
        if flags:
            fail("data is reported as a hole: %d, %d" % (n, flags))
except nbd.Error as e:
    if e.errno not in ("EIO", "EINVAL"):
        fail("extents: %s" % e.errno)
want = data[:2 * MiB + 1] + b"ABC" + data[2 * MiB + 4:]
for at in range(0, len(want), MiB):
    same(h.pread(MiB, at), want[at:at + MiB], at, "all of it")
EOF
  [ "$(misdeeds $mode)" -gt 0 ] || fail "$mode: the server did not misbehave"
  end
done
