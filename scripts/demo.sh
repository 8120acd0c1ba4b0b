#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds, segments the five demo pictures with the compact model and writes a page that shows the result.
# shellcheck source=scripts/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

if [ $# -gt 0 ]; then
    say "Usage: scripts/demo.sh"
    say "Builds build/release, segments examples/data/demo-polyps and writes build/demo/index.html."
    case $1 in -h | --help) exit 0 ;; *) exit 2 ;; esac
fi

"$root/scripts/build.sh"
data=$root/examples/data
"$build/release/bin/m2snet-demo" --model "$data/polyp-compact.safetensors" \
    --images "$data/demo-polyps/images" --truth "$data/demo-polyps/masks" --output "$build/demo"
[ -s "$build/demo/index.html" ] || die "build/demo/index.html was not written"
say "Open $build/demo/index.html in a browser: input, probability, outline and truth side by side."
say "Not a medical device: see README.md."
