#!/usr/bin/env bash
# Checks that #include lines go one way only: down the table below. Prints every line that does not and
# leaves with 1. Public headers must stand in the table and in mneme.h.
#   check_layers.sh              this repository
#   check_layers.sh ROOT         another tree
#   check_layers.sh --self-test  plants violations in a small tree and demands that each is found
set -euo pipefail
export LC_ALL=C
here=$(cd "$(dirname "$0")/.." && pwd)

# module | stands on, and through these on all below them | public headers (and files of host/core)
# A module is a folder of host/, but for base and ops, which live in host/core: there the names decide.
modules='
base   |                           | status buf half rng log signals version
core   | base                      | file json tensor
ops    | core                      | arena device kernels ops plugin range
cpu    | ops                       |
cuda   | ops                       |
comm   | ops                       | comm
tally  | cpu cuda comm             | tally
mpi    | comm                      |
io     | core                      | checkpoint
text   | core                      | tokenizer
model  | ops comm io               | model session memory tape slice vocab
fever  | text                      | fever
train  | model fever comm report   | train train_data train_keys
eval   | model fever comm report   | complete evaluate results stats
report | core                      | table report tensorboard
cli    | train eval report cpu tally | mneme
'

# Reads the table and then "FILE:LINE:#include ..." lines; prints what is wrong.
judge='
function trim(s) { gsub(/^[ \t]+|[ \t]+$/, "", s); return s }
function below(m, n,    list, i, k) { # may m include n?
    if (m == n) return 1
    k = split(on[m], list, " ")
    for (i = 1; i <= k; i++) if (below(list[i], n)) return 1
    return 0
}
function stem(name) { sub(/.*\//, "", name); sub(/\..*/, "", name); return name }
function module_of(path,    part, s) {
    s = stem(path)
    if (path ~ /^include\/mneme\//) return (s in owner) ? owner[s] : ""
    split(path, part, "/")
    if (part[1] == "cuda") return "cuda"
    if (part[2] == "core") { # ops_norm.c belongs to ops
        if (!(s in owner)) sub(/_.*/, "", s)
        return (s in owner) ? owner[s] : "core"
    }
    return part[2]
}
FNR == NR {
    if (split($0, column, "|") < 3) next
    m = trim(column[1]); on[m] = trim(column[2])
    k = split(column[3], list, " ")
    for (i = 1; i <= k; i++) owner[list[i]] = m
    next
}
{
    place = $0; sub(/:[ \t]*#.*/, "", place)
    file = place; sub(/:[0-9]*$/, "", file)
    target = $0
    if (target !~ /#[ \t]*include[ \t]*["<][^">]*[">]/) next
    sub(/.*#[ \t]*include[ \t]*/, "", target)
    system_header = target ~ /^</
    sub(/^["<]/, "", target); sub(/[">].*/, "", target)
    if (file ~ /^include\// && target ~ /^(cuda|cublas|cudnn|nccl|mpi)/) {
        print place ": a public header shows " target; next
    }
    if (system_header && target !~ /^mneme\//) next
    if (target ~ /\.\./) { print place ": write " target " from host/ or include/ on"; next }
    if (target ~ /^mneme\//) path = "include/" target
    else if (target ~ /\//) path = file ~ /^cuda\// && target ~ /^cuda\// ? target : "host/" target
    else { path = file; sub(/[^\/]*$/, target, path) }
    from = module_of(file); to = module_of(path)
    if (from == "") next # reported once, below
    if (to == "") { print place ": " target " has no module in tools/check_layers.sh"; next }
    if (!(from in on)) { print place ": folder " from " is not in tools/check_layers.sh"; next }
    if (!(to in on) || !below(from, to))
        print place ": " from " must not include " target " (" to ")"
}
'

check_tree() { # ROOT: prints the violations, true when there is none
    local bad file name
    bad=$(
        cd "$1"
        shopt -s nullglob
        grep -rnE '^[[:space:]]*#[[:space:]]*include' include host cuda --include='*.[ch]' --include='*.cu' \
            --include='*.cuh' --include='*.def' 2>/dev/null | awk "$judge" <(printf '%s' "$modules") - || true
        for file in include/mneme/*.h; do
            name=$(basename "$file" .h)
            grep -qE "\\|[^|]*\\|.* $name( |\$)" <<<"$modules" ||
                printf '%s: give it a module in tools/check_layers.sh\n' "$file"
            [ "$name" = mneme ] || grep -q "\"mneme/$name.h\"" include/mneme/mneme.h ||
                printf '%s: missing in include/mneme/mneme.h\n' "$file"
        done
    )
    [ -z "$bad" ] || { printf '%s\n' "$bad"; return 1; }
}

planted=''
plant() { # FILE LINE WANTED-MESSAGE: the message must appear for FILE
    local got
    mkdir -p "$planted/$(dirname "$1")"
    local saved=''
    [ ! -e "$planted/$1" ] || saved=$(cat "$planted/$1")
    printf '%s\n' "$2" >>"$planted/$1"
    if got=$(check_tree "$planted"); then got=''; fi
    if [[ $got != *"$1"*"$3"* ]]; then
        printf 'self-test: "%s" in %s was not found; output: %s\n' "$2" "$1" "$got" >&2
        return 1
    fi
    rm "$planted/$1"
    [ -z "$saved" ] || printf '%s\n' "$saved" >"$planted/$1"
}

self_test() {
    planted=$(mktemp -d)
    trap 'rm -rf "$planted"' EXIT
    mkdir -p "$planted"/include/mneme "$planted"/host/{core,text,fever,model,eval,cli}
    local name all=''
    for name in status json ops tokenizer checkpoint model fever stats; do
        : >"$planted/include/mneme/$name.h"
        all+="#include \"mneme/$name.h\""$'\n'
    done
    printf '%s' "$all" >"$planted/include/mneme/mneme.h"
    printf '#include "mneme/status.h"\n' >"$planted/host/core/json.c"
    printf '#include "mneme/tokenizer.h"\n#include <stdio.h>\n' >"$planted/host/fever/prompt.c"
    printf '#include "mneme/checkpoint.h"\n#include "mneme/ops.h"\n' >"$planted/host/model/load.c"
    printf '#include "text/bpe.h"\n#include "model/load.h"\n' >"$planted/host/eval/run.c"
    printf '#include <mneme/mneme.h>\n#include "cli/options.h"\n' >"$planted/host/cli/main.c"
    check_tree "$planted" || { echo "self-test: a tree without violations was refused" >&2; return 1; }

    plant host/core/status.c '#include "mneme/json.h"' 'base must not include mneme/json.h (core)'
    plant host/core/json.c '#include "mneme/ops.h"' 'core must not include mneme/ops.h (ops)'
    plant host/fever/prompt.c '#include "mneme/model.h"' 'fever must not include mneme/model.h (model)'
    plant host/fever/prompt.c '# include <mneme/ops.h>' 'fever must not include mneme/ops.h (ops)'
    plant host/text/bpe.c '#include "io/entries.h"' 'text must not include io/entries.h (io)'
    plant host/model/load.c '#include "cpu/gemm.h"' 'model must not include cpu/gemm.h (cpu)'
    plant host/eval/run.c '#include "cli/options.h"' 'eval must not include cli/options.h (cli)'
    plant host/eval/run.c '#include "../cli/options.h"' 'from host/ or include/ on'
    plant host/report/table.c '#include "mneme/mneme.h"' 'report must not include mneme/mneme.h (cli)'
    plant include/mneme/tokenizer.h '#include "mneme/fever.h"' 'text must not include mneme/fever.h (fever)'
    plant include/mneme/ops.h '#include <cuda_runtime.h>' 'a public header shows cuda_runtime.h'
    plant include/mneme/status.h '#include "mneme/novel.h"' 'mneme/novel.h has no module'
    plant include/mneme/novel.h '' 'give it a module'
    plant include/mneme/rng.h '' 'missing in include/mneme/mneme.h'
    plant host/new/a.c '#include "mneme/status.h"' 'folder new is not in'
    plant cuda/x.cu '#include "mneme/model.h"' 'cuda must not include mneme/model.h (model)'
    echo "check_layers.sh: 16 planted violations found"
}

if [ "${1:-}" = --self-test ]; then self_test; else check_tree "${1:-$here}"; fi
