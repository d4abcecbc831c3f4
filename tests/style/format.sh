#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# The source is formatted as .clang-format says.

. "$(dirname "$0")/common.sh"

# Other versions have other opinions.
for clang_format in clang-format-14 clang-format; do
  if version=$($clang_format --version 2>/dev/null); then break; fi
done
case $version in
  *' version 14.'*) ;;
  *) echo "SKIP: needs clang-format 14, not \"$version\""; exit 77 ;;
esac

$clang_format --dry-run --Werror $(sources plugin folioctl img cache fs tests)
