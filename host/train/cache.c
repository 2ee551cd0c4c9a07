/* cache.c - see cache.h. */
#include "train/cache.h"

#include "mneme/half.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

const char *const mn_train_caches[] = {"auto", "off", "memory", "file", NULL};
const char *const mn_train_cache_dtypes[] = {"fp32", "fp16", NULL};

struct activation_cache {
    const mn_samples *samples;
    int64_t dim;
    mn_train_cache_dtype dtype;
    unsigned char *data; /* mapped, anonymous or of a file */
    size_t size;
    int64_t *begin; /* [count + 1]: rows before each sample */
    bool *kept;     /* [count] */
    int64_t *asked; /* [count] the latest step that has asked for it, -1 none */
};

static size_t element(mn_train_cache_dtype dtype) { return dtype == MN_CACHE_FP16 ? 2 : 4; }

mn_status mn_cache_place(mn_train_cache *out, int64_t *bytes, const mn_train_options *o,
                         const mn_samples *samples, int64_t dim, int64_t first, double passes) {
    const int64_t budget = o->activation_cache_mb << 20;
    int64_t rows = 0;
    for (int64_t i = 0; i < samples->count; i++) rows += mn_sample_inputs(&samples->items[i]);
    *bytes = rows * dim * (int64_t)element(o->activation_cache_dtype);
    *out = MN_CACHE_OFF;
    if (o->activation_cache == MN_CACHE_OFF) return MN_OK;
    if (o->activation_cache == MN_CACHE_AUTO) {
        /* Block 0 gets the embeddings, which cost nothing. */
        if (first > 0 && passes > 1) *out = *bytes <= budget ? MN_CACHE_MEMORY : MN_CACHE_FILE;
        return MN_OK;
    }
    MN_CHECK(
        o->update == MN_UPDATE_MEMORY, MN_ERR_USAGE,
        "activation_cache: with update full every activation changes, there is nothing to keep");
    MN_CHECK(
        o->activation_cache != MN_CACHE_MEMORY || *bytes <= budget, MN_ERR_USAGE,
        "activation_cache: %.0f MiB are needed, activation_cache_mb is %lld; auto or file would "
        "use a file",
        (double)*bytes / 0x1p20, (long long)o->activation_cache_mb);
    *out = o->activation_cache;
    return MN_OK;
}

/* An unlinked file in output_dir, with all its blocks. */
static mn_status map_file(unsigned char **out, size_t size, const char *dir) {
    mn_status st = MN_OK;
    mn_buf path = {0};
    int fd = -1;
    MN_GOTO(mn_buf_printf(&path, "%s/activations.tmp-XXXXXX", dir));
    fd = mkostemp(path.data, O_CLOEXEC);
    if (fd < 0) {
        st = mn_fail_errno(path.data);
        goto done;
    }
    unlink(path.data);
    const int full = posix_fallocate(fd, 0, (off_t)size);
    MN_CHECK_GOTO(full == 0, MN_ERR_IO,
                  "%s: an activation cache of %.0f MiB does not fit: %s; activation_cache off does "
                  "without",
                  dir, (double)size / 0x1p20, strerror(full));
    void *data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED) st = mn_fail_errno(path.data);
    else *out = data;
done:
    if (fd >= 0) close(fd);
    mn_buf_free(&path);
    return st;
}

static mn_status map_memory(unsigned char **out, size_t size) {
    void *data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MN_CHECK(data != MAP_FAILED, MN_ERR_MEMORY, "no memory for an activation cache of %.0f MiB",
             (double)size / 0x1p20);
    *out = data;
    return MN_OK;
}

mn_status mn_cache_open(activation_cache **out, mn_train_cache place, const mn_train_options *o,
                        const mn_samples *samples, int64_t dim) {
    mn_status st = MN_OK;
    *out = NULL;
    if (place == MN_CACHE_OFF) return MN_OK;
    activation_cache *c = calloc(1, sizeof *c);
    MN_CHECK(c, MN_ERR_MEMORY, "no memory for an activation cache");
    *c = (activation_cache){.samples = samples, .dim = dim, .dtype = o->activation_cache_dtype};
    c->begin = calloc((size_t)samples->count + 1, sizeof *c->begin);
    c->kept = calloc((size_t)samples->count, sizeof *c->kept);
    c->asked = calloc((size_t)samples->count, sizeof *c->asked);
    MN_CHECK_GOTO(c->begin && c->kept && c->asked, MN_ERR_MEMORY,
                  "no memory for an activation cache");
    for (int64_t i = 0; i < samples->count; i++) c->asked[i] = -1;
    for (int64_t i = 0; i < samples->count; i++)
        c->begin[i + 1] = c->begin[i] + mn_sample_inputs(&samples->items[i]);
    c->size = (size_t)(c->begin[samples->count] * dim) * element(c->dtype);
    MN_GOTO(place == MN_CACHE_FILE ? map_file(&c->data, c->size, o->output_dir)
                                   : map_memory(&c->data, c->size));
    *out = c;
    c = NULL;
done:
    mn_cache_close(&c);
    return st;
}

void mn_cache_close(activation_cache **cache) {
    activation_cache *c = *cache;
    if (!c) return;
    if (c->data) munmap(c->data, c->size);
    free(c->begin);
    free(c->kept);
    free(c->asked);
    free(c);
    *cache = NULL;
}

static unsigned char *place_of(const activation_cache *c, int64_t sample, int64_t *count) {
    *count = (c->begin[sample + 1] - c->begin[sample]) * c->dim;
    return c->data + (size_t)(c->begin[sample] * c->dim) * element(c->dtype);
}

bool mn_cache_has(const activation_cache *c, int64_t sample) { return c && c->kept[sample]; }

bool mn_cache_get(const activation_cache *c, int64_t sample, float *hidden) {
    int64_t count;
    if (!mn_cache_has(c, sample)) return false;
    const unsigned char *from = place_of(c, sample, &count);
    if (c->dtype == MN_CACHE_FP32) {
        memcpy(hidden, from, (size_t)count * sizeof *hidden);
        return true;
    }
    for (int64_t i = 0; i < count; i++) {
        uint16_t half;
        memcpy(&half, from + 2 * i, sizeof half);
        hidden[i] = mn_f16_to_f32(half);
    }
    return true;
}

bool mn_cache_first_time(activation_cache *c, int64_t sample, int64_t step) {
    const bool first = c->asked[sample] < step;
    if (first) c->asked[sample] = step;
    return first;
}

void mn_cache_put(activation_cache *c, int64_t sample, const float *hidden) {
    int64_t count;
    unsigned char *to = place_of(c, sample, &count);
    if (c->dtype == MN_CACHE_FP32) {
        memcpy(to, hidden, (size_t)count * sizeof *hidden);
    } else {
        for (int64_t i = 0; i < count; i++) {
            const uint16_t half = mn_f32_to_f16(hidden[i]);
            memcpy(to + 2 * i, &half, sizeof half);
        }
    }
    c->kept[sample] = true;
}

void mn_cache_round(mn_train_cache_dtype dtype, float *hidden, int64_t count) {
    if (dtype == MN_CACHE_FP32) return;
    for (int64_t i = 0; i < count; i++) hidden[i] = mn_f16_to_f32(mn_f32_to_f16(hidden[i]));
}
