#!/bin/sh
# tokenize.sh - mneme tokenize from end to end, on a tokenizer small enough to follow by hand.
. "$(dirname "$0")/check.inc" || exit 1

# Byte-level BPE: "a b" merges first, then " a". Ġ (U+0120) stands for a blank, é is Ã and ©.
mkdir "$work/model" || exit 1
cat >"$work/model/tokenizer.json" <<'JSON'
{"version": "1.0",
 "added_tokens": [{"id": 0, "content": "<bos>", "single_word": false, "lstrip": false, "rstrip": false,
                   "normalized": false, "special": true}],
 "normalizer": {"type": "NFC"},
 "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true},
 "post_processor": {"type": "TemplateProcessing",
   "single": [{"SpecialToken": {"id": "<bos>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
   "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
   "special_tokens": {"<bos>": {"id": "<bos>", "ids": [0], "tokens": ["<bos>"]}}},
 "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true},
 "model": {"type": "BPE", "dropout": null, "unk_token": null,
   "vocab": {"<bos>": 0, "a": 1, "b": 2, "c": 3, "\u0120": 4, "\u010a": 5, "\u00c3": 6, "\u00a9": 7,
             "ab": 8, "\u0120a": 9, "\\": 10, "u": 11, "0": 12},
   "merges": ["a b", "\u0120 a"]}}
JSON
model=$work/model
in=$work/in.jsonl
encode() { run "$1" tokenize --model "$model" --jsonl "$in"; }
# shellcheck disable=SC2317
decode() { run "$1" tokenize --model "$model" --decode --jsonl "$in"; }

# A quick look.
run 0 tokenize --model "$model" --text "ab ab a"
is "$out" '{"text": "ab ab a", "ids": [8, 4, 8, 9], "tokens": ["ab", " ", "ab", " a"]}'
is "$err" ""
run 0 tokenize --model "$model/tokenizer.json" --text "" --add-special-tokens
is "$out" '{"text": "", "ids": [0], "tokens": ["<bos>"]}'
run 0 tokenize --model "$model" --text "$(printf '\303\251')"
is "$out" "$(printf '{"text": "\303\251", "ids": [6, 7], "tokens": ["\357\277\275", "\357\277\275"]}')"

# Objects come out as they went in: order, blanks, escapes, numbers that no double holds, nested
# objects with the same keys. The ids are added at the end and replace ids that were there.
printf '\357\273\277{"id": 12345678901234567890,  "text" : "\\u0061b","x":{"text":[1,{"ids":"}],\\"{"}]}  }\r\n' >"$in"
printf ' \t\r\n\n{"ids":[9],"text":"c","z":1.50}\n{"text":""}\n{"i\\u0064s":0,"text":"a<bos>b"}' >>"$in"
encode 0
cat >"$work/want" <<'JSON'
{"id": 12345678901234567890, "text" : "\u0061b", "x":{"text":[1,{"ids":"}],\"{"}]}, "ids": [8]}
{"text":"c", "z":1.50, "ids": [3]}
{"text":"", "ids": []}
{"text":"a<bos>b", "ids": [1, 0, 2]}
JSON
cmp -s "$out" "$work/want" || fail "found: $(cat "$out")"
is "$err" ""
cp "$out" "$work/encoded"

# And back; standard input works like a file.
input=$work/encoded
run 0 tokenize --model "$model" --decode --jsonl -
input=/dev/null
cat >"$work/want" <<'JSON'
{"id": 12345678901234567890, "x":{"text":[1,{"ids":"}],\"{"}]}, "ids": [8], "text": "ab"}
{"z":1.50, "ids": [3], "text": "c"}
{"ids": [], "text": ""}
{"ids": [1, 0, 2], "text": "a<bos>b"}
JSON
cmp -s "$out" "$work/want" || fail "found: $(cat "$out")"
echo '{"ids": [0, 8, 5, 6, 9]}' >"$in"
run 0 tokenize --model "$model" --decode --jsonl "$in" --skip_special_tokens
is "$out" "$(printf '{"ids": [0, 8, 5, 6, 9], "text": "ab\\n\357\277\275 a"}')"
echo '{"text": "ab"}' >"$in"
run 0 tokenize --model "$model" --jsonl "$in" --add_special_tokens=true
is "$out" '{"text": "ab", "ids": [0, 8]}'
: >"$in"
encode 0
is "$out" ""

# Bad lines: what came before them is there, the message names file, line and key.
bad() { # ENCODE|DECODE LINE MESSAGE
    printf '{"text": "a", "ids": [1]}\n\n%s\n' "$2" >"$in"
    "$1" 1
    [ "$(wc -l <"$out")" = 1 ] || fail "one good line expected: $(cat "$out")"
    has "$err" "mneme tokenize: $in:3: "
    has "$err" "$3"
}
bad encode '{"text": 5}' 'text: expected a string, found a number'
bad encode '{"ids": [1]}' 'the key "text" is missing'
bad encode '{}' 'the key "text" is missing'
bad encode '{"text": "a"' 'broken JSON'
bad encode '{"text": "a"} {}' 'broken JSON'
bad encode '["text"]' 'a JSON object is expected'
bad encode '{"x": "y", "text": "a\\\u0000"}' 'a string with U+0000 is not supported'
bad decode '{"text": "a"}' 'the key "ids" is missing'
bad decode '{"ids": "a"}' 'ids: expected an array, found a string'
bad decode '{"ids": [1, "a"]}' 'ids[1]: expected an integer, found a string'
bad decode '{"ids": [1.5]}' 'ids[0]: expected an integer, found 1.5'
bad decode '{"ids": [-1]}' 'ids[0]: expected 0 to 12, found -1'
bad decode '{"ids": [3, 13]}' 'ids[1]: expected 0 to 12, found 13'
# U+0000 in another string does no harm, and a backslash before u0000 is only a backslash.
printf '%s\n' '{"x": "\u0000", "text": "a\\u0000"}' >"$in"
encode 0
is "$out" '{"x": "\u0000", "text": "a\\u0000", "ids": [1, 10, 11, 12, 12, 12, 12]}'
run 1 tokenize --model "$model" --jsonl "$in.none"
is "$err" "mneme tokenize: $in.none: No such file or directory"
run 1 tokenize --model "$work/none" --text a
has "$err" "$work/none"
run 1 tokenize --model "$model" --jsonl "$model"
is "$err" "mneme tokenize: $model: Is a directory"
begin "mneme tokenize with standard input closed"
"$program" tokenize --model "$model" --jsonl - <&- >"$out" 2>"$err"
got=$?
[ "$got" = 1 ] || fail "exit code $got, expected 1"
is "$err" "mneme tokenize: <stdin>: Bad file descriptor"

# Wrong usage.
refused 2 "mneme tokenize: --model PATH is required" tokenize --text a
refused 2 "mneme tokenize: one of --jsonl FILE and --text TEXT is needed" tokenize --model "$model"
refused 2 "mneme tokenize: one of --jsonl FILE and --text TEXT is needed" \
    tokenize --model "$model" --text a --jsonl "$in"
refused 2 "mneme tokenize: --decode reads ids: it needs --jsonl FILE" \
    tokenize --model "$model" --text a --decode
refused 2 "mneme tokenize: --skip_special_tokens has no meaning without --decode" \
    tokenize --model "$model" --text a --skip_special_tokens
refused 2 "mneme tokenize: --add_special_tokens has no meaning with --decode" \
    tokenize --model "$model" --jsonl "$in" --decode --add_special_tokens
refused 2 "mneme tokenize: unknown option '--jsnol'; did you mean '--jsonl'?" \
    tokenize --model "$model" --jsnol "$in"

refused 2 "mneme tokenize: device 'tpu' is unknown; there are: auto, cpu, cuda, cuda:N" \
    tokenize --model "$model" --text a --device tpu
refused 2 "mneme tokenize: device '' is unknown; there are: auto, cpu, cuda, cuda:N" \
    tokenize --model "$model" --text a --device=

# A config file; the command line wins.
printf '{"model": "%s", "text": "c", "add-special-tokens": true}' "$model" >"$work/config.json"
run 0 tokenize --config "$work/config.json"
is "$out" '{"text": "c", "ids": [0, 3], "tokens": ["<bos>", "c"]}'
run 0 tokenize --config "$work/config.json" --set add_special_tokens=false --text=a
is "$out" '{"text": "a", "ids": [1], "tokens": ["a"]}'
echo '{"modle": "x"}' >"$work/config.json"
refused 2 "mneme tokenize: $work/config.json: unknown key 'modle'; did you mean 'model'?" \
    tokenize --config "$work/config.json"

# A full disk.
if [ -w /dev/full ]; then
    echo '{"text": "ab"}' >"$in"
    begin "mneme tokenize >/dev/full"
    "$program" tokenize --model "$model" --jsonl "$in" >/dev/full 2>"$err"
    got=$?
    [ "$got" = 1 ] || fail "exit code $got, expected 1"
    is "$err" "mneme tokenize: standard output: No space left on device"
fi

# On a pipe every answer comes before the next question, and SIGTERM ends the wait with code 75.
mkfifo "$work/to" "$work/from" || exit 1
begin "mneme tokenize as a filter"
"$program" tokenize --model "$model" --jsonl - <"$work/to" >"$work/from" 2>"$err" &
child=$!
exec 3>"$work/to" 4<"$work/from"
for text in ab c; do
    echo "{\"text\": \"$text\"}" >&3
    read -r answer <&4 || answer="nothing"
    case $answer in
    "{\"text\": \"$text\", \"ids\": ["*"]}") ;;
    *) fail "answer: $answer" ;;
    esac
done
kill -TERM "$child"
wait "$child"
got=$?
exec 3>&- 4<&-
[ "$got" = 75 ] || fail "exit code $got after SIGTERM, expected 75"
is "$err" "mneme tokenize: <stdin>: stopped on request"

finish
