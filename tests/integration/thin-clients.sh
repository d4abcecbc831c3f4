#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# The clients of thin disks: what they are told of extents, zeroes and the cache, and the
# ordinary ones at work.

. "$(dirname "$0")/thin-lib.sh"

as_thin "file threads nbd block" clients
as_thin file trim-and-zero-read-as-zeroes cache-modes connections \
        cache-smaller-than-data extents-during-writeback \
        extents-show-unflushed-data qemu-img-convert fio-verify
