/* process.c - see process.h. Reads /proc. */
#include "comm/process.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The start of a small file; false when there is none. */
static bool read_text(char *text, size_t size, const char *path) {
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    ssize_t got;
    do got = read(fd, text, size - 1);
    while (got < 0 && errno == EINTR);
    close(fd);
    if (got < 0) errno = ESRCH; /* it ended while it was read */
    text[got > 0 ? got : 0] = '\0';
    return got > 0;
}

/* Its state, 'R', 'S', 'T', 'Z' ..., and when it began; 0 when it cannot be read. */
static char read_stat(uint64_t *begun, int64_t id) {
    enum { BEGUN = 22, STATE = 3 }; /* fields as proc(5) counts them */
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%lld/stat", (long long)id);
    if (!read_text(text, sizeof text, path)) return 0;
    const char *at = strrchr(text, ')'); /* the name before it may hold anything */
    if (!at || at[1] != ' ' || !at[2]) return 0;
    const char state = at[2];
    at += 2;
    for (int field = STATE; field < BEGUN && at; field++) {
        at = strchr(at, ' ');
        if (at) at++;
    }
    if (!at) return 0;
    *begun = strtoull(at, NULL, 10);
    return state;
}

static void add_hash(uint64_t *hash, const char *text) { /* FNV-1a */
    for (; *text; text++) *hash = (*hash ^ (unsigned char)*text) * 0x100000001b3u;
}

void mn_process_self(mn_process *out) {
    char text[256] = "";
    *out = (mn_process){.id = getpid(), .place = 0xcbf29ce484222325u};
    if (gethostname(out->host, sizeof out->host - 1) != 0)
        snprintf(out->host, sizeof out->host, "?");
    out->host[strcspn(out->host, ".")] = '\0';
    read_stat(&out->begun, out->id);
    /* Containers of one host have tables of their own. */
    if (read_text(text, sizeof text, "/proc/sys/kernel/random/boot_id"))
        add_hash(&out->place, text);
    const ssize_t len = readlink("/proc/self/ns/pid", text, sizeof text - 1);
    text[len > 0 ? len : 0] = '\0';
    add_hash(&out->place, text);
}

mn_process_state mn_process_look(const mn_process *process) {
    uint64_t begun = 0;
    const char state = read_stat(&begun, process->id);
    if (!state) return errno == ENOENT || errno == ESRCH ? MN_PROCESS_GONE : MN_PROCESS_RUNS;
    if (begun != process->begun || state == 'Z' || state == 'X') return MN_PROCESS_GONE;
    return state == 'T' ? MN_PROCESS_STOPPED : MN_PROCESS_RUNS;
}
