#!/usr/bin/env bash
# jobs.sh - the job scripts of tools/slurm under a real SLURM: an experiment of two ranks that is put back into the
# queue in the middle goes on by itself and ends with the adapters and predictions of one that nobody disturbed; an
# array over two models; what the scripts say when they are used wrongly.
. "$(dirname "$0")/../cli/check.inc" || exit 1

for tool in slurmctld slurmd munged sbatch; do
    if ! PATH=$PATH:/usr/sbin command -v $tool >/dev/null; then
        echo "ok 1 # SKIP jobs of SLURM: $tool is not installed"
        exit 77
    fi
done
if [ "$(id -u)" != 0 ]; then
    echo "ok 1 # SKIP jobs of SLURM: only root can start a cluster"
    exit 77
fi

here=$(cd "$(dirname "$0")" && pwd)
cluster=$(mktemp -d /tmp/slurm.XXXXXX)
trap '"$here/cluster.sh" stop "$cluster"; rm -rf "$work" "$cluster"' EXIT
begin "a cluster"
environment=$("$here/cluster.sh" start "$cluster") || { fail "it does not start"; finish; exit 1; }
eval "$environment"
export MNEME=$program
ranks=${RANKS:-2}
cd "$source_dir" || exit 1

. "$here/../cli/run.inc"

field() { scontrol -o show job "$1" | sed -n "s/.* $2=\([^ ]*\).*/\1/p" | head -n 1; }
until_state() { # JOB STATE|STATE
    local _
    for _ in $(seq 1800); do
        case "|$2|" in *"|$(field "$1" JobState)|"*) return ;; esac
        sleep 0.1
    done
    fail "job $1 is $(field "$1" JobState), not $2: $(tail -n 5 "$work"/*.out)"
}
until_true() { # COMMAND...
    local _
    for _ in $(seq 1200); do
        if "$@"; then return; fi
        sleep 0.05
    done
    fail "in vain: $*"
}
experiment() { # FOLDER SCRIPT SBATCH-OPTION...
    sbatch --parsable --chdir="$source_dir" --cpus-per-task=1 --output="$work/%j.out" "${@:3}" "tools/slurm/$2" "$config" \
        --run_dir "$1" --threads 1 --num_train_epochs 40
}

begin "one node, two ranks, undisturbed"
job=$(experiment "$work/whole" one_node.sbatch --ntasks="$ranks")
until_state "$job" 'COMPLETED|FAILED'
[ "$(field "$job" JobState)" = COMPLETED ] || fail "$(tail -n 5 "$work/$job.out")"
[ -f "$work/whole/report/report.html" ] || fail "no report"
grep -q "$ranks tasks: mneme run" "$work/$job.out" || fail "not two tasks: $(head -n 3 "$work/$job.out")"

begin "the same, put back into the queue in the middle of a training"
job=$(experiment "$work/cut" one_node.sbatch --ntasks="$ranks")
some_steps() { [ -s "$work/cut/train/gpt_wikipage-wd0.05/train_log.jsonl" ]; }
until_true some_steps
scontrol requeue "$job"
until_state "$job" PENDING
until_state "$job" 'COMPLETED|FAILED'
[ "$(field "$job" JobState)" = COMPLETED ] || fail "$(tail -n 5 "$work/$job.out")"
[ "$(field "$job" Restarts)" = 1 ] || fail "restarts: $(field "$job" Restarts)"
grep -q 'start 1 on' "$work/$job.out" || fail "the log of the first start is gone: $(head -n 3 "$work/$job.out")"
same "$work/whole" "$work/cut"

begin "stopped before its time limit, it goes back by itself"
job=$(experiment "$work/limit" one_node.sbatch --ntasks="$ranks")
some_steps() { [ -s "$work/limit/train/gpt_wikipage-wd0.05/train_log.jsonl" ]; }
until_true some_steps
scancel --signal=USR1 "$job" # what --signal sends
until_state "$job" PENDING
until_state "$job" 'COMPLETED|FAILED'
grep -q 'mneme left with 75' "$work/$job.out" || fail "not stopped: $(tail -n 5 "$work/$job.out")"
[ "$(field "$job" Restarts)" = 1 ] || fail "restarts: $(field "$job" Restarts)"
same "$work/whole" "$work/limit"

begin "cancelled, it stays away"
job=$(experiment "$work/gone" one_node.sbatch --ntasks="$ranks")
some_steps() { [ -s "$work/gone/train/gpt_wikipage-wd0.05/train_log.jsonl" ]; }
until_true some_steps
scancel "$job"
until_state "$job" 'CANCELLED|COMPLETED|FAILED'
sleep 1
[ "$(field "$job" JobState)" = CANCELLED ] || fail "it is $(field "$job" JobState)"
[ "$(field "$job" Restarts)" = 0 ] || fail "it came back"

begin "nodes.sbatch: the tasks of a node share the model"
job=$(experiment "$work/nodes" nodes.sbatch --nodes=1 --ntasks-per-node=2)
until_state "$job" 'COMPLETED|FAILED'
[ "$(field "$job" JobState)" = COMPLETED ] || fail "$(tail -n 5 "$work/$job.out")"
grep -q -- "--tp 2" "$work/$job.out" || fail "not shared: $(head -n 3 "$work/$job.out")"
[ -f "$work/nodes/report/report.html" ] || fail "no report"

begin "an array over two models"
sed "s|\"$work/small\"|\"$work/other\"|; s|\"num_train_epochs\": 2|\"num_train_epochs\": 1|" "$config" >"$work/other.json"
job=$(OPTIONS='--threads 1' sbatch --parsable --chdir="$source_dir" --cpus-per-task=1 --array=0-2 --output="$work/%A_%a.out" \
    tools/slurm/models.sbatch "$config" "$work/other.json")
for task in 0 1 2; do until_state "${job}_$task" 'COMPLETED|FAILED'; done
[ -f "$work/small/report/report.html" ] && [ -f "$work/other/report/report.html" ] || fail "reports are missing: $(cat "$work/${job}"_*.out)"
[ "$(field "${job}_2" JobState)" = FAILED ] || fail "a task without a config is $(field "${job}_2" JobState)"
grep -q 'task 2 has no config: 2 were given' "$work/${job}_2.out" || fail "it does not say why: $(cat "$work/${job}_2.out")"

finish
