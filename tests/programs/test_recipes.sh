#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every recipe of docs/recipes is one, begins on real pictures, and says of the paper's settings what the paper says; and
# every key that m2snet-train writes into a recipe is an option of that name.
. "$(dirname "$0")/program_test.sh"

recipes=0
for recipe in "$M2SNET_SOURCE_DIR"/docs/recipes/*.json; do
    run 0 train --recipe "$recipe" --data "$data/demo-polyps" --check --threads 1 --workers 1
    says '^[0-9]+ parameters; [34] pictures train, [12] validate'
    what='pictures of 352 x 352 px'
    case $recipe in
    *nnunet*) what='patches of 512 x 512 px' # the median picture's size, rounded and capped
        [ "$(value "$recipe" learning-rate momentum clip-norm | tr '\n' ' ')" = '0.01 0.99 12 ' ] ||
        complain "$recipe: rate, momentum and clipping are not nnU-Net's" ;;
    *) [ "$(value "$recipe" learning-rate)" = 0.05 ] || complain "$recipe: the paper's rate is 0.05" ;;
    esac
    says "^a step of 16 $what: [0-9]+ MB beside [0-9]+ MB of state .*nothing was written"
    value "$recipe" comment >/dev/null
    recipes=$((recipes + 1))
    grep -q "$(basename "$recipe")" "$M2SNET_SOURCE_DIR/docs/recipes/README.md" ||
        complain "docs/recipes/README.md says nothing of $recipe"
done
[ "$recipes" -ge 7 ] || complain "only $recipes recipes"
[ "$(value "$M2SNET_SOURCE_DIR/docs/recipes/breast-ultrasound.json" folds)" = 4 ] || complain "ultrasound has four folds"

# nnU-Net's recipe is the preset with a network, folds and a comment: it says in full what the preset does.
run 0 train --preset nnunet --network compact --data "$data/demo-polyps" --output "$work/preset" --max-steps 1 --batch 1 \
    --sizes 64 --threads 1
for key in $(grep -oE '^ *"[a-z0-9-]+":' "$M2SNET_SOURCE_DIR/docs/recipes/nnunet-style.json" | tr -d '": '); do
    case $key in comment | preset | network | split | folds | fold | group-duplicates | batch | lossnet-weight) continue ;; esac
    [ "$(value "$M2SNET_SOURCE_DIR/docs/recipes/nnunet-style.json" "$key")" = "$(value "$work/preset/recipe.json" "$key")" ] ||
        complain "nnunet-style.json: $key is not the preset's"
done

# A check that fails says why, and writes nothing either.
run 1 train --preset compact --data "$data/demo-polyps" --lint off --check --labels 1,2
errs 'the model has 1 class'

# What a run writes can be said on the command line: every option takes its own value.
tiny='{"encoder":"res2net","encoder_shape":{"stem":[4,4,8],"blocks":[2,1,1,1],"width":[3,4,4,4],"channels":[16,16,16,16]},"pyramid_channels":8,"input_size":64}'
run 0 train --preset compact --network "$tiny" --data "$data/demo-polyps" --output "$work/run" --max-steps 1 --threads 1
run 0 train --help
cp "$work/out" "$work/help"
keys=0
again=()
for key in $(grep -oE '^ *"[a-z0-9-]+":' "$work/run/recipe.json" | tr -d '": '); do
    grep -Eq -- "^  --$key( |\$)" "$work/help" || complain "recipe.json has \"$key\", --help does not"
    keys=$((keys + 1))
    case $key in data | validation-data | weights | labels | sizes) continue ;; esac # lists
    text=$(value "$work/run/recipe.json" "$key")
    text=${text#\"} text=${text%\"}
    again+=("--$key=${text//\\\"/\"}")
done
run 0 train --preset finetune "${again[@]}" --sizes 160,192,224 --data "$data/demo-polyps" --output "$work/again" \
    --max-steps 1
equal "$work/run/recipe.json" "$work/again/recipe.json"
equal "$work/run/checkpoint.safetensors" "$work/again/checkpoint.safetensors"
[ "$keys" -ge 80 ] || complain "only $keys keys in recipe.json: $(cat "$work/run/recipe.json")"
# The guide speaks of options that there are.
words=0
for word in $(grep -ohE -- '--[a-z][a-z0-9-]+' "$M2SNET_SOURCE_DIR/docs/training.md" "$M2SNET_SOURCE_DIR/docs/recipes/README.md" |
    sort -u); do
    grep -Eq -- "(^|[ (])$word([ =.,)]|\$)" "$work/help" || complain "the guide has $word, --help does not"
    words=$((words + 1))
done
[ "$words" -ge 40 ] || complain "only $words options in the guide"
finish
