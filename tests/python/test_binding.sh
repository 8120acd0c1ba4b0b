#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The Python tests against the library of this build.
# shellcheck source=tests/python/python.sh
. "${M2SNET_SOURCE_DIR:?run through ctest}/tests/python/python.sh"
run_tests test_library test_errors test_predict test_zero_copy test_image test_metrics test_examples
