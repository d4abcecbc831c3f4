#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Remote stores over TLS, with certificates and with a key that both sides know:
# it works, also after the server was restarted, and a server or a client that
# is not who it should be is refused with one line.

. "$(dirname "$0")/remote-lib.sh"

needs certtool psktool
find_python

# The keys are for tests only: quick to make.
key ()
{
  certtool --generate-privkey --key-type=ecdsa --curve=secp256r1 --outfile "$1"
} 2>>"$tmp/certtool.log"

# authority DIR: a certificate authority in DIR/ca-key.pem and ca-cert.pem.
authority ()
{
  mkdir -p "$1"
  key "$1/ca-key.pem"
  printf 'cn = "an authority"\nca\ncert_signing_key\nexpiration_days = 9\n' \
    >"$tmp/template"
  certtool --generate-self-signed --load-privkey "$1/ca-key.pem" \
           --template "$tmp/template" --outfile "$1/ca-cert.pem"
} 2>>"$tmp/certtool.log"

# certificate AUTHORITY DIR server|client [HOST]: one, with the authority's.
certificate ()
{
  mkdir -p "$2"
  [ "$1" = "$2" ] || cp "$1/ca-cert.pem" "$2/"
  key "$2/$3-key.pem"
  printf 'cn = "%s"\ndns_name = "%s"\n' "${4:-localhost}" "${4:-localhost}" \
    >"$tmp/template"
  printf 'tls_www_%s\nsigning_key\nexpiration_days = 9\n' "$3" \
    >>"$tmp/template"
  certtool --generate-certificate --load-privkey "$2/$3-key.pem" \
           --load-ca-certificate "$1/ca-cert.pem" \
           --load-ca-privkey "$1/ca-key.pem" --template "$tmp/template" \
           --outfile "$2/$3-cert.pem"
} 2>>"$tmp/certtool.log"

authority "$tmp/ours"
certificate "$tmp/ours" "$tmp/server" server
certificate "$tmp/ours" "$tmp/client" client
certificate "$tmp/ours" "$tmp/elsewhere" server elsewhere.example.com
authority "$tmp/theirs"
certificate "$tmp/theirs" "$tmp/stranger" client

truncate -s 8M "$tmp/disk"

use_it () # URI START...
{
  local store=$1
  shift
  "$@"
  start_folio "$store" connections=3
  client "$tmp" <<'EOF'
disk = Shadow(connect())
disk.write(pattern(2 * MiB, 1), MiB)
disk.h.flush()
disk.save(sys.argv[1] + "/want")
EOF
  cmp "$tmp/want" "$tmp/disk" || fail "$store: the remote disk"
  kill_remote
  "$@"
  client "$tmp" <<'EOF'
disk = Shadow.load(connect(), sys.argv[1] + "/want")
disk.write(pattern(MiB, 2), 6 * MiB)
disk.h.flush()
disk.check("after the server was restarted")
disk.save(sys.argv[1] + "/want")
EOF
  cmp "$tmp/want" "$tmp/disk" || fail "$store: the remote disk afterwards"
  stop_folio
}

echo "== certificates"
# By TCP: libnbd 1.14 does not check a server's certificate on a unix socket.
# The port is kept from others while no server has it: it is bound, and does not
# listen.
"$python" - "$tmp/port" <<'EOF' &
import os
import signal
import socket
import sys

s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("127.0.0.1", 0))
with open(sys.argv[1] + ".new", "w") as f:
    print(s.getsockname()[1], file=f)
os.rename(sys.argv[1] + ".new", sys.argv[1])
signal.pause()
EOF
on_exit kill $!
eventually 30 test -e "$tmp/port" || late "no port"
port=$(cat "$tmp/port")
tcp=localhost:$port
tls_uri="nbds://$tcp/?tls-certificates="
with_certificates ()
{
  remote_tcp "$tmp/server"
}

remote_tcp () # CERTIFICATES [OPTION]
{
  run_remote "$NBDKIT" -f -i localhost -p "$port" -P "$tmp/remote.pid" \
             --tls=require --tls-certificates="$1" "${2---tls-verify-peer}" \
             file "$tmp/disk"
  listens test -s "$tmp/remote.pid"
}

use_it "$tls_uri$tmp/client" with_certificates
# The server is not one that our authority knows.
mkdir "$tmp/suspicious"
cp "$tmp/client/"*.pem "$tmp/suspicious/"
cp "$tmp/theirs/ca-cert.pem" "$tmp/suspicious/"
refuses "$tcp.*certificate" "$tls_uri$tmp/suspicious"
# We are not one that the server's authority knows.
cp "$tmp/ours/ca-cert.pem" "$tmp/stranger/"
refuses "$tcp" "$tls_uri$tmp/stranger"
refuses 'no-such' "$tls_uri$tmp/no-such"
# No TLS, where the server insists on it.
refuses "$tcp.*TLS" "nbd://$tcp"
kill_remote
# The certificate is another host's.
remote_tcp "$tmp/elsewhere"
refuses "$tcp.*certificate" "$tls_uri$tmp/client"
kill_remote
# TLS, where the server has none.
remote_nbdkit file "$tmp/disk"
refuses "$remote_sock.*TLS" \
        "nbds+unix:///?socket=$remote_sock&tls-certificates=$tmp/client"
kill_remote

psktool -u alice -p "$tmp/keys" >/dev/null 2>&1

echo "== an impostor"
# It lets anybody in: that it is refused is our doing.
certificate "$tmp/theirs" "$tmp/impostor" server
impostor ()
{
  remote_tcp "$tmp/impostor" --no-sr
}
impostor
mkdir "$tmp/empty"
refuses "$tmp/no-such/ca-cert.pem" "$tls_uri$tmp/no-such"
refuses "$tmp/empty/ca-cert.pem" "$tls_uri$tmp/empty"
refuses "certificate" "$tls_uri$tmp/client"
(
  # There is nothing where libnbd looks by itself, or nothing of the impostor's.
  export HOME=$tmp/empty
  refuses 'pki/libnbd/ca-cert.pem|certificate' "nbds://$tcp"
)
refuses "$tcp" "nbds://alice@$tcp/?tls-psk-file=$tmp/keys"
kill_remote

# It takes the place of the real one, once our certificates have vanished.
cp -r "$tmp/client" "$tmp/fleeting"
with_certificates
start_folio "$tls_uri$tmp/fleeting" retry=4
client <<<"connect().flush()"
kill_remote
mv "$tmp/fleeting" "$tmp/gone"
cp "$tmp/disk" "$tmp/before"
impostor
client <<'EOF'
h = connect()
h.pwrite(b"secret" * 512, 4096)
try:
    h.flush()
except nbd.Error as e:
    if e.errno != "EIO":
        fail("a flush: %s" % e.errno)
else:
    fail("an impostor is trusted")
EOF
cmp "$tmp/before" "$tmp/disk" || fail "an impostor was written to"
kill_remote
mv "$tmp/gone" "$tmp/fleeting"
with_certificates
flushes ()
{
  client <<<"connect().flush()"
}
eventually 60 flushes || late "the real server is not trusted again"
grep -q secretsecret "$tmp/disk" || fail "not all is written"
stop_folio
kill_remote

echo "== a key that both sides know"
psktool -u alice -p "$tmp/wrong-keys" >/dev/null 2>&1
with_key ()
{
  remote_nbdkit --tls=require --tls-psk="$tmp/keys" file "$tmp/disk"
}
psk_uri="nbds+unix://alice@/?socket=$remote_sock&tls-psk-file="
use_it "$psk_uri$tmp/keys" with_key
refuses "$remote_sock" "$psk_uri$tmp/wrong-keys"
refuses "$remote_sock" "${psk_uri/alice/mallory}$tmp/keys"
refuses 'no-such' "$psk_uri$tmp/no-such"
kill_remote
