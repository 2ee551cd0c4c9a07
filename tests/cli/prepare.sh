#!/bin/sh
# prepare.sh - mneme prepare from end to end, on claims and pages few enough to count by hand.
. "$(dirname "$0")/check.inc" || exit 1

claims=$work/claims.jsonl
train=$work/train.jsonl
wiki=$work/wiki.jsonl

# claim FILE ID LABEL TEXT PAGE SENTENCE...: one line; without a page as FEVER writes NOT ENOUGH INFO.
claim() {
    file=$1 id=$2 label=$3 text=$4 page=${5:-}
    shift 4
    evidence='[[[1, null, null, null]]]'
    if [ -n "$page" ]; then
        shift
        evidence=
        for sentence in "$@"; do
            evidence="$evidence${evidence:+, }[[1, $sentence$id, \"$page\", $sentence]]"
        done
        evidence="[$evidence]"
    fi
    echo "{\"id\": $id, \"verifiable\": \"x\", \"label\": \"$label\", \"claim\": \"$text\"," \
        "\"evidence\": $evidence}" >>"$file"
}

# Alpha has 3 claims (4 evidence sentences), Beta 2, Gamma 1; 2 claims name no page.
claim "$claims" 11 SUPPORTS "Alpha is a letter." Alpha 0 1
claim "$claims" 12 REFUTES "Alpha is a number." Alpha 0
claim "$claims" 13 "NOT ENOUGH INFO" "Alpha is liked."
claim "$claims" 14 SUPPORTS "Beta is a letter." Beta 0
claim "$claims" 15 SUPPORTS "Alpha is Greek." Alpha 1
claim "$claims" 16 REFUTES "Beta is the first." Beta 0
claim "$claims" 17 SUPPORTS "Gamma is a letter." Gamma 0
claim "$claims" 18 "NOT ENOUGH INFO" "Beta is liked."
# Nobody trains on Beta.
claim "$train" 21 SUPPORTS "Alpha comes first." Alpha 0
claim "$train" 22 REFUTES "Gamma comes first." Gamma 0
claim "$train" 23 "NOT ENOUGH INFO" "Gamma is liked."
for page in Alpha Beta Gamma; do
    printf '{"id": "%s", "text": "%s is a letter . It is Greek .", "lines": "%s"}\n' "$page" "$page" \
        "0\\t$page is a letter .\\n1\\tIt is Greek ." >>"$wiki"
done

prepare() { # CODE FOLDER ARGUMENT...
    want=$1 folder=$2
    shift 2
    run "$want" prepare --claims "$claims" --train_claims "$train" --wiki "$wiki" --out "$folder" "$@"
}

prepare 0 "$work/a" --top_pages 2 --threads 1 --log_level error
is "$err" ""
cat >"$work/want" <<TEXT
claims       8 to evaluate on, 3 to train on
pages        N_full 3, N_top 2, N_trunc 1
  dropped    0 not in the dump, 0 without text, 1 without a training claim
rows
  evaluate   3: 2 SUPPORTS, 1 REFUTES, 0 NOT ENOUGH INFO
  train      1: 1 SUPPORTS, 0 REFUTES, 0 NOT ENOUGH INFO
NOT ENOUGH INFO claims without a page
  evaluate   2 dropped, 0 given a page by the seed
  train      1 dropped, 0 given a page by the seed
  dropped because they name no evidence page to be chosen by; --nei random-page keeps them
shown        1 training claims, 4 claims of the fixed list
written to   $work/a
TEXT
cmp -s "$out" "$work/want" || fail "$(diff "$work/want" "$out")"
[ "$(wc -l <"$work/a/eval.jsonl")" = 3 ] || fail "3 rows expected: $(cat "$work/a/eval.jsonl")"
has "$work/a/eval.jsonl" '"Alpha is Greek."'
has "$work/a/manifest.json" '"sha256"'

# The same inputs give the same folder, also through a config file and with other spellings.
printf '{"claims": "%s", "train-claims": "%s", "wiki": "%s", "top_pages": 2}' "$claims" "$train" "$wiki" \
    >"$work/config.json"
run 0 prepare --config "$work/config.json" --out="$work/b" --threads=2
for file in pages eval train demos; do
    cmp -s "$work/a/$file.jsonl" "$work/b/$file.jsonl" || fail "$file.jsonl differs"
done

# Every evidence entry is a row, as published.
prepare 0 "$work/c" --top-pages=2 --rows evidence
has "$out" "  evaluate   4: 3 SUPPORTS, 1 REFUTES, 0 NOT ENOUGH INFO"

# Claims without a page get one: there is only Alpha.
prepare 0 "$work/d" --top_pages 2 --nei random-page --seed 5
has "$out" "  evaluate   5: 2 SUPPORTS, 1 REFUTES, 2 NOT ENOUGH INFO"
has "$out" "  evaluate   0 dropped, 2 given a page by the seed"
has "$out" "  train      0 dropped, 1 given a page by the seed"

# All pages; one is not in the dump.
sed -i '/"id": "Gamma"/d' "$wiki"
prepare 0 "$work/e"
has "$out" "pages        N_full 3, N_top 3, N_trunc 1"
has "$out" "  dropped    1 not in the dump, 0 without text, 1 without a training claim"

# A broken line is an error that names it, or is skipped and counted.
echo '{"id": 19, "label": "SUPPORTS", "claim"' >>"$claims"
prepare 1 "$work/f"
has "$err" "mneme prepare: $claims:9"
is "$out" ""
[ ! -e "$work/f/manifest.json" ] || fail "a folder was written"
for name in --skip-bad-lines --skip_bad_lines; do
    prepare 0 "$work/g" $name
    has "$out" "note         lines that could not be read, skipped: 1"
done

prepare 1 "$work/h" --claims "$work/none.jsonl"
is "$err" "mneme prepare: $work/none.jsonl: No such file or directory"
prepare 1 "$work/h" --wiki "$work/none.zip" --skip_bad_lines
has "$err" "mneme prepare: $work/none.zip: "

refused 2 "mneme prepare: --claims FILE is required" prepare
refused 2 "mneme prepare: --wiki PATH is required" prepare --claims a --train-claims b --out c
prepare 2 "$work/i" --top_pages 0
is "$err" "mneme prepare: --top_pages: '0' is not an integer from 1 to 9007199254740991"
prepare 2 "$work/i" --rows claim_page
is "$err" "mneme prepare: --rows: 'claim_page' is not one of claim-page, evidence; did you mean 'claim-page'?"
prepare 2 "$work/i" --device tpu
is "$err" "mneme prepare: device 'tpu' is unknown; there are: auto, cpu, cuda, cuda:N"
prepare 2 "$work/i" --toppages 3
is "$err" "mneme prepare: unknown option '--toppages'; did you mean '--top_pages'?"
[ ! -e "$work/i" ] || fail "a folder was made"

finish
