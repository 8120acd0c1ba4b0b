#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The same: Ctrl-C, cancel, threads, fork.
# shellcheck source=tests/python/python.sh
. "${M2SNET_SOURCE_DIR:?run through ctest}/tests/python/python.sh"
run_tests test_interrupt test_threads
