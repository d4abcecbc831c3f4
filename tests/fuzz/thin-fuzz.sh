#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# The inputs of the fuzzer of thin images, and random changes of them: nothing crashes,
# goes on for ever, or reads where nothing is.

. "$(dirname "$0")/../functions.sh"

seed=${SEED:-$((RANDOM * 32768 + RANDOM))}
echo "SEED=$seed"
exec fuzz/thin-fuzz-replay "$tests_dir/fuzz/thin" "$(share 3000)" "$seed"
