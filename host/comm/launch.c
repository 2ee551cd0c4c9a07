/* launch.c - finds out who started this process, and opens MPI when there are others that it belongs to.
 *
 * Alone, mneme starts without loading anything. A launcher tells its processes by their environment, but not every
 * variable means one: inside a batch job SLURM's are there without any srun, and a shell that srun started hands its
 * own on to all that is started from it. */
#include "comm/group.h"
#include "comm/plugin.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char PLUGIN[] = "libmneme_mpi.so";

/* ---- The launcher ---- */

static int number_of(const char *variable) {
    const char *text = getenv(variable);
    char *end = NULL;
    const long value = text && *text ? strtol(text, &end, 10) : 0;
    return end && !*end && value > 0 && value < 1 << 24 ? (int)value : 0;
}

typedef struct launch {
    int size;         /* processes of the job; 1: this one alone */
    const char *name; /* who started them; NULL: nobody */
    bool mpi;         /* so that MPI can bring them together */
} launch;

static launch find_launch(void) {
    /* mpirun of Open MPI; inside a batch job srun started its daemons, not these processes */
    if (getenv("OMPI_COMM_WORLD_SIZE"))
        return (launch){number_of("OMPI_COMM_WORLD_SIZE"), "mpirun (Open MPI)", true};
    const int tasks = number_of("SLURM_STEP_NUM_TASKS"); /* set by srun, not by sbatch */
    if (getenv("PMI_RANK") && getenv("PMI_SIZE"))
        return (launch){number_of("PMI_SIZE"), tasks ? "srun" : "mpiexec", true};
    if (tasks > 1) return (launch){tasks, "srun", getenv("PMIX_RANK") != NULL};
    return (launch){1, NULL, false};
}

int mn_comm_started(void) {
    const launch found = find_launch();
    return found.size > 1 ? found.size : 1;
}

/* ---- The plug-in ---- */

static const mn_mpi_plugin *load(mn_mpi_state *out) {
    static const mn_plugin_host program = {.fail = mn_fail};
    char path[PATH_MAX];
    mn_mpi_entry entry = NULL;
    if (!mn_plugin_find(path, PLUGIN, "MNEME_MPI_PLUGIN")) {
        snprintf(out->why, sizeof out->why, "%s is not installed beside mneme", PLUGIN);
        return NULL;
    }
    snprintf(out->plugin, sizeof out->plugin, "%.*s", (int)sizeof out->plugin - 1, path);
    /* Global: some MPIs open plug-ins of their own that look for MPI's names. */
    void *library = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
    if (library) *(void **)&entry = dlsym(library, MN_MPI_ENTRY);
    if (!entry) {
        snprintf(out->why, sizeof out->why, "%s", dlerror());
        return NULL;
    }
    const mn_mpi_plugin *plugin = entry(&program);
    if (plugin->abi != MN_MPI_ABI || plugin->transport_bytes != sizeof(mn_transport) ||
        plugin->message_bytes != sizeof(mn_message) || plugin->note_bytes != sizeof(mn_note)) {
        snprintf(out->why, sizeof out->why, "%s belongs to another version of mneme", out->plugin);
        return NULL;
    }
    snprintf(out->library, sizeof out->library, "%s", plugin->library);
    return plugin;
}

bool mn_mpi_probe(mn_mpi_state *out) {
    const launch found = find_launch();
    *out = (mn_mpi_state){.started = found.size > 1 ? found.size : 1};
    snprintf(out->launcher, sizeof out->launcher, "%s", found.name ? found.name : "");
    return load(out) != NULL;
}

mn_status mn_comm_launched(mn_comm **out, double timeout) {
    const launch found = find_launch();
    mn_mpi_state state = {0};
    mn_transport *transport = NULL;
    *out = NULL;
    if (found.size <= 1) return MN_OK;
    MN_CHECK(
        found.mpi, MN_ERR_USAGE,
        "srun started %d processes that cannot find each other: use srun --mpi=pmix (or pmi2), or "
        "mpirun; a command for one process takes srun --ntasks=1",
        found.size);
    const mn_mpi_plugin *plugin = load(&state);
    MN_CHECK(plugin, MN_ERR_UNSUPPORTED, "%s started %d processes, but there is no MPI: %s",
             found.name, found.size, state.why);
    MN_TRY(plugin->open(&transport));
    if (transport->size != found.size) {
        const int size = transport->size;
        transport->close(transport, size == 1);
        return mn_fail(MN_ERR_COMM,
                       "%s started %d processes, %s finds %d: the launcher belongs to another MPI",
                       found.name, found.size, state.library, size);
    }
    return mn_world_open(out, transport, timeout);
}
