#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Where io_uring is forbidden, absent, or can be made and not used, a file is
# served by threads, the log says why, and io=uring is refused for that reason.
# Threads can also be asked for where there is io_uring.

. "$(dirname "$0")/helpers.sh"

img=$tmp/disk.img

write_and_read () # WHAT
{
  rm -f "$tmp/want"
  client "$tmp/want" <<'EOF'
disk = Shadow(connect())
disk.write(pattern(2 * MiB, 1), 4096)
disk.write(pattern(5000, 2), 3 * MiB + 100, FUA)
disk.zero(65536, MiB)
disk.zero(65536, MiB + 65536, FUA | NO_HOLE)
disk.trim(65536, MiB + 131072, FUA)
disk.h.flush()
disk.check("all")
disk.save(sys.argv[1])
EOF
  stop_folio
  cmp "$img" "$tmp/want" || fail "$1: wrong in the file"
  rm -f "$img" "$log"
}

# It may listen before it has said so.
says ()
{
  eventually 20 grep -q "$1" "$log" ||
    { show_log; late "the log does not say \"$1\""; }
}

start_folio -v -- "$img" create=8M io=threads io-depth=5
says 'I/O by threads, 5 requests at once'
write_and_read "io=threads"

without=$tools_dir/without-io-uring
requires "$without" EPERM true
nbdkit=$NBDKIT
while read -r error reason; do
  cat >"$tmp/nbdkit" <<EOF
#!/bin/sh
exec "$without" $error "$nbdkit" "\$@"
EOF
  chmod +x "$tmp/nbdkit"
  export NBDKIT=$tmp/nbdkit
  refuses "io=uring: $reason.*io=auto or io=threads" "$img" create=8M io=uring
  [ ! -e "$img" ] || fail "$error: refused, and the image was made"
  start_folio -v -- "$img" create=8M
  says "io=auto goes without io_uring: $reason"
  says 'I/O by threads, 32 requests at once'
  write_and_read "$error"
done <<'EOF'
EPERM io_uring is not permitted here
ENOSYS there is no io_uring here
half io_uring is not permitted here
EOF
