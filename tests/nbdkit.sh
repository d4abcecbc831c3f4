#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Becomes nbdkit, for a test: nbdkit.sh ARGS... is nbdkit ARGS... with the same
# process id, with freed memory poisoned and, in a build with sanitizers, with
# their libraries loaded into this process and no other. The environment comes
# from "make check" (see Makefile.am).
#
# What a sanitizer finds goes to $FOLIO_SANITIZER_LOG.PID (or, unset, to
# standard error).

set -eu

sanitizer_library ()
{
  # CC may carry options.
  # shellcheck disable=SC2086
  ${CC:-cc} -print-file-name="$1"
}

path=${FOLIO_SANITIZER_LOG:+:log_path=$FOLIO_SANITIZER_LOG}
prefix=()
keep_locale=${abs_top_builddir:-}/tests/.libs/keep-locale.so
[ -f "$keep_locale" ] || keep_locale=
case ",${SANITIZERS:-}," in
  *,address,*)
    # nbdkit frees little on its way out, so leaks say nothing here.
    options=detect_leaks=0:halt_on_error=1:detect_stack_use_after_return=1
    export ASAN_OPTIONS=$options$path
    export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1$path
    export LD_PRELOAD="$(sanitizer_library libasan.so) $keep_locale"
    ;;
  *,thread,*)
    options=halt_on_error=0:exitcode=66:second_deadlock_stack=1
    suppressions=$(dirname "$0")/tsan.supp
    if [ -f "$suppressions" ]; then
      options=$options:suppressions=$suppressions
    fi
    export TSAN_OPTIONS=$options$path
    preload="$(sanitizer_library libtsan.so) $keep_locale"
    # Its shadow memory does not fit every random layout of the address space.
    if setarch -R true 2>/dev/null; then
      prefix=(setarch -R)
    fi
    export LD_PRELOAD=$preload
    ;;
esac
export MALLOC_PERTURB_=$((RANDOM % 255 + 1))
unset GLIBC_TUNABLES
exec ${prefix[@]+"${prefix[@]}"} "${NBDKIT:-nbdkit}" "$@"
