/* plugin.c - where shared libraries lie that the program opens only when it needs them. */
#include "core/plugin.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef MN_LIBDIR
#define MN_LIBDIR "lib"
#endif

/* FILE's folder + relative + the library's name, when that can be read. */
static bool look_beside(char path[PATH_MAX], const char *file, const char *relative,
                        const char *name) {
    char real[PATH_MAX];
    if (!file || !realpath(file, real)) return false;
    char *slash = strrchr(real, '/');
    if (!slash) return false;
    *slash = '\0';
    const int n = snprintf(path, PATH_MAX, "%s/%s%s", real, relative, name);
    return n < PATH_MAX && access(path, R_OK) == 0;
}

bool mn_plugin_find(char path[PATH_MAX], const char *name, const char *variable) {
    static const char here = 0; /* an address inside libmneme */
    static const char program[] = "/proc/self/exe";
    Dl_info mine = {0};
    const char *named = getenv(variable);
    if (named) return snprintf(path, PATH_MAX, "%s", named) < PATH_MAX;
    const char *library = dladdr(&here, &mine) ? mine.dli_fname : NULL;
    return look_beside(path, library, "", name) || look_beside(path, program, "", name) ||
           look_beside(path, program, "../" MN_LIBDIR "/", name);
}
