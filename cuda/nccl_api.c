/* nccl_api.c - opens libnccl.so.2. */
#include "cuda/nccl_api.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static const char LIBRARY[] = "libnccl.so.2";

static mn_nccl nccl;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* ranks may be threads */

/* Every run gives the same bits: that was not so, with every driver, where NVLink's switches add (NVLS). Whoever names
 * an algorithm or wants the switches knows what he does. NCCL reads its environment when it first connects. */
static void prefer_repeatable(void) {
    if (!getenv("NCCL_ALGO")) setenv("NCCL_NVLS_ENABLE", "0", 0);
}

static mn_status load(mn_nccl *n) {
    enum { OLDEST = NCCL_VERSION(2, 14, 0) };
    prefer_repeatable();
    n->library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    MN_CHECK(n->library, MN_ERR_UNSUPPORTED,
             "several GPUs need NCCL, which is not installed (package libnccl2): %s", dlerror());
#define LOOK_UP(name)                                                                              \
    *(void **)&n->name = dlsym(n->library, #name);                                                 \
    MN_CHECK(n->name, MN_ERR_UNSUPPORTED, "%s has no %s: several GPUs need NCCL 2.14 or later",    \
             LIBRARY, #name);
    MN_NCCL_FUNCTIONS(LOOK_UP)
#undef LOOK_UP
    const ncclResult_t r = n->ncclGetVersion(&n->version);
    MN_CHECK(r == ncclSuccess && n->version >= OLDEST, MN_ERR_UNSUPPORTED,
             "%s is version %d: several GPUs need NCCL 2.14 or later", LIBRARY, n->version);
    return MN_OK;
}

mn_status mn_nccl_open(const mn_nccl **out) {
    mn_status st = MN_OK;
    *out = NULL;
    pthread_mutex_lock(&lock);
    if (!nccl.version) {
        mn_nccl n;
        memset(&n, 0, sizeof n);
        st = load(&n);
        if (st == MN_OK) nccl = n;
        else if (n.library) dlclose(n.library);
    }
    pthread_mutex_unlock(&lock);
    if (st == MN_OK) *out = &nccl;
    return st;
}
