#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Client and server in one virtual machine with little memory: see ../vm/one-host.

if [ -n "${SANITIZERS:-}" ]; then
  echo "SKIP: sanitizers turn locking off" >&2
  exit 77
fi
exec "$(dirname "$0")/../vm/one-host"
