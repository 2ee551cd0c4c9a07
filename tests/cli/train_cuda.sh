#!/bin/sh
# train_cuda.sh - training on a CUDA device: the CPU's losses, the same bits twice, checkpoints that move.
. "$(dirname "$0")/check.inc" || exit 1
. "$(dirname "$0")/train.inc" || exit 1
. "$(dirname "$0")/cuda.inc" || exit 1

prepare_data
# Two memories, with a block between them to go back through.
short="--max_steps 20 --chunk_length 16 --per_device_train_batch_size 1 --memory.hidden 8 --memory.location 0.2,0.8 --save_total_limit 0"
losses() { sed 's/.*"loss": \([0-9.e-]*\),.*/\1/' "$1/train_log.jsonl"; }

# The losses of all steps: fp16 products, but the same order of samples and the same updates.
for method in gpt_wikipage gpt_template gpt_wikipage_and_template; do
    # shellcheck disable=SC2086
    train 0 "$work/cpu-$method" $short --method $method
    # shellcheck disable=SC2086
    train 0 "$work/cuda-$method" $short --method $method --device cuda
    losses "$work/cpu-$method" >"$work/here"
    losses "$work/cuda-$method" >"$work/there"
    [ "$(wc -l <"$work/there")" = 20 ] || fail "20 losses expected: $(cat "$work/there")"
    close 1e-3 "$work/here" "$work/there"
done

# Twice the same bits; the activations of the trunk kept or computed.
# shellcheck disable=SC2086
train 0 "$work/again" $short --method gpt_wikipage --device cuda
same "$work/cuda-gpt_wikipage" "$work/again"
# shellcheck disable=SC2086
train 0 "$work/nocache" $short --method gpt_wikipage --device cuda --activation_cache off
same "$work/cuda-gpt_wikipage" "$work/nocache"

# Half of it here, half there, in both directions. The scale of the loss is part of the device's own checkpoints.
has "$work/again/checkpoint-8/trainer_state.json" '"loss_scale": '
for way in cpu:cuda cuda:cpu cuda:cuda; do
    from=${way%:*} to=${way#*:}
    rm -rf "$work/moved"
    mkdir "$work/moved"
    cp -r "$work/$from-gpt_wikipage/checkpoint-8" "$work/moved/"
    # shellcheck disable=SC2086
    train 0 "$work/moved" $short --method gpt_wikipage --device "$to"
    has "$err" "going on from $work/moved/checkpoint-8: step 8 of 20"
    losses "$work/moved" >"$work/there"
    losses "$work/cpu-gpt_wikipage" | tail -n 12 >"$work/here"
    close 1e-3 "$work/here" "$work/there"
    [ $way != cuda:cuda ] || cmp -s "$work/moved/adapter_model.safetensors" "$work/again/adapter_model.safetensors" ||
        fail "another adapter behind a checkpoint"
done

# The whole model: fp32, but for attention.
# shellcheck disable=SC2086
train 0 "$work/full-cpu" $short --max_steps 3 --save_steps 0 --update full --learning_rate 0.001
# shellcheck disable=SC2086
train 0 "$work/full-cuda" $short --max_steps 3 --save_steps 0 --update full --learning_rate 0.001 --device cuda
losses "$work/full-cpu" >"$work/here"
losses "$work/full-cuda" >"$work/there"
close 1e-3 "$work/here" "$work/there"

finish
