#!/bin/sh
# eval_kill.sh - mneme eval killed by SIGKILL at random moments and started again: results and samples to the
# last digit those of an evaluation that nobody disturbed; with the base alone, with adapters beside it, and
# with adapters alone.
# KILLS: how often each (3).
. "$(dirname "$0")/check.inc" || exit 1
. "$(dirname "$0")/kill.inc" || exit 1
. "$(dirname "$0")/eval.inc" || exit 1
. "$(dirname "$0")/adapter.inc" || exit 1

adapter "$work/doc" doc 2 3 1
adapter "$work/temp" temp 3 4 1

# Small batches: the journal grows in many steps.
alone() {
    # shellcheck disable=SC2086
    exec "$program" eval --model "$model" --data "$data" --output_path "$1" --log_samples --threads 1 \
        --num_fewshot 0,1,5 --scoring generate,choice --limit 240 --batch_size 4 --bootstrap_iters 50 $variants
}

for variants in "" "--adapter $work/doc,$work/temp" "--adapter $work/doc,$work/temp --no_base"; do
    rm -rf "$work/whole" "$work/cut"
    undisturbed "$work/whole"
    killed "$work/whole" "$work/cut" "${KILLS:-3}"
done

finish
