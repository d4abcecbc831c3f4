# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Getting from a fresh clone on Debian or Ubuntu to a build: what
# contrib/quickstart and tests/run share. Sourced, never run.

# shellcheck shell=bash

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
program=${0##*/}

# What building and serving takes. The compiler's and the server's packages
# only recommend some of it, and recommended packages are not installed.
build_packages=(
  gcc libc6-dev make              # compiler
  autoconf automake libtool       # from git, there is no ./configure yet
  pkg-config perl                 # perl: pod2man
  nbdkit nbdkit-plugin-dev
  libbsd-dev libev-dev liburing-dev liburcu-dev libxxhash-dev
  libjansson-dev                  # folio-img --json
  libnbd-dev                      # stores over NBD
  libmicrohttpd-dev               # metrics
  libjansson-dev                  # the control socket
)

die ()
{
  echo "$program: $*" >&2
  exit 1
}

# say WORDS: a line of progress, with the seconds since the start.
say ()
{
  printf '[%4d s] %s\n' "$SECONDS" "$*" >&"${say_fd:-1}"
}

# quietly LOG COMMAND...: run it with its output in LOG; shows the end of LOG if
# it fails, and returns its status.
quietly ()
{
  local log=$1 status=0
  shift
  "$@" >"$log" 2>&1 </dev/null || status=$?
  if [ $status -ne 0 ]; then
    echo "--- the end of $log" >&2
    tail -n "${log_lines:-30}" "$log" >&2
    echo "---" >&2
  fi
  return $status
}

# as_root COMMAND...
as_root ()
{
  if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

# Started through sudo in someone's own clone, only what needs root is done as
# root: "${invoker[@]}" COMMAND runs a command as whoever called sudo, so that
# the files are theirs.
invoker=()
find_invoker ()
{
  local prefix
  [ "$(id -u)" -eq 0 ] || return 0
  [ -n "${SUDO_UID:-}" ] && [ "$SUDO_UID" != 0 ] || return 0
  prefix=(setpriv --reuid="$SUDO_UID" --regid="${SUDO_GID:-$SUDO_UID}"
          --init-groups)
  if "${prefix[@]}" test -w "$top"; then
    invoker=("${prefix[@]}")
  fi
}
find_invoker
invoked ()
{
  ${invoker[@]+"${invoker[@]}"} "$@"
}

# give_back DIRECTORY: make all in it theirs, logs too.
give_back ()
{
  [ ${#invoker[@]} -eq 0 ] || chown -R "$SUDO_UID:${SUDO_GID:-$SUDO_UID}" "$1"
}

not_installed ()
{
  local package
  for package in "$@"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" \
      = installed ] || echo "$package"
  done
}

# apt_get LOG COMMAND...
apt_get ()
{
  local log=$1
  shift
  quietly "$log" as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 -q -y \
    --no-install-recommends "$@"
}

# install_packages LOG PACKAGE...: install those that are missing, or die saying
# which they are.
install_packages ()
{
  local log=$1 missing tries
  shift
  command -v dpkg-query >/dev/null && command -v apt-get >/dev/null ||
    die "this script installs packages with apt-get, which is not here;" \
        "see README.md for building by hand"
  missing=$(not_installed "$@" | tr '\n' ' ')
  missing=${missing% }
  [ -n "$missing" ] || { say "packages: all here"; return 0; }
  if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
    die "missing packages, and neither root nor sudo to install them: $missing"
  fi
  say "installing packages: $missing"
  # A password may be asked for here, where it can be seen, and not below.
  as_root true || die "missing packages, and sudo refused: $missing"
  for tries in 1 2 3; do
    # shellcheck disable=SC2086
    if apt_get "$log" update && apt_get "$log" install $missing; then
      return 0
    fi
    # Another program may be at it, or the mirror is being renewed.
    [ $tries -eq 3 ] || { say "that failed; once more"; sleep 10; }
  done
  die "apt-get failed"
}

# make_configure LOG: ./configure and what belongs to it, unless they are there
# and newer than what they are made from.
make_configure ()
{
  local newer
  if [ -x "$top/configure" ] && [ -f "$top/Makefile.in" ]; then
    newer=$(find "$top" -path "$top/build" -prune -o \
              \( -name configure.ac -o -name Makefile.am -o -name '*.mk' \) \
              -newer "$top/configure" -print)
    [ -n "$newer" ] || return 0
  fi
  say "autoreconf"
  quietly "$1" invoked autoreconf -fi "$top"
}

# build LOG DIRECTORY [CONFIGURE_ARG...]: configure (if not done, or done
# otherwise) and make in the directory.
build ()
{
  local log=$1 dir=$2
  shift 2
  invoked mkdir -p "$dir" || return 1
  if [ ! -f "$dir/Makefile" ] || [ "$top/configure" -nt "$dir/config.status" ] ||
     [ "$*" != "$(cat "$dir/configure-args" 2>/dev/null)" ]; then
    say "configure${*:+ $*}"
    (cd "$dir" && quietly "$log" invoked "$top/configure" "$@") || return 1
    echo "$*" | invoked tee "$dir/configure-args" >/dev/null
  fi
  say "make"
  quietly "$log" invoked make -C "$dir" -j"$(nproc)"
}
