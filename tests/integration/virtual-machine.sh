#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# The Linux kernel as the client, in a virtual machine: see ../vm/run.

if [ -n "${SANITIZERS:-}" ]; then
  echo "SKIP: an emulated machine and sanitizers together take too long" >&2
  exit 77
fi
exec "$(dirname "$0")/../vm/run"
