/* nvtx_record.c - a library for NVTX_INJECTION64_PATH: writes the ranges of a process to the file $NVTX_RECORD,
 * one line per event: thread, depth, "+ name" or "-". A range that ends before it begins is "underflow". */
#include <nvtx3/nvToolsExt.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static FILE *out;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Thread_local int depth;

static void put(const char *event, const char *name) {
    pthread_mutex_lock(&lock);
    fprintf(out, "%ld %d %s%s\n", (long)syscall(SYS_gettid), depth, event, name);
    pthread_mutex_unlock(&lock);
}

static int NVTX_API push(const char *name) {
    put("+ ", name);
    return depth++;
}

static int NVTX_API pop(void) {
    if (depth == 0) {
        put("underflow", "");
        return -1;
    }
    depth--;
    put("-", "");
    return depth;
}

static void finish(void) { fclose(out); }

/* What NVTX looks up and calls before the process's first range. */
int InitializeInjectionNvtx2(NvtxGetExportTableFunc_t get);
__attribute__((visibility("default"))) int InitializeInjectionNvtx2(NvtxGetExportTableFunc_t get) {
    const NvtxExportTableCallbacks *tables = get(NVTX_ETID_CALLBACKS);
    const char *path = getenv("NVTX_RECORD");
    NvtxFunctionTable table = NULL;
    unsigned size = 0;
    if (!tables || !path || !tables->GetModuleFunctionTable(NVTX_CB_MODULE_CORE, &table, &size))
        return 0;
    if (size <= NVTX_CBID_CORE_RangePop) return 0;
    out = fopen(path, "we");
    if (!out) return 0;
    atexit(finish);
    *table[NVTX_CBID_CORE_RangePushA] = (NvtxFunctionPointer)push;
    *table[NVTX_CBID_CORE_RangePop] = (NvtxFunctionPointer)pop;
    return 1;
}
