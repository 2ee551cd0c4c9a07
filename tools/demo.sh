#!/usr/bin/env bash
# The main job on what the repository ships: installs what is missing, builds, prepares the sample of
# FEVER in data/world and evaluates the demo model with 0, 1 and 5 demonstrations. Results: build/demo.
set -euo pipefail
cd "$(dirname "$0")/.."

quietly() { # COMMAND...: shows its output only when it fails
    mkdir -p build
    if ! "$@" >build/demo.log 2>&1; then
        grep -vE '^\[[0-9]+/[0-9]+\]' build/demo.log >&2
        exit 1
    fi
}

tools/setup.sh
echo "demo: building"
# A warning of a compiler that is newer than this program is no reason to stop here.
if [ ! -f build/release/build.ninja ]; then
    rm -rf build/release # what is left of a failed attempt would keep its compiler
    quietly cmake --preset release -DMNEME_WERROR=OFF
fi
quietly cmake --build build/release --target mneme_program

rm -rf build/demo
build/release/mneme prepare --claims data/world/dev.jsonl --train_claims data/world/train.jsonl \
    --wiki data/world/wiki --out build/demo/prepared
build/release/mneme eval --model data/demo-model --data build/demo/prepared --num_fewshot 0,1,5 \
    --scoring generate,choice --output_path build/demo
echo "The weights of data/demo-model are random: results at chance level are what to expect."
