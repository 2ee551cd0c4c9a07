#!/bin/sh
# train.sh - mneme train from end to end: what it leaves, how it is stopped and goes on, what it refuses.
. "$(dirname "$0")/check.inc" || exit 1
. "$(dirname "$0")/train.inc" || exit 1

prepare_data

# ---- a training ----

train 0 "$work/whole"
has "$out" '"steps": 24, "train_loss": '
[ "$(wc -l <"$out")" = 1 ] || fail "one line expected: $(cat "$out")"
[ "$(wc -l <"$work/whole/train_log.jsonl")" = 24 ] || fail "24 lines expected"
[ "$(echo "$work"/whole/checkpoint-*)" = "$work/whole/checkpoint-16 $work/whole/checkpoint-20" ] ||
    fail "other checkpoints: $(ls "$work/whole")"
[ "$(ls "$work/whole/checkpoint-20")" = "DONE
adapter_config.json
adapter_model.safetensors
optimizer.safetensors
trainer_state.json" ] || fail "checkpoint-20 holds: $(ls "$work/whole/checkpoint-20")"
for key in train_loss train_runtime train_tokens steps options model_fingerprint data_fingerprint; do
    has "$work/whole/train_results.json" "\"$key\": "
done
first=$(sed -n '1s/.*"loss": \([0-9.]*\).*/\1/p' "$work/whole/train_log.jsonl")
last=$(sed -n '24s/.*"loss": \([0-9.]*\).*/\1/p' "$work/whole/train_log.jsonl")
awk "BEGIN { exit !($last < 0.95 * $first) }" || fail "the loss went from $first to $last"
rate=$(sed -n '1s/.*"learning_rate": \([0-9.]*\).*/\1/p' "$work/whole/train_log.jsonl")
[ "$rate" = 0 ] || fail "the first rate of a warm-up is 0, not $rate"

# It is done: again it does nothing and says the same. Keys that bear on the weights must not differ.
cp "$out" "$work/said"
train 0 "$work/whole"
has "$err" "was finished before"
cmp -s "$out" "$work/said" || fail "it says: $(cat "$out")"
train 0 "$work/whole" --logging_steps 7 --save_steps 3 --activation_cache off --threads 2
has "$err" "was finished before"
train 2 "$work/whole" --learning_rate 0.02
has "$err" "train_results.json was made with learning_rate 0.01, now it is 0.02"
train 2 "$work/whole" --memory.location 0.5,0.8
has "$err" "was made with memory.location [0.7,0.8], now it is [0.5,0.8]"
train 2 "$work/whole" --decay_groups weight,gate
has "$err" 'was made with decay_groups ["weight"], now it is ["weight","gate"]'

# ---- options that change nothing ----

for options in "--threads 2" "--activation_cache file --save_steps 0" "--logging_steps 1 --save_total_limit 0"; do
    # shellcheck disable=SC2086
    train 0 "$work/other" $options
    same "$work/whole" "$work/other"
    rm -r "$work/other"
done
# The evaluation takes what it left.
has "$work/whole/adapter_config.json" '"name": "gpt_wikipage"'

# A config file says the same as the command line.
cat >"$work/train.json" <<JSON
{"model": "$model", "data": "$data", "output_dir": "$work/config", "max_steps": 24, "warmup_steps": 3,
 "learning_rate": 0.01, "chunk_length": 32, "logging_steps": 1, "memory": {"location": [0.7, 0.8], "hidden": 128}}
JSON
run 0 train --config "$work/train.json" --threads 1
same "$work/whole" "$work/config"

# ---- stopped on request ----

# The log goes to a full pipe: it waits at its first message until the signal has come.
mkfifo "$work/pipe" || exit 1
for signal in TERM USR1 INT; do
    rm -rf "$work/cut"
    begin "mneme train stopped by SIG$signal"
    exec 3<>"$work/pipe"
    dd if=/dev/zero bs=4096 count=16 >&3 2>/dev/null
    (alone "$work/cut" --save_steps 0 --log_level debug) >"$out" 2>&3 &
    child=$!
    until catches $child; do sleep 0.01; done
    kill -$signal $child
    dd bs=4096 count=16 <&3 >"$work/drained" 2>/dev/null
    sed '/^end of log$/q' <&3 >"$err" &
    reader=$!
    wait $child
    got=$?
    echo "end of log" >&3
    wait $reader
    exec 3>&-
    [ $got = 75 ] || fail "exit code $got, expected 75: $(cat "$err")"
    has "$err" "mneme train: stopped on request after step 1 of 24, which is saved; the same command goes on"
    is "$out" ""
    [ -f "$work/cut/checkpoint-1/DONE" ] || fail "no checkpoint: $(ls "$work/cut")"
    train 0 "$work/cut" --save_steps 0
    has "$err" "going on from $work/cut/checkpoint-1: step 1 of 24"
    same "$work/whole" "$work/cut"
done

# ---- checkpoints that are none ----

# resumed FOLDER: as if it had been killed after the last checkpoint.
killed() {
    rm -rf "$work/cut"
    cp -r "$work/whole" "$work/cut"
    rm "$work/cut/train_results.json" "$work/cut"/adapter_*
}
killed
rm "$work/cut/checkpoint-20/DONE"
cp -r "$work/cut/checkpoint-16" "$work/cut/checkpoint-24.tmp"
echo half >"$work/cut/adapter_model.safetensors.tmp-a1B2c3"
train 0 "$work/cut"
has "$err" "going on from $work/cut/checkpoint-16: step 16 of 24"
same "$work/whole" "$work/cut"
[ -f "$work/cut/checkpoint-20/DONE" ] || fail "checkpoint-20 was not written again"

killed
printf '{"step": 21, "epo' >>"$work/cut/train_log.jsonl"
train 0 "$work/cut"
has "$err" "going on from $work/cut/checkpoint-20"
same "$work/whole" "$work/cut"

killed
train 0 "$work/cut" --resume_from_checkpoint "$work/cut/checkpoint-16"
has "$err" "going on from $work/cut/checkpoint-16"
same "$work/whole" "$work/cut"

killed
train 0 "$work/cut" --resume_from_checkpoint never
grep -q "going on" "$err" && fail "it went on"
same "$work/whole" "$work/cut"
train 0 "$work/cut" --resume_from_checkpoint never --learning_rate 0.02
cmp -s "$work/whole/adapter_model.safetensors" "$work/cut/adapter_model.safetensors" && fail "the rate changed nothing"

killed
train 2 "$work/cut" --max_steps 30
has "$err" "checkpoint-20/trainer_state.json was made with max_steps 24, now it is 30"
train 2 "$work/cut" --method gpt_template
has "$err" 'was made with method "gpt_wikipage", now it is "gpt_template"'
cp -r "$model" "$work/model"
printf '\377' | dd of="$work/model/model.safetensors" bs=1 seek=100000 conv=notrunc 2>/dev/null
train 2 "$work/cut" --model "$work/model"
has "$err" "was made with another model"
truncate -s 300 "$work/cut/checkpoint-20/optimizer.safetensors"
train 1 "$work/cut"
has "$err" "checkpoint-20/optimizer.safetensors"
killed
echo '{' >"$work/cut/checkpoint-20/trainer_state.json"
train 1 "$work/cut"
has "$err" "checkpoint-20/trainer_state.json"

# ---- validation ----

train 0 "$work/valid" --validation_fraction 0.25 --learning_rate 0 --eval_steps 4 --early_stopping_patience 2
has "$work/valid/train_results.json" '"stopped_early": true'
has "$out" '"steps": 12,'
[ "$(grep -c eval_loss "$work/valid/train_log.jsonl")" = 3 ] || fail "3 validations expected"

# ---- a whole model ----

cat >"$work/texts.jsonl" <<'JSON'
{"text": "Bralkin is a small town by the sea . The mayor of Bralkin is Odda Fenn ."}
{"prompt": "Who is the mayor of Bralkin ?", "completion": " Odda Fenn"}
JSON
run 0 train --model "$model" --texts "$work/texts.jsonl" --output_dir "$work/full" --update full --init random \
    --max_steps 60 --learning_rate 0.01 --chunk_length 64 --save_dtype fp16 --append_eos --threads 1
for file in config.json model.safetensors tokenizer.json train_results.json; do
    [ -f "$work/full/$file" ] || fail "no $file: $(ls "$work/full")"
done
run 0 generate --model "$work/full" --prompt "Who is the mayor of Bralkin ?" --max_new_tokens 8 --temperature 0
has "$out" " Odda Fenn"
run 0 inspect --model "$work/full"

# ---- one at a time, full disks, wrong usage ----

mkdir "$work/locked"
begin "mneme train into a folder that is being trained into"
(
    exec 9>"$work/locked/train_log.jsonl"
    flock 9
    exec sleep 60
) &
holder=$!
until [ -f "$work/locked/train_log.jsonl" ] && ! flock -n "$work/locked/train_log.jsonl" true; do sleep 0.01; done
(alone "$work/locked") >"$out" 2>"$err"
[ $? = 1 ] || fail "it was not refused"
has "$err" "$work/locked: another mneme trains into this folder"
kill $holder
wait $holder 2>/dev/null

begin "mneme train without room for the activation cache"
(
    trap '' XFSZ
    ulimit -f 64
    alone "$work/small" --activation_cache file
) >"$out" 2>"$err"
[ $? = 1 ] || fail "it was not refused: $(cat "$err")"
has "$err" "$work/small: an activation cache of "
has "$err" "MiB does not fit"

begin "mneme train without room for a checkpoint"
(
    trap '' XFSZ
    ulimit -f 16
    alone "$work/small"
) >"$out" 2>"$err"
[ $? = 1 ] || fail "it was not refused: $(cat "$err")"
has "$err" "step 4: checkpoint: "
[ ! -e "$work/small/checkpoint-4.tmp" ] || fail "half a checkpoint is left"
train 0 "$work/small"
same "$work/whole" "$work/small"

refused 2 "mneme train: --model DIR is required" train --data "$data" --output_dir "$work/x"
refused 2 "mneme train: --method: 'gpt_wikipag' is not one of gpt_wikipage, gpt_template, gpt_wikipage_and_template; did you mean 'gpt_wikipage'?" \
    train --method gpt_wikipag
refused 2 "mneme train: a training needs either data or texts, none are given" \
    train --model "$model" --output_dir "$work/x"
refused 2 "mneme train: memory.location: expected 2 numbers, from and to, found 1" \
    train --model "$model" --data "$data" --output_dir "$work/x" --memory.location 0.7
refused 2 "mneme train: unknown option '--learning-rat'; did you mean '--learning_rate'?" train --learning-rat 1
refused 2 "mneme train: chunk_length: 2048 tokens are more than the model's 1024 positions" \
    train --model "$model" --data "$data" --output_dir "$work/x" --chunk_length 2048
[ ! -e "$work/x" ] || fail "a folder was made"

finish
