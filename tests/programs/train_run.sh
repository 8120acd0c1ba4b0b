# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Sourced by the tests of m2snet-train after program_test.sh: a network that trains in milliseconds, and runs that are
# killed.
pairs=$data/demo-polyps
network='{"encoder":"res2net","encoder_shape":{"stem":[4,4,8],"blocks":[2,1,1,1],"width":[3,4,4,4],"channels":[16,16,16,16]},"pyramid_channels":8,"input_size":64}'
# Three pictures train in two batches, two validate.
settings=(--preset compact --network "$network" --validation 0.4 --batch 2 --sizes 64,96 --samples 0
    --threads 1 --workers 1 --cache 64 --lint off --duplicates off)
tiny=("${settings[@]}" --data "$pairs")

# kill_and_resume TIMES EPOCHS: a run that is killed at random moments, TIMES times, gives the very files of a run that
# was left alone. Prints how many kills hit a running training.
kill_and_resume() {
    local times=$1 epochs=$2 kills=0 tries=0 status pid
    local options=("${tiny[@]}" --epochs "$epochs" --checkpoint-every 1 --ema-decay 0.9 --accumulate 3)
    run 0 train "${options[@]}" --output "$work/whole"
    rm -rf "$work/killed"
    RANDOM=20251125
    while [ "$tries" -lt 400 ]; do
        tries=$((tries + 1))
        "$bin/m2snet-train" "${options[@]}" --output "$work/killed" --resume >"$work/out" 2>"$work/err" </dev/null &
        pid=$!
        if [ "$kills" -lt "$times" ]; then
            sleep "$(printf '0.%03d' $((RANDOM % 350 + 30)))"
            kill -9 "$pid" 2>/dev/null
        fi
        status=0
        wait "$pid" 2>/dev/null || status=$?
        [ "$status" -ne 0 ] || break
        if [ "$status" -ne 137 ]; then
            complain "after $kills kills: exit status $status: $(cat "$work/out" "$work/err")"
            return
        fi
        kills=$((kills + 1))
        # What stands there can be read: as a checkpoint below, as a model here.
        if [ -e "$work/killed/checkpoint.safetensors" ]; then
            "$bin/m2snet-info" "$work/killed/checkpoint.safetensors" >/dev/null 2>"$work/err" ||
                complain "after $kills kills the checkpoint cannot be read: $(cat "$work/err")"
        fi
    done
    printf '%s kills, %s starts\n' "$kills" "$tries"
    [ "$kills" -ge "$times" ] || complain "the run ended after $kills kills, $times were wanted"
    for file in last.safetensors best.safetensors checkpoint.safetensors; do
        equal "$work/whole/$file" "$work/killed/$file"
    done
    # The logs agree but for the times.
    for folder in whole killed; do
        cut -d, -f1-16 "$work/$folder/steps.csv" >"$work/$folder.steps"
        cut -d, -f1-12,16-18,20 "$work/$folder/epochs.csv" >"$work/$folder.epochs"
    done
    equal "$work/whole.steps" "$work/killed.steps"
    equal "$work/whole.epochs" "$work/killed.epochs"
}
