#!/bin/sh
# main.sh - the program around the commands: version, help, unknown commands, exit codes, failing
# output.
. "$(dirname "$0")/check.inc" || exit 1

commands="tokenize score generate prepare train eval run report inspect bench doctor"

run 0 --version
has "$out" "compiler: "
has "$out" "libraries: cJSON "
version=$(sed -n '1s/^mneme \([0-9][0-9]*\.[0-9][0-9]*\.[0-9].*\)$/\1/p' "$out")
[ -n "$version" ] || fail "the first line is not a version: $(head -n 1 "$out")"
is "$err" ""

cp "$out" "$work/version"

run 0 --help
cp "$out" "$work/overview"
has "$out" "Usage: mneme COMMAND [options]"
for command in $commands; do
    [ "$(grep -c "^  $command  *[a-zA-Z]" "$out")" = 1 ] || fail "$command has no line"
done
run 0 help
cmp -s "$out" "$work/overview" || fail "'help' differs from '--help'"
run 0 -h
cmp -s "$out" "$work/overview" || fail "'-h' differs from '--help'"

for command in $commands; do
    run 0 "$command" --help
    cp "$out" "$work/help"
    is "$err" ""
    has "$out" "Usage: mneme $command"
    has "$out" "  --config FILE"
    has "$out" "  --set KEY=VALUE"
    has "$out" "  --threads N"
    has "$out" "  --device NAME"
    examples=$(sed '1,/^Examples:$/d' "$out" | grep -c "^  mneme $command ")
    [ "$examples" -ge 2 ] || fail "$examples examples, at least 2 expected"
    long=$(sed '/^Examples:$/,$d' "$out" | awk 'length > 80')
    [ -z "$long" ] || fail "longer than 80 characters: $long"
    run 0 help "$command"
    cmp -s "$out" "$work/help" || fail "differs from 'mneme $command --help'"
    run 0 "$command" -h
    cmp -s "$out" "$work/help" || fail "differs from 'mneme $command --help'"
    run 0 "$command" --threads 1 --version
    is "$err" ""
    cmp -s "$out" "$work/version" || fail "differs from 'mneme --version'"
    refused 2 "mneme $command: --version takes no value" "$command" --version=2
    run 2 "$command" --no_such_option
    is "$err" "mneme $command: unknown option '--no_such_option'; --help lists the options"
    refused 2 "mneme $command: unknown option '--thraeds'; did you mean '--threads'?" \
        "$command" --thraeds=2
    refused 2 "mneme $command: --threads: '1025' is not an integer from 0 to 1024" \
        "$command" --threads 1025
done

run 0 help --markdown
is "$err" ""
for command in $commands; do has "$out" "## mneme $command"; done
# shellcheck disable=SC2016
has "$out" '| `threads` | `0` | an integer from 0 to 1024 |'
odd=$(grep '^|' "$out" | sed 's/\\|//g' | awk -F'|' 'NF != 6')
[ -z "$odd" ] || fail "not 4 cells: $odd"

refused 2 "mneme: a command is missing; mneme --help lists them"
refused 2 "mneme: unknown command 'evl'; did you mean 'eval'?" evl
refused 2 "mneme: unknown command 'Tokenise'; did you mean 'tokenize'?" Tokenise --help
refused 2 "mneme: unknown command 'prepaer'; did you mean 'prepare'?" help prepaer
refused 2 "mneme: unknown command '--versoin'; did you mean '--version'?" --versoin
refused 2 "mneme: unknown command 'train-a-model'; mneme --help lists the commands" train-a-model
refused 2 "mneme: unknown command ''; mneme --help lists the commands" ""

# Standard output that cannot be written.
if [ -w /dev/full ]; then
    for arguments in --help --version "help --markdown" "tokenize --help"; do
        begin "mneme $arguments >/dev/full"
        # shellcheck disable=SC2086
        "$program" $arguments >/dev/full 2>"$err"
        got=$?
        [ "$got" = 1 ] || fail "exit code $got, expected 1"
        has "$err" "standard output: No space left on device"
    done
fi
begin "mneme --help with standard output closed"
"$program" --help >&- 2>"$err"
got=$?
[ "$got" = 1 ] || fail "exit code $got, expected 1"
has "$err" "mneme: standard output: Bad file descriptor"

# A reader that has gone: ended by SIGPIPE without a word, or with exit code 1 where it is ignored.
mkfifo "$work/pipe" || exit 1
gone() { # SETUP: runs the program with a pipe that nobody reads any more
    (
        eval "$1"
        # shellcheck disable=SC2094
        exec 3<>"$work/pipe" 4>"$work/pipe" 3<&-
        "$program" --help >&4 2>"$err"
        echo $? >"$work/code"
    )
    got=$(cat "$work/code")
}
begin "mneme --help to a closed pipe"
gone :
[ "$got" = 141 ] || fail "exit code $got, expected 141 (SIGPIPE)"
is "$err" ""
gone "trap '' PIPE"
[ "$got" = 1 ] || fail "exit code $got, expected 1 with SIGPIPE ignored"
is "$err" "mneme: standard output: Broken pipe"

finish
