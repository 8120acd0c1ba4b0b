#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The same: data sets, objectives, trainers.
# shellcheck source=tests/python/python.sh
. "${M2SNET_SOURCE_DIR:?run through ctest}/tests/python/python.sh"
run_tests test_objectives test_training
