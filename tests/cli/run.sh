#!/bin/sh
# run.sh - mneme run from claims to report: what is done is skipped, what was interrupted goes on, what
# contradicts is refused; every shipped config loads.
. "$(dirname "$0")/check.inc" || exit 1
. "$(dirname "$0")/kill.inc" || exit 1
. "$(dirname "$0")/run.inc" || exit 1

# ---- a whole run ----

small 0 "$work/small" --dry-run
has "$out" "to be prepared"
has "$out" "GPT-NeoX, "
has "$out" "train gpt_template-wd0.05"
[ ! -e "$work/small" ] || fail "a dry run has made its folder"

begun=$(date +%s%3N)
small 0 "$work/small"
spent=$(($(date +%s%3N) - begun))
for file in config.json prepared/manifest.json train/gpt_wikipage-wd0.05/adapter_model.safetensors \
    train/gpt_template-wd0.05/train_results.json train/gpt_template-wd0.05/train_log.jsonl eval/evaluation.json \
    report/report.html report/report.md; do
    [ -s "$work/small/$file" ] || fail "no $file"
done
has "$out" "gpt_template-wd0.05"
has "$(find "$work/small/eval" -name 'results_*')" '"fever_1shot_choice@gpt_wikipage-wd0.05"'

# Again: every step says that it is skipped, and no file is touched.
touch "$work/stamp"
small 0 "$work/small"
for step in prepare "train gpt_wikipage-wd0.05" "train gpt_template-wd0.05" eval report; do has "$err" "$step: skipped"; done
[ "$(wc -l <"$err")" = 5 ] || fail "five lines expected: $(cat "$err")"
is "$out" ""
[ -z "$(find "$work/small" -type f -newer "$work/stamp" ! -name .lock)" ] || fail "touched: $(find "$work/small" -newer "$work/stamp")"

# Its own config.json is a config: from any folder of a moved run, nothing is left to do.
run 0 run "$work/small/config.json"
has "$err" "report: skipped"

# ---- the plan ----

small 0 "$work/small" --dry-run
[ "$(grep -c ' done$' "$out")" = 5 ] || fail "not all is done: $(cat "$out")"
rm -r "$work/small/report" "$work/small/train/gpt_wikipage-wd0.05"
small 0 "$work/small" --dry-run
[ "$(grep -c ' done$' "$out")" = 2 ] || fail "two are done: $(cat "$out")"
grep -Eq '^train gpt_wikipage-wd0.05 +to do +[0-9]+ +[0-9]+ +[0-9]+ +[0-9.]+ MB ' "$out" || fail "no estimate: $(cat "$out")"
grep -Eq '^evaluate 3 variants +to do +24 +[0-9]+ +[0-9.]+ MB ' "$out" || fail "no estimate: $(cat "$out")"
has "$out" "GFLOP/s, measured now"
# What was taken away is made again; the adapter is the same, so its evaluation still holds.
cp -r "$work/small" "$work/again"
small 0 "$work/again"
has "$err" "train gpt_template-wd0.05: skipped"
has "$err" "eval: skipped"
[ -s "$work/again/report/report.html" ] || fail "no report"

# ---- contradictions ----

small 0 "$work/small"
for option in "learning_rate 0.5" "num_fewshot 0" "top_pages 5" "memory.hidden 16" "memory.location 0,1" "seed 1" \
    "train_num_fewshot 2" "decay_groups bias" "compute bf16" "max_gen_toks 4" "prepare_seed 5"; do
    small 2 "$work/small" "--${option% *}" "${option#* }"
    has "$err" "mneme run: $work/small/config.json: ${option% *} was "
    has "$err" "is there already"
    is "$out" ""
done
cmp -s "$work/again/config.json" "$work/small/config.json" || sed "s|$work/small|$work/again|" "$work/small/config.json" |
    cmp -s - "$work/again/config.json" || fail "a refused key is in config.json"
# Keys that change no number may change, and what is done stays done.
small 0 "$work/small" --threads 2 --logging_steps 5 --batch_size 3 --save_steps 0
has "$err" "eval: skipped"
# One more weight decay is one more variant: it is trained, and all are evaluated.
small 0 "$work/small" --weight_decays 0.05,0.01 --methods pretrained,gpt_template
has "$err" "train gpt_template-wd0.05: skipped"
has "$err" "train gpt_template-wd0.01: "
has "$out" "gpt_template-wd0.01"
cmp -s "$work/small/train/gpt_template-wd0.05/adapter_model.safetensors" \
    "$work/small/train/gpt_template-wd0.01/adapter_model.safetensors" && fail "weight decay has no effect"

# ---- interruptions ----

small 0 "$work/whole"
killed "$work/whole" "$work/cut" 5

# A signal: it saves and leaves with 75, wherever it is; the same command goes on.
rm -rf "$work/cut"
begin "mneme run stopped by SIGTERM while it trains"
alone "$work/cut" >"$out" 2>"$err" &
child=$!
while [ -d /proc/$child ] && [ ! -s "$work/cut/train/gpt_wikipage-wd0.05/train_log.jsonl" ]; do sleep 0.01; done
kill -TERM $child
wait $child
got=$?
[ $got = 75 ] || fail "exit code $got, expected 75: $(cat "$err")"
[ ! -e "$work/cut/eval/evaluation.json" ] || fail "it went on"
small 0 "$work/cut"
same "$work/whole" "$work/cut"

# One process per folder.
if command -v flock >/dev/null; then
    exec 9>"$work/cut/.lock"
    flock -n 9 || fail "the lock is still held"
    refused 1 "mneme run: $work/cut: another mneme is at this run" run "$config" --run_dir "$work/cut" --log_level error
    exec 9>&-
fi

# ---- prepared data, whole models ----

run 0 run --model "$source_dir/data/demo-model" --data "$work/whole/prepared" --run_dir "$work/full" --update full \
    --methods gpt_template --max_steps 3 --num_fewshot 0 --limit 8 --scoring choice --bootstrap_iters 0 --threads 1
[ ! -e "$work/full/prepared" ] || fail "it has prepared data"
[ -s "$work/full/train/gpt_template-full-wd0.05/model.safetensors" ] || fail "no model"
results=$(ls "$work"/full/eval/demo-model/results_*)
has "$results" '"fever_0shot_choice@gpt_template-full-wd0.05"'
has "$results" '"fever_0shot_choice"'
run 0 run "$work/full/config.json"
has "$err" "eval: skipped"
# Data that was prepared anew in the same folder is not what the model was trained on.
cp -r "$work/whole/prepared" "$work/data"
on_data() { run "$1" run --model "$source_dir/data/demo-model" --data "$work/data" --run_dir "$work/on_data" \
    --methods gpt_template --max_steps 3 --num_fewshot 0 --limit 8 --scoring choice --bootstrap_iters 0 --threads 1; }
on_data 0
run 0 prepare --claims "$source_dir/data/world/dev.jsonl" --train_claims "$source_dir/data/world/train.jsonl" \
    --wiki "$source_dir/data/world/wiki" --out "$work/data" --top_pages 5
on_data 2
has "$err" "mneme run: gpt_template-wd0.05: $work/on_data/train/gpt_template-wd0.05/train_results.json was made with other training texts"
run 1 run --model "$source_dir/data/demo-model" --data "$work" --run_dir "$work/none"
has "$err" "mneme run: data: $work has no manifest.json"

# ---- wrong usage ----

refused 2 "mneme run: --model DIR is required" run
run 1 run "$work/none.json"
has "$err" "mneme run: $work/none.json: "
echo '{"model": "m", "run_dir": "r", "memory": {"hiden": 3}}' >"$work/bad.json"
refused 2 "mneme run: $work/bad.json: unknown key 'memory.hiden'; did you mean 'memory.hidden'?" run "$work/bad.json"
echo '{"model": "nowhere/pythia-3b", "run_dir": "r"}' >"$work/bad.json"
run 2 run "$work/bad.json" --dry-run
has "$err" "mneme run: nowhere/pythia-3b: no such model folder"
small 2 "$work/none" --memory.location 0.7
has "$err" "memory.location"

# ---- the configs that are shipped ----

cd "$work" || exit 1
for file in "$source_dir"/configs/*.json; do
    name=$(basename "$file" .json)
    if [ "$name" = demo ]; then cd "$source_dir" || exit 1; fi
    run 0 run "$file" --dry-run --run_dir "$work/nothing"
    if [ "$name" = demo ]; then cd "$work" || exit 1; continue; fi
    has "$out" "models/${name%-full}: "
    has "$out" "; not there yet"
    has "$file" "\"run_dir\": \"runs/$name\""
    case $name in
    *-full) has "$out" "train gpt_wikipage_and_template-full-wd0.05" ;;
    *) [ "$(grep -c '^train gpt_.*-wd0.05 ' "$out")" = 3 ] || fail "not three variants: $(cat "$out")" ;;
    esac
    case $name in
    llama-2-13b | llama-2-13b-chat | llama-2-7b-chat) [ "$(grep -c '^train .*-wd0.01 ' "$out")" = 3 ] || fail "no 0.01" ;;
    *) grep -q 'wd0.01' "$out" && fail "0.01 is not of the document" ;;
    esac
done
for model in pythia-70m pythia-160m pythia-410m pythia-1b pythia-1.4b pythia-2.8b pythia-6.9b pythia-12b \
    llama-2-7b llama-2-13b llama-2-7b-chat llama-2-13b-chat pythia-70m-full pythia-410m-full demo; do
    [ -f "$source_dir/configs/$model.json" ] || fail "no config of $model"
done

finish
