#!/bin/sh
# inspect.sh - mneme inspect from end to end: the golden models as they are, then with things broken.
. "$(dirname "$0")/check.inc" || exit 1
golden=$source_dir/tests/golden

# The last output is one JSON object: tokenize reads it and only misses a text.
json_ok() {
    mv "$out" "$work/object"
    run 1 tokenize --model "$work/tokenizer.json" --jsonl "$work/object"
    has "$err" 'the key "text" is missing'
    cp "$work/object" "$out"
}
cat >"$work/tokenizer.json" <<'JSON'
{"version": "1.0",
 "added_tokens": [{"id": 0, "content": "<|endoftext|>", "single_word": false, "lstrip": false,
                   "rstrip": false, "normalized": false, "special": true}],
 "normalizer": null,
 "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true},
 "post_processor": null,
 "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true},
 "model": {"type": "BPE", "dropout": null, "unk_token": null,
           "vocab": {"<|endoftext|>": 0, "a": 1, "b": 2, "ab": 3}, "merges": ["a b"]}}
JSON

# A copy of a golden model whose files may be changed; its config.json goes through sed.
copy() { # NAME SED-SCRIPT
    rm -rf "$work/model"
    mkdir "$work/model" || exit 1
    cp "$golden/$1/"* "$work/model" || exit 1
    sed "$2" "$golden/$1/config.json" >"$work/model/config.json"
}
problems() { # NUMBER: what the JSON form lists
    run 1 inspect --model "$work/model" --json
    found=$(sed 's/.*"problems": \[//; s/\]}$//' "$out" | grep -o '", "' | wc -l)
    [ $((found + 1)) = "$1" ] || fail "$((found + 1)) problems, expected $1: $(cat "$out")"
}

# Parameters by hand, neox-parallel: 2 x 160 x 64 + 128 outside of the blocks, 3 blocks of 49,984.
run 0 inspect --model "$golden/neox-parallel"
is "$err" ""
for line in 'architecture  GPT-NeoX, parallel residual' \
    'blocks        3, model dimension 64, inner dimension 256' \
    'attention     4 heads of size 16, 4 key-value heads, 4 rotary dimensions, base 10000' \
    'vocabulary    160, output matrix of its own' 'positions     640' 'special ids   bos 0, eos 0' \
    'parameters    170560' 'memories      after block 2 of 0 to 2' 'tokenizer     none' \
    'format        safetensors, 1 file, 40 tensors'; do
    has "$out" "$line"
done
grep -q '^F32 *40 *682240$' "$out" || fail "170560 numbers of 4 bytes: $(cat "$out")"

# neox-sequential has another residual and fp16; the list of tensors is asked for.
run 0 inspect --model "$golden/neox-sequential" --tensors
has "$out" 'architecture  GPT-NeoX, sequential residual'
grep -q '^gpt_neox.layers.1.mlp.dense_4h_to_h.weight *F16 *(60, 100) *weight *model.safetensors$' \
    "$out" || fail "a line for each tensor: $(cat "$out")"
run 0 inspect --model "$golden/neox-sequential"
! grep -q dense_4h_to_h "$out" || fail "tensors were not asked for"

# Grouped heads, tied output. By hand: 160 x 120 + 120 outside, 2 blocks of 96,240. A token's keys and
# values: 2 blocks x 2 x 2 heads x 20 numbers, padded to 32, x 4 bytes.
run 0 inspect --model "$golden/llama-gqa" --json
json_ok
for part in '"architecture": "Llama"' '"num_key_value_heads": 2' '"head_dim": 20' \
    '"tie_word_embeddings": true' '"norm_eps": 1e-06' '"parameters": 211800' \
    '"memory_blocks": [1]' '"kv_bytes_per_token": 1024' '"tokenizer": null' '"problems": []' \
    '"dtypes": {"BF16": {"tensors": 20, "bytes": 423600}}' \
    '{"name": "model.norm.weight", "dtype": "BF16", "shape": [120],' '"use": "weight"}'; do
    has "$out" "$part"
done
# mapped: 160 x 120 + 2 x 96,000 numbers of 2 bytes; as fp32: 5 vectors and 2 x 640 x 10 of rotary.
has "$out" '"memory": {"mapped_bytes": 422400, "converted_bytes": 53600,'

# Shards, PyTorch files, buffers of old files.
run 0 inspect --model "$golden/neox-bin" --tensors
has "$out" 'format        pytorch, 3 files, 49 tensors'
has "$out" 'skipped       9 buffers (masks, inv_freq)'
grep -q '^gpt_neox.layers.0.attention.rotary_emb.inv_freq .*buffer, skipped .*-00001-of-00003.bin$' "$out" ||
    fail "buffers are named as such: $(cat "$out")"
run 0 inspect --model "$golden/neox-bf16"
grep -q 'model-00002-of-00003.safetensors *12 *101280$' "$out" || fail "shards: $(cat "$out")"

# One file by itself.
run 0 inspect --model "$golden/pickle/ok-dtypes.bin" --tensors
has "$out" 'format        pytorch, 1 file, 10 tensors'
grep -q '^t.BOOL *BOOL *(2, 3) *unknown *ok-dtypes.bin$' "$out" || fail "dtypes: $(cat "$out")"
run 1 inspect --model "$golden/pickle/bad-global-os-system.bin"
has "$err" 'global os.system'

# A tokenizer beside the weights; then one that cannot be read.
copy neox-bf16 ''
cp "$work/tokenizer.json" "$work/model"
run 0 inspect --model "$work/model"
grep -q '^tokenizer     byte-level BPE.*, 4 ids, bos .*, eos 0$' "$out" || fail "$(cat "$out")"
echo '{"model": 5}' >"$work/model/tokenizer.json"
problems 1
has "$err" "$work/model/tokenizer.json"
# One with more ids than the model keeps it from being loaded, too.
copy llama-bin ''
cp "$source_dir/tests/fixtures/tokens/numbers.json" "$work/model/tokenizer.json"
problems 1
has "$err" "the tokenizer has 160 tokens, the model 157"

# Shapes and missing tensors: every one is listed. The inner dimension concerns 3 matrices of each of
# 2 blocks, a third block has 9 tensors.
copy llama-gqa 's/"intermediate_size": 160/"intermediate_size": 161/; s/"num_hidden_layers": 2/"num_hidden_layers": 3/'
problems 15
json_ok
run 1 inspect --model "$work/model"
has "$err" '(the first of 15 problems)'
has "$out" "$work/model/model.safetensors: tensor model.layers.1.mlp.down_proj.weight has shape (120, 160), config.json needs (120, 161)"
has "$out" "$work/model: tensor model.layers.2.self_attn.k_proj.weight (40, 120) is missing"

# Fewer blocks than tensors: nothing is wrong, but what is left over is shown.
copy llama-gqa 's/"num_hidden_layers": 2/"num_hidden_layers": 1/'
run 0 inspect --model "$work/model"
[ "$(grep -c '^model.layers.1.* not used ' "$out")" = 9 ] || fail "9 unused: $(cat "$out")"
run 0 inspect --model "$work/model" --json
has "$out" '"use": "unused"}'

# One shard is missing, another one is cut short: both are named, their tensors are not.
copy neox-bf16 ''
rm "$work/model/model-00001-of-00003.safetensors"
head -c 20000 "$golden/neox-bf16/model-00003-of-00003.safetensors" \
    >"$work/model/model-00003-of-00003.safetensors"
problems 2
has "$out" 'model-00001-of-00003.safetensors'
has "$out" 'model-00003-of-00003.safetensors: '
has "$out" '16 tensors of the model lie in files that cannot be read'
has "$out" '"file": "'"$work"'/model/model-00002-of-00003.safetensors", "tensors": 12,'

# A broken configuration: the tensors are there all the same.
copy llama-mha 's/"silu"/"relu"/'
problems 1
has "$err" 'hidden_act "relu" is not supported'
has "$out" '"name": "model.norm.weight"'
has "$out" '"use": null'
rm "$work/model/config.json"
problems 1
has "$err" "$work/model/config.json"

# Dtypes that are no weights: one that is read, one that is not.
copy llama-mha ''
header='{"model.embed_tokens.weight": {"dtype": "I16", "shape": [160, 64], "data_offsets": [0, 20480]},
 "model.norm.weight": {"dtype": "F8_E4M3", "shape": [64], "data_offsets": [20480, 20544]}}    '
{
    printf "\\$(printf %o $((${#header} % 256)))\\$(printf %o $((${#header} / 256)))\\0\\0\\0\\0\\0\\0"
    printf %s "$header"
    head -c 20544 /dev/zero
} >"$work/model/model.safetensors"
problems 30
has "$out" "tensor model.embed_tokens.weight is I16, F16, BF16 or F32 expected"
has "$out" 'dtype F8_E4M3 is not supported'
has "$out" 'tensor lm_head.weight (160, 64) is missing'

# 26 GB are listed without being read: within two seconds of computing, wherever files may have holes.
header='{"w": {"dtype": "F16", "shape": [13000000000], "data_offsets": [0, 26000000000]}}'
printf "\\$(printf %o ${#header})\\0\\0\\0\\0\\0\\0\\0%s" "$header" >"$work/large.safetensors"
if truncate -s $((8 + ${#header} + 26000000000)) "$work/large.safetensors" 2>/dev/null; then
    begin "mneme inspect of 26 GB"
    # shellcheck disable=SC3045
    (ulimit -t 2 && exec "$program" inspect --model "$work/large.safetensors") >"$out" 2>"$err" ||
        fail "exit code $?: $(cat "$err")"
    has "$out" '26000000000'
fi
rm -f "$work/large.safetensors"

refused 1 "mneme inspect: $work/none: No such file or directory" inspect --model "$work/none"
refused 2 "mneme inspect: --model PATH is required" inspect
refused 2 "mneme inspect: unknown option '--tensor'; did you mean '--tensors'?" \
    inspect --model "$work/model" --tensor

finish
