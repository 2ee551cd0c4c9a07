#!/usr/bin/env bash
# Makes data/demo again: the invented world, and its backbone, which the engine trains from random weights on
# the world's pages and claims (tools/make_demo_world.py says which). About ten minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
demo=data/demo
work=build/demo-backbone
program=${MNEME:-build/release/mneme}

python3 tools/make_demo_world.py $demo --texts $work/texts.jsonl
"$program" train --device cpu --update full --init random --model $demo/backbone --texts $work/texts.jsonl \
    --output_dir $work/model --learning_rate 0.002 --warmup_steps 50 --max_steps 3000 \
    --per_device_train_batch_size 8 --weight_decay 0 --max_grad_norm 1 --adam_beta2 0.98 \
    --save_steps 500 --save_dtype fp16 "$@"
cp $work/model/model.safetensors $demo/backbone/
