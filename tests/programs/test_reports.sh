#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# m2snet-info, m2snet-bench and m2snet-convert: what they report, as text and as JSON, and that they agree.
# shellcheck source=tests/programs/program_test.sh
. "$(dirname "${BASH_SOURCE[0]}")/program_test.sh"

sha256=$(sha256sum "$model" | cut -d' ' -f1)

# ---- info ----

run 0 info "$model"
says "sha256 +$sha256"
says 'parameters +4,477,955$'
says 'architecture +m2snet, encoder res2net_compact, 32 pyramid channels'
says 'input +256 x 256 px'
says 'class 0 +polyp'
says 'not a medical device'
run 0 info --tensors --size 352 "$model"
says 'at 352 x 352'
says 'f16 +16x3x3x3 +resnet\.conv1\.0\.weight'
says 'f32 +32 +resnet\.bn1\.running_var'
run 0 info --json --tensors --size 352x384 "$model"
cp "$work/out" "$work/info.json"
[ "$(value "$work/info.json" sha256 parameters classes.0 at_size.input_height tensors.0.shape.1 config.architecture |
    tr '\n' ' ')" = "\"$sha256\" 4477955 \"polyp\" 384 3 \"m2snet\" " ] || complain "info --json has other values"
run 0 info --quiet "$model"
silent
run 1 info --selftest "$model"
says 'self-test +none in the file'
run 0 info --list
says '^cpu '
says '^ref '
says '^msnet res2net50_v1b_26w_4s +27,692,329 +16\.844 +8\.909$'
says '^m2snet convnext_base +89,965,825 +43\.093 +22\.793$'
says '^m2snet pvt_v2_b4 +63,596,609 +30\.411 +15\.613$'
says '^aspp +29,256,489 +25\.959 +13\.731$'
says '^recipe paper +26,586,601 +16\.724 +8\.846$'
run 0 info --list --json
value "$work/out" backends.0.name library_version >/dev/null
cp "$work/out" "$work/list.json"
[ "$(value "$work/list.json" networks.1.name networks.1.parameters networks.1.multiply_adds_352 \
    networks.1.multiply_adds_256 networks.1.config.encoder | tr '\n' ' ')" = "\"m2snet res2net50_v1b_26w_4s\" 27692585 \
16844005376 8909225984 \"res2net50_v1b_26w_4s\" " ] || complain "info --list --json has other values"

# ---- bench ----

run 0 bench --model "$model" --size 64 --threads 1 --iterations 3
says '^  network +[0-9.]+ +[0-9.]+ +[0-9.]+$'
says 'GFLOP/s'
run 0 bench --model "$model" --size 64 --threads 2 --iterations 4 --batch 2 --steps --json
cp "$work/out" "$work/bench.json"
[ "$(value "$work/bench.json" iterations batch threads input_width precision model_sha256 image_width | tr '\n' ' ')" \
    = "4 2 2 64 \"f32\" \"$sha256\" 640 " ] || complain "bench --json has other values"
value "$work/bench.json" decode.median_ms pre.median_ms network.median_ms network.min_ms network.p95_ms post.p95_ms \
    predict.median_ms load.ms first_mask_ms second_predict_ms multiply_adds gflops peak.gflops peak.share \
    memory.weight_bytes memory.packed_weight_bytes memory.arena_bytes memory.context_peak_bytes steps.0.name \
    steps.0.kernel steps.0.median_ms steps.0.share >/dev/null
awk -v values="$(value "$work/bench.json" network.min_ms network.median_ms network.p95_ms | tr '\n' ' ')" \
    'BEGIN { split(values, v, " "); exit !(v[1] > 0 && v[1] <= v[2] && v[2] <= v[3]) }' ||
    complain "bench --json: min, median and p95 are not in order"
run 0 bench --model "$model" --size 64 --seconds 0 --image "$pictures/cju0roawvklrq0799vmjorwfv.jpg" --steps
says 'sum of [0-9]+ steps'
says '3 runs$'

# The table of configurations. The larger networks are not for sanitizers.
run 0 bench --table="m2snet res2net_compact" --iterations 1
says '^m2snet res2net_compact +4\.478 \| +1\.646 +[0-9.]+ +[0-9.]+ .* \| +3\.111 '
if [ -z "${M2SNET_SANITIZE:-}" ]; then
    run 0 bench --table=res2net50 --iterations 1 --threads 2 --json
    cp "$work/out" "$work/table.json"
    [ "$(value "$work/table.json" table.0.name table.0.parameters table.0.sizes.0.multiply_adds \
        table.0.sizes.1.multiply_adds table.1.name table.1.parameters table.1.sizes.0.width \
        table.1.sizes.0.multiply_adds table.1.sizes.1.width table.1.sizes.1.multiply_adds | tr '\n' ' ')" \
        = "\"msnet res2net50_v1b_26w_4s\" 27692329 8909225984 16844005376 \"m2snet res2net50_v1b_26w_4s\" 27692585 \
256 8909225984 352 16844005376 " ] || complain "bench --table --json has other values"
    value "$work/table.json" peak.gflops table.1.sizes.1.median_ms table.1.sizes.1.images_per_second \
        table.1.sizes.1.share >/dev/null
fi
run 2 bench --table=nothing
errs 'no configuration has that in its name'
run 2 bench --table --model "$model"
errs 'has no use for --model'
run 2 bench --table --size 64
errs 'sizes of its own'

# ---- convert ----

run 0 convert --selftest "$model" "$work/new.safetensors"
says '^self-test passed'
there "$work/new.safetensors"
says "new.safetensors: safetensors, m2snet with res2net_compact, 4477955 parameters, sha256 $(
    sha256sum "$work/new.safetensors" | cut -d' ' -f1
)"
run 0 info --selftest --json "$work/new.safetensors"
value "$work/out" selftest.result selftest.largest_difference metadata sha256 >/dev/null
run 2 convert "$model" "$work/new.safetensors"
errs 'exists: --force replaces it'
run 0 convert --force --quiet --dtype bf16 "$model" "$work/new.safetensors"
silent
run 0 info --tensors "$work/new.safetensors"
says 'bf16 +16x3x3x3 '
run 2 convert --force "$work/new.safetensors" "$work/./new.safetensors"
errs 'would overwrite the input'
run 0 convert --force --quiet --meta 'm2snet.license=No "quoted" licence' \
    --meta m2snet.card= "$model" "$work/new.safetensors"
run 0 info --json "$work/new.safetensors"
cp "$work/out" "$work/info.json"
[ "$(value "$work/info.json" metadata | grep -c 'm2snet.license": "No \\"quoted\\" licence"')" -eq 1 ] ||
    complain "--meta adds nothing"
[ "$(value "$work/info.json" metadata | grep -c 'm2snet.card')" -eq 0 ] || complain "--meta KEY= does not remove it"
run 2 convert --force --meta nothing "$model" "$work/new.safetensors"
errs 'expected KEY=VALUE'
printf '{"threshold": 0.25, "input_size": 128}' >"$work/config.json"
run 0 convert --config "$work/config.json" "$model" "$work/other.safetensors"
run 0 info "$work/other.safetensors"
says 'threshold +0\.25$'
says 'input +128 x 128 px'
printf '{"threshold": ' >"$work/config.json"
run 1 convert --config "$work/config.json" "$model" "$work/none.safetensors"
run 1 convert --config "$work/missing.json" "$model" "$work/none.safetensors"
run 1 convert "$model" "$work/no/such/folder.safetensors"
absent "$work/none.safetensors"
[ "$(sha256sum "$model" | cut -d' ' -f1)" = "$sha256" ] || complain "the model has changed"
finish
