#!/bin/sh
# program.sh - the program under mpirun does what one process does, and speaks with one voice.
. "$MN_SOURCE_DIR/tests/cli/check.inc" || exit 1
. "$MN_SOURCE_DIR/tests/cli/train.inc" || exit 1
. "$MN_SOURCE_DIR/tests/dist/dist.inc" || exit 1
. "$MN_SOURCE_DIR/tests/dist/program.inc" || exit 1

# ---- prepare: rank 0 alone ----

prepare_data
job 0 3 prepare --claims "$world/dev.jsonl" --train_claims "$world/train.jsonl" --wiki "$world/wiki" \
    --out "$work/data3" --top_pages 12 --threads 1 --log_level error
diff -r "$data" "$work/data3" >"$work/diff" || fail "prepared otherwise: $(head -n 3 "$work/diff")"
[ "$(grep -c '^written to' "$out")" = 1 ] || fail "said $(grep -c '^written to' "$out") times"

# ---- train and eval ----

# answers FILE: samples without the numbers that rounding touches.
answers() { sed 's/"logprob": {[^}]*}, //' "$1"; }

# over_ranks NAME MODEL LAYOUT...: a memory trained and evaluated by ranks, as by one process.
over_ranks() {
    name=$1 model=$2
    shift 2
    train 0 "$work/$name"
    run 0 eval --model "$model" --adapter "$work/$name" --data "$data" --num_fewshot 0,2 --limit 40 --batch_size 8 \
        --log_samples --output_path "$work/$name-eval"
    for layout; do
        n=${layout%% *}
        folder=$work/$name$(echo "$layout" | tr -d ' -')
        # shellcheck disable=SC2086 # words
        job 0 $n train --model "$model" --data "$data" --output_dir "$folder" --max_steps 24 --warmup_steps 3 \
            --learning_rate 0.01 --chunk_length 32 --logging_steps 1 --save_steps 4 ${layout#* }
        one_voice
        has "$err" "$n ranks: "
        [ "$(wc -l <"$out")" = 1 ] || fail "results: $(cat "$out")"
        for key in loss grad_norm; do close_to $key 1e-5 "$work/$name/train_log.jsonl" "$folder/train_log.jsonl"; done
        has "$folder/rank-1.log" "24 steps"
        [ ! -e "$folder/rank-0.log" ] || fail "rank 0 has a log of its own"

        # shellcheck disable=SC2086
        job 0 $n eval --model "$model" --adapter "$work/$name" --data "$data" --num_fewshot 0,2 --limit 40 \
            --batch_size 8 --log_samples --output_path "$folder-eval" ${layout#* }
        one_voice
        for file in "$work/$name-eval"/*/samples_*; do
            task=$(basename "$file" | sed 's/_[^_]*$//')
            answers "$file" >"$work/these"
            answers "$folder-eval"/*/"$task"_2* | cmp -s - "$work/these" || fail "other answers in $task"
            [ "$(wc -l <"$work/these")" = 40 ] || fail "40 samples expected: $(head -c 300 "$file")"
        done
    done
}

neox=$model
over_ranks neox "$neox" "2 --tp 2" "4 --tp 4" "2 --dp 2" "4 --tp 2 --dp 2"

# A Llama with grouped heads, which four ranks have to share.
mkdir "$work/shape"
cp "$neox/tokenizer.json" "$work/shape"
cat >"$work/shape/config.json" <<'END'
{
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "intermediate_size": 130,
    "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-5,
    "max_position_embeddings": 1024, "vocab_size": 1537, "initializer_range": 0.02, "hidden_act": "silu",
    "tie_word_embeddings": false, "bos_token_id": 0, "eos_token_id": 0
}
END
run 0 train --model "$work/shape" --data "$data" --update full --init random --max_steps 6 --warmup_steps 1 \
    --chunk_length 32 --threads 1 --output_dir "$work/llama-model"
over_ranks llama "$work/llama-model" "4 --tp 4" "4 --tp 2 --dp 2"
model=$neox

# ---- a model that ranks share: score, generate; standard input is rank 0's ----

cat >"$work/pairs.jsonl" <<'END'
{"context": "The town of", "continuation": " Alder"}
{"context": "A claim:", "continuation": " it is false."}
END
for command in "score --jsonl -" "generate --jsonl - --max_new_tokens 6"; do
    [ "${command%% *}" = score ] || sed -i 's/"context"/"prompt"/' "$work/pairs.jsonl"
    input=$work/pairs.jsonl
    # shellcheck disable=SC2086
    run 0 $command --model "$model"
    mv "$out" "$work/alone"
    # shellcheck disable=SC2086
    job 0 2 $command --model "$model" --tp 2
    input=/dev/null
    [ "$(wc -l <"$out")" = 2 ] || fail "two lines expected: $(cat "$out")"
    [ "${command%% *}" = score ] || cmp -s "$out" "$work/alone" || fail "other texts: $(cat "$out")"
    [ "${command%% *}" != score ] || close_to logprob 1e-5 "$work/alone" "$out"
done

begin "standard input is silent for longer than ranks wait for each other"
(sleep 6 && cat "$work/pairs.jsonl") | (ranks 2 "$program" generate --model "$model" --jsonl - --max_new_tokens 6 --tp 2 \
    --comm_timeout 1) >"$out" 2>"$err"
cmp -s "$out" "$work/alone" || fail "other texts: $(cat "$out" "$err")"

# ---- what makes no sense is said once ----

job 2 4 train --model "$model" --data "$data" --output_dir "$work/no" --tp 3
has "$err" "mneme train: 4 ranks were started: they cannot be divided into groups of tp = 3"
one_voice
[ ! -e "$work/no" ] || fail "a folder was made"
job 2 2 train --model "$model" --data "$data" --output_dir "$work/no" --tp 2 --dp 2
has "$err" "tp * dp = 2 * 2 = 4 ranks are asked for, 2 were started"
one_voice
job 2 2 score --model "$model" --jsonl "$work/pairs.jsonl"
has "$err" "mneme score: score shares a model among ranks, not its work: tp must be 2"
job 2 2 tokenize --model "$model" --text x
has "$err" "this command works in one process, 2 were started"
job 2 2 train --no_such_option 1
[ "$(grep -c "unknown option" "$err")" = 1 ] || fail "said otherwise: $(cat "$err")"
job 1 2 train --model "$work/nowhere" --data "$data" --output_dir "$work/no" --dp 2
[ "$(grep -c "$work/nowhere" "$err")" = 1 ] || fail "said otherwise: $(cat "$err")"
refused 2 "mneme train: tp 2 and dp 3 are for 6 processes: mpirun -n 6 mneme train ..." \
    train --model "$model" --data "$data" --output_dir "$work/no" --tp 2 --dp 3
refused 2 "mneme tokenize: this command works in one process: --tp and --dp have no meaning here" \
    tokenize --model "$model" --text x --tp 2

# ---- alone, whatever the environment of a batch job or a shell of srun says ----

begin "no MPI is opened without a launcher"
if command -v strace >/dev/null 2>&1; then
    strace -f -e trace=openat -o "$work/trace" "$program" tokenize --model "$model" --text x >"$out" 2>"$err" || fail "exit code $?"
    grep -q mneme "$work/trace" && grep -q 'libmpi\|libmneme_mpi' "$work/trace" && fail "opened: $(grep libm.*mpi "$work/trace")"
fi
for set in "SLURM_JOB_ID=7 SLURM_NTASKS=4 SLURM_PROCID=0" "SLURM_JOB_ID=7 SLURM_STEP_NUM_TASKS=1 PMIX_RANK=0" \
    "OMPI_COMM_WORLD_SIZE=1 OMPI_COMM_WORLD_RANK=0" "PMI_SIZE=1 PMI_RANK=0"; do
    begin "alone with $set"
    # shellcheck disable=SC2086
    env $set MNEME_MPI_PLUGIN=/no/such.so "$program" score --model "$model" --jsonl "$work/none.jsonl" >"$out" 2>"$err"
    has "$err" "none.jsonl: No such file"
done
begin "srun without MPI"
env SLURM_STEP_NUM_TASKS=4 SLURM_PROCID=1 "$program" train --model "$model" --data "$data" --output_dir "$work/no" >"$out" 2>"$err"
[ $? = 2 ] || fail "exit code: $(cat "$err")"
has "$err" "srun started 4 processes that cannot find each other: use srun --mpi=pmix"
begin "mpirun without the plug-in"
(export MNEME_MPI_PLUGIN=/no/such.so && ranks 2 "$program" train --model "$model" --data "$data" --output_dir "$work/no") >"$out" 2>"$err"
[ $? = 1 ] || fail "exit code: $(cat "$err")"
has "$err" "mpirun (Open MPI) started 2 processes, but there is no MPI: /no/such.so"
run 0 doctor
has "$out" "MPI       can be used"
job 0 1 doctor --json
has "$out" '"launcher": "mpirun (Open MPI)"'

finish
