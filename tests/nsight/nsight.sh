#!/bin/sh
# nsight.sh - tools/nsight against stand-ins for nsys, ncu and mpirun that note how they were called: the options, the
# table from a report of known numbers, what is said when something is missing. No GPU, no profiler.
. "$(dirname "$0")/../cli/check.inc" || exit 1
# shellcheck disable=SC2154
tools=$source_dir/tools/nsight
command -v bash python3 >/dev/null || { echo "ok 1 # SKIP tools of nsight: bash or python3 is not here"; exit 77; }

mkdir "$work/bin"
stand_in() { # NAME, the script from standard input
    { echo '#!/bin/sh' && echo "echo \"\$(basename \"\$0\") \$*\" >>'$work/calls'" && cat; } >"$work/bin/$1"
    chmod +x "$work/bin/$1"
}
call() { # CODE TOOL ARGUMENT...
    code=$1
    tool=$2
    shift 2
    begin "$tool $*"
    : >"$work/calls"
    (cd "$work" && PATH=$work/bin:$PATH exec "$tools/$tool" "$@") >"$out" 2>"$err"
    got=$?
    [ "$got" = "$code" ] || fail "exit code $got, expected $code: $(cat "$err")"
}

# ---- without the profilers ----

if ! command -v nsys >/dev/null; then
    call 1 timeline.sh true
    has "$err" "nsys is not in PATH"
fi
if ! command -v ncu >/dev/null; then
    call 1 kernels.sh true
    has "$err" "ncu is not in PATH"
fi
call 2 timeline.sh
has "$out" "tools/nsight/timeline.sh [-o NAME] [-n RANKS] COMMAND"

# ---- timeline ----

stand_in nsys <<'END'
case $1 in
profile)
    for word; do case $word in --output=*) file=${word#--output=} ;; esac; done
    file=$(echo "$file" | sed "s/%q{OMPI_COMM_WORLD_RANK}/$OMPI_COMM_WORLD_RANK/")
    while [ "${2#--}" != "$2" ]; do shift; done
    shift
    "$@" || exit
    echo report >"$file.nsys-rep" ;;
stats) echo "kernels of $*" ;;
esac
END
stand_in mpirun <<'END'
shift
count=$1
shift
for rank in $(seq 0 $((count - 1))); do OMPI_COMM_WORLD_RANK=$rank "$@" || exit; done
END
call 0 timeline.sh -o one sh -c 'echo at work'
has "$out" "at work"
has "$out" "== one.nsys-rep"
has "$work/calls" "nsys profile --trace=cuda,nvtx,cublas,cudnn,osrt --cuda-graph-trace=node"
has "$out" "--report=cuda_gpu_kern_sum --report=cuda_gpu_mem_time_sum --report=nvtx_pushpop_sum one.nsys-rep"
call 0 timeline.sh -o many -n 3 true
has "$work/calls" "mpirun -n 3 nsys profile --trace=cuda,nvtx,cublas,cudnn,osrt,mpi"
for rank in 0 1 2; do has "$out" "== many.$rank.nsys-rep"; done
call 4 timeline.sh -o broken sh -c 'exit 4'
has "$err" "the command left with 4"

# ---- kernels ----

# As `ncu --page raw --csv` prints: names, units, one line per launch.
cat >"$work/report.csv" <<'END'
==PROF== Connected to process 7
"ID","Process ID","Kernel Name","Grid Size","Block Size","dram__bytes.sum","gpu__dram_throughput.avg.pct_of_peak_sustained_elapsed","gpu__time_duration.sum","sm__throughput.avg.pct_of_peak_sustained_elapsed"
"","","","","","byte","%","nsecond","%"
"0","7","layernorm_rows","(512, 1, 1)","(128, 1, 1)","4,000,000","70.5","2,000","20"
"1","7","attention","(64, 16, 1)","(128, 1, 1)","1000000","10","10000","61.25"
"2","7","layernorm_rows","(512, 1, 1)","(128, 1, 1)","6000000","71.5","3,000","22"
"3","7","layernorm_rows","(1, 1, 1)","(128, 1, 1)","8192","1","1000","1"
END
stand_in ncu <<END
case \$* in
*--import*) cat "$work/report.csv" ;;
*) case \$* in *denied*) echo "==ERROR== ERR_NVGPUCTRPERM"; exit 1 ;; esac ;;
esac
END
call 0 kernels.sh -o k -s 5 -c 7 mneme bench
has "$work/calls" "--launch-skip 5 --launch-count 7 --metrics gpu__time_duration.sum,dram__bytes.sum,"
has "$work/calls" "--import k.ncu-rep --page raw --csv --print-units base"
# Medians: 2.5 us and 5 MB, 2000 GB/s; shares of 16 us in all.
tr -s ' ' <"$out" >"$work/table"
has "$work/table" "attention (64,16,1) (128,1,1) 1 10.00 10.0 62.5% 1.000 100.0 10.0% 61.2%"
has "$work/table" "layernorm_rows (512,1,1) (128,1,1) 2 2.50 5.0 31.2% 5.000 2000.0 71.0% 21.0%"
has "$work/table" "layernorm_rows (1,1,1) (128,1,1) 1 1.00 1.0 6.2% 0.008 8.2 1.0% 1.0%"
[ "$(sed -n 2p "$work/table" | cut -d ' ' -f 1)" = attention ] || fail "not by time: $(cat "$out")"
call 1 kernels.sh -o k denied
has "$err" "ERR_NVGPUCTRPERM"

wrong() { # MESSAGE SED-SCRIPT
    sed "$2" "$work/report.csv" >"$work/wrong.csv"
    begin "kernels.py of: $1"
    "$tools/kernels.py" "$work/wrong.csv" >"$out" 2>"$err" && fail "no error"
    has "$err" "$1"
}
wrong "no column gpu__time_duration.sum" 's/gpu__time_duration/gpu__time/'
wrong "units are usecond and byte; use --print-units base" 's/nsecond/usecond/'
wrong "no kernels were measured" '4,$d'
wrong "wrong.csv:4: dram__bytes.sum is 'n/a', a number expected" 's/"1000000"/"n\/a"/'

finish
