/* plugin.h (internal) - what the MPI plug-in and launch.c hand to each other. As with the CUDA backend, error texts
 * are the program's. */
#ifndef MNEME_COMM_PLUGIN_H
#define MNEME_COMM_PLUGIN_H

#include "comm/transport.h"
#include "core/plugin.h"

/* Raised whenever a struct that both sides see changes its meaning but not its size. */
enum { MN_MPI_ABI = 1 };

typedef struct mn_mpi_plugin {
    int abi;
    size_t transport_bytes, message_bytes, note_bytes; /* of the structs, as it was compiled */
    char library[128];                                 /* "Open MPI v4.1.4" */
    /* Starts MPI. Once in a process. */
    mn_status (*open)(mn_transport **out);
} mn_mpi_plugin;

#define MN_MPI_ENTRY "mn_mpi_open"
typedef const mn_mpi_plugin *(*mn_mpi_entry)(const mn_plugin_host *host);

#endif
