#!/bin/sh
# ranges.sh - the ranges that profilers see, recorded through NVTX: names and nesting in a training and an evaluation.
. "$(dirname "$0")/../cli/check.inc" || exit 1
. "$(dirname "$0")/../cli/train.inc" || exit 1
if [ -z "${MN_NVTX_RECORD:-}" ]; then
    echo "ok 1 # SKIP ranges for profilers: built without NVTX's headers"
    exit 77
fi
export NVTX_INJECTION64_PATH="$MN_NVTX_RECORD"

# nested RECORD: prints every range once as OUTER/INNER/.. and fails where one ends too early or never.
nested() {
    awk '
        $3 == "underflow" { print "a range ends that did not begin, line " NR; bad = 1 }
        $3 == "+" {
            name = $0; sub(/^[0-9]+ [0-9]+ \+ /, "", name)
            path[$1, $2 + 1] = ($2 ? path[$1, $2] "/" : "") name
            if ($2 != depth[$1]) { print "depth " $2 " of " name ", line " NR; bad = 1 }
            depth[$1]++
            seen[path[$1, $2 + 1]]++
        }
        $3 == "-" { depth[$1]-- }
        END {
            for (thread in depth) if (depth[thread]) { print "ranges of thread " thread " never end"; bad = 1 }
            for (one in seen) print one, seen[one]
            exit bad
        }' "$1" >"$work/nested" || fail "$(head -n 5 "$work/nested")"
}
# often COUNT PATH: that path was a range so often.
often() { grep -qx "$2 $1" "$work/nested" || fail "not $1 times $2: $(grep "^${2%/*}" "$work/nested" | head -n 20 | tr '\n' ';')"; }
some() { grep -q "^$1 [1-9]" "$work/nested" || fail "no range $1: $(cut -d / -f 1-3 "$work/nested" | sort -u | head -n 40 | tr '\n' ';')"; }

prepare_data
export NVTX_RECORD="$work/train.ranges"
train 0 "$work/trained" --max_steps 3 --save_steps 0 --memory.blocks 1,3
nested "$work/train.ranges"
for part in step step/forward step/loss step/backward step/update; do often 3 $part; done
for part in loader trunk/embed_fwd trunk/block/linear_fwd forward/block/attention_fwd forward/memory/gated_norm_fwd \
    loss/cross_entropy backward/block/attention_bwd backward/memory/gated_norm_bwd update/adamw; do
    some "step/$part"
done
cut -d / -f 1 "$work/nested" | cut -d ' ' -f 1 | sort -u >"$work/outermost"
is "$work/outermost" step # no kernel outside of a step

export NVTX_RECORD="$work/eval.ranges"
run 0 eval --model "$model" --data "$data" --num_fewshot 0 --scoring generate,choice --limit 8 --batch_size 4 --bootstrap_iters 0 --threads 1
nested "$work/eval.ranges"
some batch/loader
some batch/block/rope_store_fwd
some batch/linear_fwd
some batch/row_stats

# Without a tool, nothing is written and nothing else happens.
unset NVTX_INJECTION64_PATH
export NVTX_RECORD="$work/none.ranges"
run 0 eval --model "$model" --data "$data" --num_fewshot 0 --limit 8 --bootstrap_iters 0 --threads 1
[ ! -e "$work/none.ranges" ] || fail "something recorded"

finish
