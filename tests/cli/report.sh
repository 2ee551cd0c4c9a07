#!/bin/sh
# report.sh - mneme report from end to end: what it prints, where it writes, what it refuses.
. "$(dirname "$0")/check.inc" || exit 1
runs=$source_dir/tests/fixtures/report

# Only the page's name on standard output.
run 0 report --run "$runs/pythia" --out "$work/report"
is "$err" ""
is "$out" "$work/report/report.html"
for file in "$runs"/golden/*; do
    cmp -s "$file" "$work/report/${file##*/}" || fail "${file##*/} is not the golden one"
done
has "$work/report/report.html" '<h2>Memories at 1 shot</h2>'
[ "$(find "$work/report" -type f | wc -l)" = 17 ] || fail "files: $(ls "$work/report")"

# Without --out: beside the run. Several runs, the names between commas.
cp -r "$runs/pythia" "$work/one" || exit 1
cp -r "$runs/tiny" "$work/two" || exit 1
chmod -R u+w "$work/one" "$work/two"
run 0 report --run "$work/one,$work/two"
is "$out" "$work/one/report/report.html"
has "$work/one/report/full_results.csv" 'tiny_neox,pretrained,generate,0,60,'
has "$work/one/report/full_results.csv" 'pythia-410m-deduped,pretrained,generate,0,60,'
[ ! -e "$work/two/report" ] || fail "the report belongs to the first run"

# A report in the run folder is no part of the run: again, with the same bytes.
cp -r "$work/one/report" "$work/before" || exit 1
run 0 report --run "$work/one,$work/two"
diff -r "$work/before" "$work/one/report" >"$work/difference" || fail "$(cat "$work/difference")"

refused 2 "mneme report: --run DIR,.. is required" report
refused 2 "mneme report: $work/none: no such run folder" report --run "$work/none"
refused 2 "mneme report: --run '$work/one,,$work/two': a name between commas is empty" \
    report --run "$work/one,,$work/two"
mkdir "$work/empty"
refused 2 "mneme report: $work/empty: no run folder: neither eval/results_*.json nor train/*/train_log.jsonl is there" \
    report --run "$work/empty"
echo '{"results": {"fever_1shot": 7}}' >"$work/one/eval/results_2027-01-01.json"
refused 1 "mneme report: $work/one/eval/results_2027-01-01.json: \$.results.fever_1shot: expected an object" \
    report --run "$work/one"
finish
