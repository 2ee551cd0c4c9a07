/* launch.c - see launch.h. */
#include "cli/launch.h"

#include "mneme/device.h"
#include "mneme/file.h"
#include "mneme/log.h"
#include "mneme/signals.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* MPI can be started once, and ends with the process: so do these. The world is kept back for the end; commands get a
 * group like it. */
static mn_comm *world;
static mn_ranks job;
static char rank_name[96]; /* "rank 2 (node3)"; "" of rank 0 and of a process that is alone */

/* ---- Begin ---- */

static mn_status open_world(double timeout) {
    MN_TRY(mn_comm_launched(&world, timeout));
    const int rank = mn_comm_rank(world);
    if (rank == 0) return MN_OK;
    snprintf(rank_name, sizeof rank_name, "rank %d (%s)", rank, mn_comm_host(world, rank));
    if (!freopen("/dev/null", "w", stdout)) return mn_fail_errno("/dev/null");
    return mn_log_rank(rank_name, NULL);
}

/* How many ranks this host has, the place of this one among them, and how many of them share its cores. */
typedef struct host_ranks {
    int count, place, sharing;
} host_ranks;

static mn_status look_at_host(host_ranks *out) {
    const int size = mn_comm_size(world), mine = mn_comm_rank(world);
    mn_status st = MN_OK;
    cpu_set_t cores, *all = calloc((size_t)size, sizeof *all);
    MN_CHECK(all, MN_ERR_MEMORY, "no memory for %d ranks", size);
    CPU_ZERO(&cores);
    sched_getaffinity(0, sizeof cores, &cores);
    MN_GOTO(mn_comm_all_gather(world, all, &cores, sizeof cores));
    *out = (host_ranks){0};
    for (int r = 0; r < size; r++) {
        if (strcmp(mn_comm_host(world, r), mn_comm_host(world, mine)) != 0) continue;
        if (r == mine) out->place = out->count;
        out->count++;
        out->sharing += CPU_EQUAL(&all[r], &cores);
    }
done:
    free(all);
    return st;
}

/* What a rank takes of its host when nothing else is said: its part of the cores that it shares, and a GPU. Where each
 * rank sees one GPU alone, as srun --gpus-per-task has it, that is its own. */
static mn_status share_host(mn_cli *cli) {
    static char device[16];
    host_ranks here = {0};
    mn_cuda_state cuda;
    mn_common_options *c = &cli->common;
    cpu_set_t cores;
    MN_TRY(look_at_host(&here));
    CPU_ZERO(&cores);
    if (c->threads == 0 && sched_getaffinity(0, sizeof cores, &cores) == 0) {
        const int part = CPU_COUNT(&cores) / here.sharing;
        c->threads = part > 1 ? part : 1;
    }
    const bool automatic = strcmp(c->device, "auto") == 0;
    if (!automatic && strcmp(c->device, "cuda") != 0) return MN_OK;
    int64_t gpus = mn_cuda_probe(&cuda) ? cuda.devices : 0, least = -gpus;
    MN_TRY(mn_comm_all_reduce(world, &least, 1, MN_COMM_I64, MN_COMM_MAX));
    if (automatic && least == 0) { /* all ranks compute alike */
        c->device = "cpu";
        return MN_OK;
    }
    snprintf(device, sizeof device, "cuda:%d", gpus > 1 ? here.place : 0);
    c->device = device;
    return MN_OK;
}

mn_status mn_launch_begin(mn_cli *cli, const mn_command *command) {
    const mn_common_options *c = &cli->common;
    const bool asked = c->tp > 1 || c->dp > 1;
    mn_comm *same = NULL;
    if (command->ranks == MN_RANKS_NONE || command->ranks == MN_RANKS_PLANNED) {
        MN_CHECK(mn_comm_started() == 1, MN_ERR_USAGE,
                 "this command works in one process, %d were started", mn_comm_started());
        MN_CHECK(!asked || command->ranks == MN_RANKS_PLANNED, MN_ERR_USAGE,
                 "this command works in one process: --tp and --dp have no "
                 "meaning here");
        return MN_OK;
    }
    MN_TRY(open_world(c->comm_timeout));
    if (!world) {
        const long long wanted = (long long)c->tp * (c->dp > 0 ? c->dp : 1);
        MN_CHECK(!asked, MN_ERR_USAGE,
                 "tp %lld and dp %lld are for %lld processes: mpirun -n %lld mneme %s ...",
                 (long long)c->tp, (long long)c->dp, wanted, wanted, command->name);
        return MN_OK;
    }
    MN_CHECK(command->ranks == MN_RANKS_ALL || (c->dp <= 1 && c->tp == mn_comm_size(world)),
             MN_ERR_USAGE,
             "%s shares a model among ranks, not its work: tp must be %d, what was started, dp 1",
             command->name, mn_comm_size(world));
    MN_TRY(mn_comm_split(&same, world, 0));
    MN_TRY(mn_ranks_open(&job, same, (int)c->tp, (int)c->dp));
    MN_TRY(share_host(cli));
    cli->ranks = &job;
    mn_log(MN_LOG_INFO, "%d ranks: tp %d, dp %d; %lld threads each", mn_comm_size(world),
           mn_comm_size(job.tp), mn_comm_size(job.dp), (long long)c->threads);
    return MN_OK;
}

mn_status mn_launch_log(const mn_cli *cli, const char *folder) {
    mn_buf path = {0}, name = {0};
    mn_status st = MN_OK;
    if (!cli->ranks || !rank_name[0]) return MN_OK;
    if (folder) {
        MN_GOTO(mn_make_dirs(folder));
        MN_GOTO(mn_buf_printf(&name, "rank-%d.log", mn_comm_rank(world)));
        MN_GOTO(mn_path_join(&path, folder, name.data));
    }
    st = mn_log_rank(rank_name, folder ? path.data : NULL);
done:
    mn_buf_free(&name);
    mn_buf_free(&path);
    return st;
}

/* ---- What rank 0 does alone ---- */

typedef struct meeting {
    mn_comm *comm;
    pthread_mutex_t lock; /* of `done` */
    pthread_cond_t changed;
    bool done;             /* the work has ended */
    mn_error_record error; /* of the meetings themselves */
} meeting;

/* Until the work is done, or a second has passed. */
static bool wait_a_second(meeting *m) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec++;
    pthread_mutex_lock(&m->lock);
    while (!m->done && pthread_cond_timedwait(&m->changed, &m->lock, &until) == 0) continue;
    const bool done = m->done;
    pthread_mutex_unlock(&m->lock);
    return done;
}

/* All ranks meet once a second, until rank 0 says that the work is done. */
static void *meet(void *context) {
    meeting *m = context;
    int64_t said[2] = {0, 0}; /* somebody wants to stop; it is done */
    mn_status st = MN_OK;
    while (st == MN_OK && !said[1]) {
        said[1] = mn_comm_rank(m->comm) == 0 && wait_a_second(m);
        said[0] = mn_stop_requested();
        st = mn_comm_all_reduce(m->comm, said, 2, MN_COMM_I64, MN_COMM_MAX);
        if (st != MN_OK || said[0]) mn_stop_request();
    }
    if (st != MN_OK) mn_error_save(&m->error);
    return NULL;
}

mn_status mn_launch_alone(const mn_cli *cli, mn_status (*work)(void *context), void *context) {
    if (!cli->ranks) return work(context);
    meeting m = {.comm = cli->ranks->world,
                 .lock = PTHREAD_MUTEX_INITIALIZER,
                 .changed = PTHREAD_COND_INITIALIZER};
    mn_status st = MN_OK;
    pthread_t others;
    if (mn_comm_rank(m.comm) > 0) {
        meet(&m);
    } else {
        MN_CHECK(pthread_create(&others, NULL, meet, &m) == 0, MN_ERR_MEMORY,
                 "no thread can be started");
        st = work(context);
        pthread_mutex_lock(&m.lock);
        m.done = true;
        pthread_cond_signal(&m.changed);
        pthread_mutex_unlock(&m.lock);
        pthread_join(others, NULL);
    }
    if (m.error.status != MN_OK) return mn_error_restore(&m.error);
    return mn_comm_agree(m.comm, st);
}

mn_status mn_launch_stopped(const mn_cli *cli, const char *what) {
    bool stop = false;
    MN_TRY(mn_comm_stop(cli->ranks ? cli->ranks->world : NULL, &stop));
    MN_CHECK(!stop, MN_STOPPED, "stopped on request before %s; the same command goes on", what);
    return MN_OK;
}

/* ---- End ---- */

void mn_launch_tell(const mn_cli *cli, mn_status st) {
    if (cli->ranks && st != MN_OK && st != MN_STOPPED) mn_comm_abort(cli->ranks->world);
}

static void print_error(const char *name) {
    const char *before = name ? " " : "";
    if (!rank_name[0]) fprintf(stderr, "mneme%s%s: %s\n", before, name ? name : "", mn_error());
    else mn_log(MN_LOG_ERROR, "mneme%s%s: %s", before, name ? name : "", mn_error());
}

/* What all ranks say with the same words, the lowest says. */
static mn_status end_ranks(mn_status st, const char *name) {
    if (st == MN_OK || st == MN_STOPPED) { /* nobody leaves before all have done their work */
        const mn_status met = mn_comm_barrier(world);
        if (met != MN_OK) st = met;
    }
    if (st == MN_STOPPED) {
        if (!rank_name[0]) print_error(name);
    } else if (st != MN_OK) {
        mn_comm_abort(world);
        if (!mn_comm_echoes(world)) print_error(name);
    }
    mn_ranks_close(&job);
    mn_comm_close(&world);
    return st;
}

int mn_launch_end(mn_status st, const char *name) {
    const mn_status flushed = st == MN_OK ? mn_print_flush() : MN_OK;
    bool said = false; /* by another rank */
    if (flushed != MN_OK) st = flushed;
    /* Before there were ranks, wrong options above all: each process finds it, and one may say so. */
    if (st != MN_OK && !world && mn_comm_started() > 1) {
        mn_error_record saved;
        mn_error_save(&saved);
        if (open_world(MN_COMM_TIMEOUT) != MN_OK) { /* the others may have failed and gone on */
            const char *found = strstr(mn_error(), saved.text);
            said = found && found != mn_error(); /* behind the name of that rank */
            world = NULL;
        }
        mn_error_restore(&saved);
    }
    const bool ranks = world != NULL;
    if (ranks) st = end_ranks(st, name);
    else if (st != MN_OK && !said) print_error(name);
    const int code = st == MN_OK ? 0 : st == MN_ERR_USAGE ? 2 : st == MN_STOPPED ? 75 : 1;
    /* Also where no group came of it, MPI may be open. */
    if ((ranks || mn_comm_started() > 1) && code != 0 && code != 75) {
        fflush(stdout);
        fflush(stderr);
        _exit(code);
    }
    return code;
}
