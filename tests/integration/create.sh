#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# create=SIZE makes a sparse file if there is none, keeps the one there is, and never
# touches what it refuses.

. "$(dirname "$0")/helpers.sh"

start_folio "$tmp/new.img" create=10G
[ "$(nbdinfo --size "$uri")" = $((10 << 30)) ] || fail "not of the size asked for"
client <<'EOF'
h = connect()
h.pwrite(b"kept", 5 << 30)
EOF
stop_folio
[ "$(stat -c %s "$tmp/new.img")" = $((10 << 30)) ] || fail "the file's size"
[ "$(stat -c %b "$tmp/new.img")" -lt 4096 ] || fail "the file is not sparse"

# There already: kept, whatever the same option says.
start_folio "$tmp/new.img" create=10G
client <<'EOF'
same(connect().pread(4, 5 << 30), b"kept", 5 << 30, "the file was not kept")
EOF
stop_folio

# There already, but not of that size: refused rather than resized.
for size in 5G 20G; do
  refuses "new\.img.*create=" "$tmp/new.img" create=$size
done
[ "$(stat -c %s "$tmp/new.img")" = $((10 << 30)) ] || fail "it was resized"

# Refused, and nothing made.
refuses 'create.*suffix' "$tmp/other.img" create=10Q
refuses 'create' "$tmp/other.img" create=0
refuses 'cache_size' "$tmp/other.img" create=1M cache_size=1M
refuses 'folder/other\.img' "$tmp/folder/other.img" create=1M
refuses 'other\.img' -r -- "$tmp/other.img" create=1M
[ ! -e "$tmp/other.img" ] || fail "a file was made for what was refused"

# Refused by nbdkit itself, when it was made already.
touch "$tmp/used.sock"
refuses 'used\.sock: Address already in use' -U "$tmp/used.sock" -- \
  "$tmp/other.img" create=1M
[ ! -e "$tmp/other.img" ] || fail "a file was left behind of what nbdkit refused"

# That is not so of nbdkit's first process, when it leaves the disk to another.
for how in --run background; do
  options=(--run 'exit 3') want=3
  [ $how = --run ] || options=(-P "$tmp/bg.pid") want=0
  status=0
  FOLIO_SANITIZER_LOG=$tmp/sanitizer \
    bash "$tests_dir/nbdkit.sh" -U "$tmp/bg.sock" "${options[@]}" \
    "$FOLIO_PLUGIN" "$tmp/other.img" create=1M || status=$?
  [ $status = $want ] || fail "$how: status $status, not $want"
  if [ $how = background ]; then
    eventually 30 test -s "$tmp/bg.pid" || late "not in the background yet"
    pid=$(cat "$tmp/bg.pid")
    kill "$pid"
    gone () { ! kill -0 "$pid" 2>/dev/null; }
    eventually 30 gone || late "the server in the background does not end"
  fi
  [ -e "$tmp/other.img" ] || fail "$how: the file that was served is gone"
  rm -f "$tmp/other.img" "$tmp/bg.sock"
done

# Refused when it was made already: on a tmpfs there is no O_DIRECT.
if [ "$(stat -f -c %T /dev/shm)" = tmpfs ]; then
  shm=$(mktemp -d /dev/shm/folio.XXXXXX)
  on_exit rm -rf "$shm"
  refuses 'direct=on' "$shm/new.img" create=1M direct=on
  [ ! -e "$shm/new.img" ] || fail "a file was left behind of what was refused"
  truncate -s 1M "$shm/old.img"
  refuses 'direct=on' "$shm/old.img" create=1M direct=on
  [ -e "$shm/old.img" ] || fail "a file that was there is gone"
fi
