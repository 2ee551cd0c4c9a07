/* plugin.h (internal) - shared libraries that are opened when they are needed: where they lie, and what a backend and
 * the registry hand to each other.
 *
 * The library exports one function, mn_plugin_open. Error texts are the program's: the backend writes
 * them through the functions it is given, so that it need not be linked to libmneme. */
#ifndef MNEME_CORE_PLUGIN_H
#define MNEME_CORE_PLUGIN_H

#include "mneme/device.h"

#include <limits.h>
#include <stdbool.h>

/* Where the shared library `name` lies: as the environment's `variable` says, else beside libmneme, beside the program,
 * or where the installation puts libraries. False when it is in none of these places. */
bool mn_plugin_find(char path[PATH_MAX], const char *name, const char *variable);

/* Raised whenever a struct that both sides see changes its meaning but not its size. */
enum { MN_PLUGIN_ABI = 2 };

typedef struct mn_plugin_host {
    mn_status (*fail)(mn_status status, const char *format, ...);
    void (*warn)(const char *text); /* a line of the log */
    void (*error_save)(mn_error_record *out);
    mn_status (*error_restore)(const mn_error_record *record);
} mn_plugin_host;

typedef struct mn_plugin {
    int abi;
    size_t device_bytes, kernels_bytes; /* sizeof mn_device and mn_kernels, as it was compiled */
    char libraries[128];                /* "built with CUDA 13.0, runs with 13.0" */
    mn_status (*count)(int *devices);   /* fails when the runtime does, with its words */
    /* "NVIDIA H100 80GB HBM3, sm_90, 132 multiprocessors, 79.6 GiB" */
    mn_status (*describe)(char *text, size_t size, int index);
    mn_status (*open)(mn_device **out, int index);
} mn_plugin;

#define MN_PLUGIN_ENTRY "mn_plugin_open"
typedef const mn_plugin *(*mn_plugin_entry)(const mn_plugin_host *host);

#endif
