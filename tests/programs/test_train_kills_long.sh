#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A training that is killed twenty times at random moments, within steps, validations and writes, gives the very files
# of one that was left alone.
. "$(dirname "$0")/program_test.sh"
. "$(dirname "$0")/train_run.sh"

kill_and_resume 20 150
finish
