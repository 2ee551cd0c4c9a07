/* copies.cu - pinned staging: the card reads and writes host memory that cannot move.
 *
 * A ring of slots. An upload is cut into pieces of a slot each; a slot is filled again when the event
 * behind its last copy has passed, so that filling one slot and copying another overlap. */
#include "cuda/copies.h"

#include "cuda/collectives.h"
#include "cuda/device.h"

#include <stdlib.h>
#include <string.h>

/* Two large slots are enough to overlap; small batches' arrays get a slot each without waiting. */
enum { SLOTS = 8, SLOT_BYTES = 4 << 20 };

struct mn_cuda_copies {
    unsigned char *pinned; /* SLOTS x SLOT_BYTES */
    cudaEvent_t done[SLOTS];
    int next;
};

static unsigned char *slot(const mn_cuda_copies *c, int index) {
    return c->pinned + (size_t)index * SLOT_BYTES;
}

mn_status mn_cuda_copies_open(mn_cuda_copies **out) {
    mn_status st = MN_OK;
    mn_cuda_copies *c = (mn_cuda_copies *)calloc(1, sizeof *c);
    void *pinned = NULL;
    *out = NULL;
    MN_CHECK(c, MN_ERR_MEMORY, "no memory for pinned copies");
    MN_GOTO(mn_cuda_check(cudaHostAlloc(&pinned, (size_t)SLOTS * SLOT_BYTES, cudaHostAllocDefault),
                          "cudaHostAlloc"));
    c->pinned = (unsigned char *)pinned;
    for (int i = 0; i < SLOTS; i++)
        MN_GOTO(mn_cuda_check(cudaEventCreateWithFlags(&c->done[i], cudaEventDisableTiming),
                              "cudaEventCreate"));
    *out = c;
    c = NULL;
done:
    mn_cuda_copies_close(&c);
    return st;
}

void mn_cuda_copies_close(mn_cuda_copies **copies) {
    mn_cuda_copies *c = *copies;
    if (!c) return;
    for (int i = 0; i < SLOTS; i++)
        if (c->done[i]) cudaEventDestroy(c->done[i]);
    cudaFreeHost(c->pinned);
    free(c);
    *copies = NULL;
}

/* An event that was never recorded has passed. */
static mn_status take_slot(mn_stream *s, int *index) {
    mn_cuda_copies *c = s->copies;
    *index = c->next;
    c->next = (c->next + 1) % SLOTS;
    return mn_cuda_wait(s, c->done[*index]);
}

mn_status mn_cuda_upload(mn_device *device, void *to, const void *from, size_t bytes) {
    mn_stream *s = device->stream;
    MN_TRY(mn_cuda_use(s));
    for (size_t done = 0; done < bytes;) {
        const size_t n = bytes - done < SLOT_BYTES ? bytes - done : (size_t)SLOT_BYTES;
        int i = 0;
        MN_TRY(take_slot(s, &i));
        memcpy(slot(s->copies, i), (const char *)from + done, n);
        MN_CUDA_TRY(cudaMemcpyAsync((char *)to + done, slot(s->copies, i), n,
                                    cudaMemcpyHostToDevice, s->stream));
        MN_CUDA_TRY(cudaEventRecord(s->copies->done[i], s->stream));
        done += n;
    }
    return MN_OK;
}

/* One slot is copied to the caller while the next one is filled by the device. */
mn_status mn_cuda_download(mn_device *device, void *to, const void *from, size_t bytes) {
    mn_stream *s = device->stream;
    size_t asked = 0, got = 0;
    int first = 0, waiting = 0;
    MN_TRY(mn_cuda_use(s));
    while (got < bytes) {
        for (; asked < bytes && waiting < 2; waiting++) {
            const size_t n = bytes - asked < SLOT_BYTES ? bytes - asked : (size_t)SLOT_BYTES;
            int i = 0;
            MN_TRY(take_slot(s, &i));
            if (waiting == 0) first = i;
            MN_CUDA_TRY(cudaMemcpyAsync(slot(s->copies, i), (const char *)from + asked, n,
                                        cudaMemcpyDeviceToHost, s->stream));
            MN_CUDA_TRY(cudaEventRecord(s->copies->done[i], s->stream));
            asked += n;
        }
        const size_t n = bytes - got < SLOT_BYTES ? bytes - got : (size_t)SLOT_BYTES;
        MN_TRY(mn_cuda_wait(s, s->copies->done[first]));
        memcpy((char *)to + got, slot(s->copies, first), n);
        got += n;
        first = (first + 1) % SLOTS;
        waiting--;
    }
    return MN_OK;
}
