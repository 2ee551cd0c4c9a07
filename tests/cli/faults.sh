#!/bin/sh
# faults.sh - broken models, data and machines through the real program: an exit code, a message that names
# file and place, no answers, nothing left behind.
. "$(dirname "$0")/check.inc" || exit 1

golden=$source_dir/tests/golden
ascii=$source_dir/tests/fixtures/tokens/ascii.json # 97 tokens

# folder NAME GOLDEN: $model becomes a fresh copy of a golden model with a tokenizer.
folder() {
    model=$work/$1
    rm -rf "$model"
    cp -r "$golden/$2" "$model" || exit 1
    rm "$model/reference.safetensors"
    cp "$ascii" "$model/tokenizer.json"
}

printf '{"context": "a claim", "continuation": " (b)"}\n' >"$work/pair.jsonl"

# fault TEXT...: scoring with $model fails and says all of this.
fault() {
    run 1 score --model "$model" --jsonl "$work/pair.jsonl" --threads 1 --log_level error
    [ "$(wc -l <"$err")" = 1 ] || fail "one line expected: $(cat "$err")"
    is "$out" ""
    for text in "$@"; do has "$err" "$text"; done
}

# bytes FILE OFFSET OCTAL: overwrites what is there.
# shellcheck disable=SC2059
bytes() { printf "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc 2>/dev/null; }

# place FILE TENSOR: the offset of its first byte in a safetensors file.
place() {
    header=$(od -An -tu8 -N8 "$1" | tr -d ' ')
    first=$(dd if="$1" bs=1 skip=8 count="$header" 2>/dev/null |
        sed "s/.*\"$2\":[^}]*\"data_offsets\":\[\([0-9]*\),.*/\1/")
    echo $((8 + header + first))
}

# shard HEADER BYTES: $model/model.safetensors with this header and so many zeros.
shard() {
    length=${#1}
    # shellcheck disable=SC2059
    printf "$(printf '\\%03o\\%03o\\0\\0\\0\\0\\0\\0' $((length % 256)) $((length / 256)))" >"$model/model.safetensors"
    { printf '%s' "$1" && head -c "$2" /dev/zero; } >>"$model/model.safetensors"
}

# ---- weights ----

folder sound neox-bf16
run 0 score --model "$model" --jsonl "$work/pair.jsonl" --threads 1 --log_level error
is "$err" ""

folder cut neox-bf16
truncate -s -100 "$model/model-00002-of-00003.safetensors"
fault "model-00002-of-00003.safetensors: " "byte"
truncate -s 300 "$model/model-00002-of-00003.safetensors"
fault "model-00002-of-00003.safetensors: "
truncate -s 5 "$model/model-00002-of-00003.safetensors"
fault "model-00002-of-00003.safetensors: "
: >"$model/model-00002-of-00003.safetensors"
fault "model-00002-of-00003.safetensors: "
rm "$model/model-00002-of-00003.safetensors"
fault "the file $model/model-00002-of-00003.safetensors, found none"
run 1 generate --model "$model" --prompt a
has "$err" "the file $model/model-00002-of-00003.safetensors, found none"

folder index neox-bf16
sed -i 's/\("embed_out.weight": "model-0000\)3/\11/' "$model/model.safetensors.index.json"
fault "embed_out.weight" "model-00001-of-00003.safetensors"
folder index neox-bf16
sed -i '/"gpt_neox.final_layer_norm.bias"/d' "$model/model.safetensors.index.json"
fault "gpt_neox.final_layer_norm.bias"
folder index neox-bf16
sed -i 's/"model-00001-of-00003.safetensors",/5,/' "$model/model.safetensors.index.json"
fault "model.safetensors.index.json: " "gpt_neox.embed_in.weight"
sed -i '5,$d' "$model/model.safetensors.index.json"
fault "model.safetensors.index.json: broken JSON at line "
rm "$model"/*.safetensors*
fault "$model: " "model.safetensors"

folder shape neox-parallel
sed -i 's/"intermediate_size": 256/"intermediate_size": 128/' "$model/config.json"
fault "$model/model.safetensors: tensor gpt_neox.layers.0.mlp.dense_h_to_4h." "(256, 64), config.json needs (128, 64)"
folder shape neox-parallel
sed -i '0,/"shape":\[192,64\]/s//"shape":[64,192]/' "$model/model.safetensors" # as many numbers
fault "$model/model.safetensors: tensor gpt_neox.layers." ".attention.query_key_value.weight has shape (64, 192), config.json needs (192, 64)"
folder shape llama-gqa
sed -i 's/"num_key_value_heads": 2/"num_key_value_heads": 3/' "$model/config.json"
fault "$model/model.safetensors: tensor model.layers.0.self_attn.k_proj.weight has shape (40, 120), config.json needs (60, 120)"
folder shape neox-parallel
sed -i 's/"num_hidden_layers": 3/"num_hidden_layers": 4/' "$model/config.json"
fault "$model: tensor gpt_neox.layers.3." "is missing"
folder type neox-parallel
sed -i '0,/"gpt_neox.final_layer_norm.bias":{"dtype":"F32"/s//"gpt_neox.final_layer_norm.bias":{"dtype":"I32"/' "$model/model.safetensors"
fault "$model/model.safetensors: tensor gpt_neox.final_layer_norm.bias is I32, F16, BF16 or F32 expected"

folder type neox-parallel
sed -i '0,/"gpt_neox.final_layer_norm.bias":{"dtype":"F32"/s//"gpt_neox.final_layer_norm.bias":{"dtype":"U32"/' "$model/model.safetensors"
fault "$model/model.safetensors: tensor 'gpt_neox.final_layer_norm.bias': dtype U32 is not supported"

folder twice neox-parallel
sed -i '0,/"gpt_neox.layers.1.attention.dense.bias"/s//"gpt_neox.layers.0.attention.dense.bias"/' "$model/model.safetensors"
fault "$model/model.safetensors: " "gpt_neox.layers.0.attention.dense.bias"

folder made neox-parallel
shard '{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"b":{"dtype":"F32","shape":[4],"data_offsets":[12,28]}}' 28
fault "$model/model.safetensors: " "tensor 'b'" "inside tensor 'a'"
shard '{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"b":{"dtype":"F32","shape":[4],"data_offsets":[16,32]}}' 31
fault "$model/model.safetensors: " "tensor 'b'" "31"
shard '{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"b":{"dtype":"F32","shape":[4],"data_offsets":[9007199254740000,9007199254740016]}}' 31
fault "$model/model.safetensors: " "tensor 'b'"
shard '{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,20]}}' 20
fault "$model/model.safetensors: " "tensor 'a'"
shard '{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,16]}}' 16
fault "$model/model.safetensors: " "tensor 'a'"
shard '{"a":{"dtype":"F32","shape":[4],"data_offsets":[16,0]}}' 16
fault "$model/model.safetensors: " "tensor 'a'"
shard '{"a":{"dtype":"F32","shape":[4]' 16
fault "$model/model.safetensors: " "broken JSON"
shard '[]' 16
fault "$model/model.safetensors: "
bytes "$model/model.safetensors" 0 '\0\0\0\0\0\0\0\200'
fault "$model/model.safetensors: " "9223372036854775808"
bytes "$model/model.safetensors" 0 '\377\377\377\377\377\377\377\377'
fault "$model/model.safetensors: " "18446744073709551615"

# ---- numbers ----

# A NaN in a matrix is noticed when it is used, one in a vector at once: tensor, file and element either way.
folder nan neox-bf16
at=$(place "$model/model-00002-of-00003.safetensors" gpt_neox.layers.1.attention.dense.weight)
bytes "$model/model-00002-of-00003.safetensors" $((at + 2 * 77)) '\300\177'
fault "$model/model-00002-of-00003.safetensors: tensor gpt_neox.layers.1.attention.dense.weight: element 77 is nan"
run 1 generate --model "$model" --prompt a --log_level error
has "$err" "$model/model-00002-of-00003.safetensors: tensor gpt_neox.layers.1.attention.dense.weight: element 77 is nan"
is "$out" ""
folder nan neox-bf16
at=$(place "$model/model-00001-of-00003.safetensors" gpt_neox.layers.0.attention.query_key_value.bias)
bytes "$model/model-00001-of-00003.safetensors" $((at + 2 * 191)) '\300\377'
fault "$model/model-00001-of-00003.safetensors: tensor gpt_neox.layers.0.attention.query_key_value.bias: element 191 is -nan"
folder nan neox-bf16
at=$(place "$model/model-00003-of-00003.safetensors" embed_out.weight)
bytes "$model/model-00003-of-00003.safetensors" $((at + 2 * 64)) '\200\177'
fault "$model/model-00003-of-00003.safetensors: tensor embed_out.weight: element 64 is inf"
folder nan llama-mha
at=$(place "$model/model.safetensors" model.layers.2.mlp.gate_proj.weight)
bytes "$model/model.safetensors" $((at + 2 * 11007)) '\000\176' # the last one
fault "$model/model.safetensors: tensor model.layers.2.mlp.gate_proj.weight: element 11007 is nan"
folder nan llama-mha
at=$(place "$model/model.safetensors" model.norm.weight)
bytes "$model/model.safetensors" "$at" '\000\174'
fault "$model/model.safetensors: tensor model.norm.weight: element 0 is inf"
# Finite weights whose products are not: the block is named.
folder huge neox-parallel
at=$(place "$model/model.safetensors" gpt_neox.layers.1.mlp.dense_4h_to_h.bias)
bytes "$model/model.safetensors" "$at" '\377\377\177\177'
bytes "$model/model.safetensors" "$(place "$model/model.safetensors" gpt_neox.layers.1.attention.dense.bias)" '\377\377\177\177'
fault "$model: " "behind block 1 are NaN or infinite"

# ---- pickles ----

folder pickle neox-parallel
rm "$model/model.safetensors"
for name in global-os-system global-eval stack-global-builtins-eval reduce-value inst truncated zip-truncated; do
    cp "$golden/pickle/bad-$name.bin" "$model/pytorch_model.bin"
    fault "$model/pytorch_model.bin: "
done
cp "$golden/pickle/bad-global-os-system.bin" "$model/pytorch_model.bin"
fault "$model/pytorch_model.bin: " "os" "system"
: >"$model/pytorch_model.bin"
fault "$model/pytorch_model.bin: "

# ---- config.json ----

for key in hidden_size num_hidden_layers num_attention_heads intermediate_size vocab_size; do
    folder key neox-parallel
    sed -i "s/\"$key\"/\"its_$key\"/" "$model/config.json"
    fault "$model/config.json: " "the key \"$key\" is missing"
    folder key llama-gqa
    sed -i "s/\"$key\": [0-9]*/\"$key\": \"many\"/" "$model/config.json"
    fault "$model/config.json: \$.$key: expected an integer, found a string"
done
config() { # GOLDEN KEY VALUE TEXT...
    folder key "$1"
    sed -i "s/\"$2\": [^,]*\(,*\)\$/\"$2\": $3\1/" "$model/config.json"
    shift 3
    fault "$model/config.json: " "$@"
}
config llama-gqa rope_scaling '{"type": "linear", "factor": 2.0}' 'rope_scaling: rope scaling of type "linear" is not supported'
config llama-gqa rope_scaling '{"rope_type": "llama3", "factor": 8.0}' 'rope scaling of type "llama3" is not supported'
config neox-parallel rope_scaling '{"type": "dynamic", "factor": 2.0}' 'rope scaling of type "dynamic" is not supported'
config llama-gqa hidden_act '"gelu"' 'hidden_act "gelu" is not supported'
config neox-parallel hidden_act '"gelu_new"' 'hidden_act "gelu_new" is not supported'
config llama-gqa attention_bias true 'attention_bias is not supported'
config neox-parallel num_attention_heads 5 'num_attention_heads: 5 does not divide hidden_size 64'
config neox-parallel rotary_pct 1.5 'rotary_pct: 1.5 is not in (0, 1]'
config llama-gqa vocab_size -3 'vocab_size: expected 1 to'
config neox-parallel hidden_size 1e300 'hidden_size: expected'
folder key llama-gqa
sed -i 's/"LlamaForCausalLM"/"MistralForCausalLM"/' "$model/config.json"
fault "$model/config.json: architecture \"MistralForCausalLM\" is not supported; mneme runs GPTNeoXForCausalLM and LlamaForCausalLM"
echo '{"hidden_size": 64' >"$model/config.json"
fault "$model/config.json: broken JSON at line "
: >"$model/config.json"
fault "$model/config.json: "
rm "$model/config.json"
fault "$model/config.json: No such file or directory"
model=$work/nowhere
fault "$work/nowhere: no such model folder"

# ---- tokenizers ----

folder tokens neox-parallel
rm "$model/tokenizer.json"
fault "$model"
: >"$model/tokenizer.json"
fault "$model/tokenizer.json: "
echo '{"model": {"type": "WordPiece"}}' >"$model/tokenizer.json"
fault "$model/tokenizer.json: " "WordPiece"
head -n 5 "$ascii" >"$model/tokenizer.json"
fault "$model/tokenizer.json: broken JSON at line "
# A tokenizer with 160 tokens for a model that knows 157.
folder tokens llama-bin
cp "$source_dir/tests/fixtures/tokens/numbers.json" "$model/tokenizer.json"
fault "the tokenizer has 160 tokens, the model 157"
run 1 generate --model "$model" --prompt "<1>"
has "$err" "the tokenizer has 160 tokens, the model 157"

# ---- lines ----

folder lines neox-parallel
line() { # COMMAND OPTION GOOD...: a broken third line
    command=$1 good=$2
    shift 2
    printf '%s\n\n%s\n' "$good" '{"text": "a", "context"' >"$work/lines.jsonl"
    run 1 "$command" --model "$model" --jsonl "$work/lines.jsonl" --log_level error "$@"
    has "$err" "mneme $command: $work/lines.jsonl:3: broken JSON at column 23"
}
line score '{"context": "a", "continuation": "b"}'
is "$out" ""
line generate '{"prompt": "a"}'
is "$out" ""
line tokenize '{"text": "a"}'
[ "$(wc -l <"$out")" = 1 ] || fail "the good line is missing"

fever=$source_dir/tests/fixtures/fever
prepare() { # CODE FOLDER ARGUMENT...
    code=$1 to=$2
    shift 2
    run "$code" prepare --claims "$fever/claims.jsonl" --train_claims "$fever/train.jsonl" --wiki "$fever/wiki.jsonl" \
        --out "$to" --threads 1 --log_level error "$@"
}
nothing() { [ ! -e "$1" ] || [ -z "$(ls -A "$1")" ] || fail "left behind: $(ls "$1")"; }
for option in claims train_claims wiki; do
    file=$option
    [ $option = train_claims ] && file=train
    sed '3s/.*/{"id": 7, "claim": /' "$fever/$file.jsonl" >"$work/broken.jsonl"
    prepare 1 "$work/no" --$option "$work/broken.jsonl"
    has "$err" "mneme prepare: $work/broken.jsonl:3: "
    is "$out" ""
    nothing "$work/no"
    prepare 0 "$work/skipped" --$option "$work/broken.jsonl" --skip-bad-lines
    has "$out" "lines that could not be read, skipped: 1"
    : >"$work/empty.jsonl"
    prepare 1 "$work/no" --$option "$work/empty.jsonl"
    has "$err" "mneme prepare: $work/empty.jsonl"
    is "$out" ""
    nothing "$work/no"
    prepare 1 "$work/no" --$option "$work/none.jsonl"
    is "$err" "mneme prepare: $work/none.jsonl: No such file or directory"
    nothing "$work/no"
done

# ---- prepared folders ----

prepare 0 "$work/data"
folder good neox-parallel
evaluate() { # CODE ARGUMENT...
    code=$1
    shift
    run "$code" eval --model "$model" --data "$work/data" --num_fewshot 0,1 --bootstrap_iters 10 --threads 1 \
        --log_level error --output_path "$work/results" "$@"
    [ "$code" = 0 ] && return
    is "$out" ""
    [ "$(wc -l <"$err")" = 1 ] || fail "one line expected: $(cat "$err")"
}
evaluate 0
rm -r "$work/results"
damaged() { # FILE TEXT: the evaluation names the damaged file and says this
    evaluate 1
    has "$err" "$work/data${1:+/$1}"
    has "$err" "$2"
    nothing "$work/results"
    rm -r "$work/data"
    cp -r "$work/kept" "$work/data"
}
# rehash FILE: the manifest takes over what the file has become, as whoever edits the data might do.
rehash() {
    was=$(sha256sum "$work/kept/$1" | cut -d ' ' -f 1) is=$(sha256sum "$work/data/$1" | cut -d ' ' -f 1)
    grep -q "$was" "$work/data/manifest.json" || fail "no sha256 of $1 in the manifest"
    sed -i "s/$was/$is/" "$work/data/manifest.json"
}
cp -r "$work/data" "$work/kept"
rm "$work/data/manifest.json"
damaged "" "no manifest.json"
: >"$work/data/manifest.json"
damaged manifest.json "JSON expected"
: >"$work/data/eval.jsonl"
damaged eval.jsonl ""
sed -i '2d' "$work/data/eval.jsonl"
damaged eval.jsonl ""
sed -i '2s/"page": *"[^"]*"/"page": "Nowhere"/' "$work/data/eval.jsonl"
damaged eval.jsonl "" # the sha256 of the manifest is another
sed -i '2s/"page": *"[^"]*"/"page": "Nowhere"/' "$work/data/eval.jsonl"
rehash eval.jsonl
damaged eval.jsonl:2: "Nowhere"
sed -i '2s/"label": *"[^"]*"/"label": "PERHAPS"/' "$work/data/eval.jsonl"
rehash eval.jsonl
damaged eval.jsonl:2: "PERHAPS"
sed -i '2s/,.*/, "id":/' "$work/data/demos.jsonl"
rehash demos.jsonl
damaged demos.jsonl:2: "broken JSON"
rm "$work/data/pages.jsonl"
damaged pages.jsonl "No such file or directory"

# ---- what does not fit ----

sed -i 's/"max_position_embeddings": 640/"max_position_embeddings": 190/' "$model/config.json"
evaluate 1
has "$err" "mneme eval: claim "
has "$err" "with 1 shots has "
has "$err" "the model has room for "
nothing "$work/results"
folder narrow llama-bin
cp "$source_dir/tests/fixtures/tokens/numbers.json" "$model/tokenizer.json"
evaluate 1
has "$err" "the tokenizer has 160 tokens, the model 157"
nothing "$work/results"
folder nan neox-parallel
bytes "$model/model.safetensors" "$(place "$model/model.safetensors" gpt_neox.layers.2.mlp.dense_4h_to_h.weight)" '\0\0\300\177'
evaluate 1
has "$err" "$model/model.safetensors: tensor gpt_neox.layers.2.mlp.dense_4h_to_h.weight: element 0 is nan"
[ -z "$(find "$work/results" -type f ! -name 'journal_*')" ] || fail "left behind: $(find "$work/results" -type f)"

# ---- disks ----

folder good neox-parallel
rm -rf "$work/results"
echo "a file" >"$work/file"
evaluate 1 --output_path "$work/file/results"
is "$err" "mneme eval: $work/file/results: Not a directory"
evaluate 1 --output_path "$work/file"
has "$err" "mneme eval: $work/file"
is "$work/file" "a file"
prepare 1 "$work/file/data"
has "$err" "mneme prepare: $work/file/data"
prepare 1 "$work/file"
has "$err" "mneme prepare: $work/file"
is "$work/file" "a file"

# limited KIB COMMAND...: no file may become larger, and the program goes on after that.
limited() {
    code=1 size=$1
    shift
    begin "mneme $* with files of $size KiB at most"
    (
        trap '' XFSZ
        ulimit -f "$size"
        TMPDIR=$work/none # ThreadSanitizer maps a temporary file if it can
        export TMPDIR
        exec "$program" "$@" --threads 1
    ) <&- >"$out" 2>"$err"
    got=$?
    [ "$got" = "$code" ] || fail "exit code $got, expected $code: $(cat "$err")"
    has "$err" ": File too large"
    is "$out" ""
}
only_journal() {
    found=$(find "$work/results" -type f)
    case ${found##*/} in
    journal_*) [ "$(echo "$found" | wc -l)" = 1 ] || fail "found: $found" ;;
    *) fail "found: $found" ;;
    esac
}
# The journal fits, the results do not; the same command finishes it when there is room.
small="eval --model $model --data $work/data --num_fewshot 0,1 --bootstrap_iters 10 --output_path $work/results --log_samples --log_level error"
# shellcheck disable=SC2086
limited 4 $small
has "$err" "/results/good/"
only_journal
# The results fit, the samples do not: an evaluation that failed has no results.
rm -r "$work/results"
# shellcheck disable=SC2086
run 0 prepare --claims "$source_dir/data/world/dev.jsonl" --train_claims "$source_dir/data/world/train.jsonl" \
    --wiki "$source_dir/data/world/wiki" --out "$work/world" --log_level error
# shellcheck disable=SC2086
limited 20 $small --data "$work/world" --num_fewshot 1 --scoring generate --limit 60
has "$err" "/results/good/samples_"
only_journal
# Not even the journal fits.
rm -r "$work/results"
# shellcheck disable=SC2086
limited 1 $small
has "$err" "/results/good/journal_"
# shellcheck disable=SC2086
run 0 $small
[ "$(find "$work/results/good" -type f | wc -l)" = 3 ] || fail "found: $(ls "$work/results/good")"
limited 1 prepare --claims "$fever/claims.jsonl" --train_claims "$fever/train.jsonl" --wiki "$fever/wiki.jsonl" \
    --out "$work/no" --log_level error
has "$err" "$work/no/"
[ ! -e "$work/no/manifest.json" ] || fail "a manifest was written"
[ -z "$(find "$work/no" -name '*tmp*')" ] || fail "left behind: $(ls "$work/no")"
if [ -w /dev/full ]; then
    for command in "score --jsonl $work/pair.jsonl" "generate --prompt a" "eval --data $work/data --num_fewshot 0 --output_path $work/full"; do
        begin "mneme $command >/dev/full"
        # shellcheck disable=SC2086
        "$program" $command --model "$model" --threads 1 --log_level error >/dev/full 2>"$err"
        got=$?
        [ "$got" = 1 ] || fail "exit code $got, expected 1"
        has "$err" "mneme ${command%% *}: "
        has "$err" ": No space left on device"
    done
fi

# ---- devices ----

# A backend that does not exist: nobody looks for a driver.
export MNEME_CUDA_PLUGIN="$work/libmneme_cuda.so"
run 1 score --model "$model" --jsonl "$work/pair.jsonl" --device cuda
has "$err" "mneme score: no CUDA device: $work/libmneme_cuda.so: cannot open shared object file"
run 0 score --model "$model" --jsonl "$work/pair.jsonl" --device auto
printf 'no library' >"$work/libmneme_cuda.so"
run 1 score --model "$model" --jsonl "$work/pair.jsonl" --device cuda:1
has "$err" "mneme score: no CUDA device: $work/libmneme_cuda.so: "
run 0 doctor
has "$out" "CUDA      is not used"
has "$out" "  because $work/libmneme_cuda.so: "
has "$out" "--device auto takes cpu"
run 0 doctor --json
has "$out" '"cuda": {"usable": false, "why": "'
unset MNEME_CUDA_PLUGIN
for bad in cuda: cuda:x cuda:-1 cuda:12345 CUDA; do
    run 2 score --model "$model" --jsonl "$work/pair.jsonl" --device "$bad"
    is "$err" "mneme score: device '$bad' is unknown; there are: auto, cpu, cuda, cuda:N"
done
run 2 score --model "$model" --jsonl "$work/pair.jsonl" --device gpu
has "$err" "mneme score: device 'gpu' is unknown"

finish
