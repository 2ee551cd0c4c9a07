#!/usr/bin/env bash
# cluster.sh - a SLURM of its own for the tests: controller, one node, munge, all on the loopback address, all files in
# one folder, ended by their process ids. No system service, no database, no control groups. Runs as root.
#   cluster.sh start FOLDER   prints `export SLURM_CONF=...`; the path must be shorter than 60 characters
#   cluster.sh stop FOLDER    cancels the jobs, ends the daemons
# PORT: the controller's; the node takes the next one (17827, 17828). CPUS: that the node declares (4).
set -euo pipefail
[ $# = 2 ] || { sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 2; }
folder=$(realpath -m "$2")
port=${PORT:-17827}
cpus=${CPUS:-4}
host=$(hostname -s)
export SLURM_CONF=$folder/slurm.conf
PATH=$PATH:/usr/sbin

# The pid in a file, when that process is still the program of that name.
pid_of() { # FILE PROGRAM
    local pid
    pid=$(cat "$1" 2>/dev/null) && [ -n "$pid" ] && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$2" ] && echo "$pid"
}

configure() {
    mkdir -p "$folder"/{munge,state,spool,tmp,log,run}
    chmod 755 "$folder"
    chmod 700 "$folder/munge"
    (umask 077 && head -c 1024 /dev/urandom >"$folder/munge/key")
    # A job that was queued again waits for cred_expire + 1 seconds.
    cat >"$SLURM_CONF" <<END
ClusterName=mneme
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/run/munge.socket,cred_expire=5
CredType=cred/munge
SlurmctldPort=$port
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmctldPidFile=$folder/run/slurmctld.pid
SlurmdPidFile=$folder/run/slurmd.pid
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdLogFile=$folder/log/slurmd.log
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
TmpFS=$folder/tmp
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1,batch_sched_delay=0
SlurmdParameters=config_overrides
JobRequeue=1
ReturnToService=2
KillWait=30
MailProg=/bin/true
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 1)) CPUs=$cpus Sockets=1 CoresPerSocket=$cpus ThreadsPerCore=1
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
END
}

start() {
    local _
    command -v slurmctld munged slurmd >/dev/null || { echo "cluster: slurm-wlm and munge are not installed" >&2; exit 3; }
    configure
    # --force: a socket below /tmp and root as the owner are reasons for munged to complain.
    munged --force --key-file="$folder/munge/key" --socket="$folder/run/munge.socket" --pid-file="$folder/run/munged.pid" \
        --log-file="$folder/log/munged.log" --seed-file="$folder/munge/seed" --num-threads=2 2>"$folder/log/munged.err"
    slurmctld -c -i 2>"$folder/log/slurmctld.err"
    slurmd -c -N n1 2>"$folder/log/slurmd.err"
    for _ in $(seq 300); do
        if [ "$(sinfo -h -N -o %T 2>/dev/null)" = idle ]; then
            echo "export SLURM_CONF=$SLURM_CONF"
            return
        fi
        sleep 0.1
    done
    echo "cluster: the node does not become idle" >&2
    tail -n 5 "$folder"/log/* >&2
    stop
    exit 4
}

stop() {
    local program pid pids=() _
    if pid_of "$folder/run/slurmctld.pid" slurmctld >/dev/null; then
        scancel -u "$(id -un)" 2>/dev/null || true
        for _ in $(seq 100); do
            [ -n "$(squeue -h 2>/dev/null)" ] || break
            sleep 0.1
        done
    fi
    for program in slurmd slurmctld munged; do
        pid=$(pid_of "$folder/run/$program.pid" "$program") || continue
        kill "$pid" 2>/dev/null && pids+=("$pid")
    done
    for pid in "${pids[@]}"; do
        for _ in $(seq 200); do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.05
        done
        kill -9 "$pid" 2>/dev/null || true
    done
}

case $1 in
start) start ;;
stop) stop ;;
*) sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
