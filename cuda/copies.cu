/* copies.cu - copies in two steps: the card reads and writes host memory that cannot move, and a batch travels while
 * the one before is at work.
 *
 * A ring of slots, each a piece of pinned memory and one of the device. An upload is cut into pieces of a slot.
 * A piece goes from the caller to the pinned slot (by the host), from there to the device's slot (on the stream of
 * the copies, beside whatever kernels run) and from there to its place (in the stream of the kernels, in turn: the
 * kernels in front may still read what was there). That last copy costs as much as reading the piece twice from
 * the card's memory, some percent of its way over the bus.
 *
 * Three waits keep the slots apart; none stops the kernels unless a piece has not arrived:
 *   the host       before it fills a pinned slot: until the last copy from or to it has passed;
 *   the copies     before they fill a device's slot: until the kernels' stream has taken the piece before;
 *   the kernels    before they take a piece: until it has arrived. */
#include "cuda/copies.h"

#include "cuda/collectives.h"
#include "cuda/device.h"

#include <stdlib.h>
#include <string.h>

/* Two large slots are enough to overlap; small batches' arrays get a slot each without waiting. */
enum { SLOTS = MN_CUDA_SLOTS, SLOT_BYTES = MN_CUDA_SLOT_BYTES };

struct mn_cuda_copies {
    cudaStream_t stream;
    unsigned char *pinned, *landing;         /* SLOTS x SLOT_BYTES, host and device */
    cudaEvent_t passed[SLOTS], taken[SLOTS]; /* pinned; device */
    int next;
};

static unsigned char *slot(unsigned char *slots, int index) {
    return slots + (size_t)index * SLOT_BYTES;
}

mn_status mn_cuda_copies_open(mn_cuda_copies **out) {
    mn_status st = MN_OK;
    mn_cuda_copies *c = (mn_cuda_copies *)calloc(1, sizeof *c);
    void *pinned = NULL, *landing = NULL;
    *out = NULL;
    MN_CHECK(c, MN_ERR_MEMORY, "no memory for pinned copies");
    MN_GOTO(mn_cuda_check(cudaStreamCreateWithFlags(&c->stream, cudaStreamNonBlocking),
                          "the stream of the copies"));
    MN_GOTO(mn_cuda_check(cudaHostAlloc(&pinned, (size_t)SLOTS * SLOT_BYTES, cudaHostAllocDefault),
                          "cudaHostAlloc"));
    c->pinned = (unsigned char *)pinned;
    MN_GOTO(mn_cuda_check(cudaMalloc(&landing, (size_t)SLOTS * SLOT_BYTES), "room for copies"));
    c->landing = (unsigned char *)landing;
    for (int i = 0; i < SLOTS; i++) {
        MN_GOTO(mn_cuda_check(cudaEventCreateWithFlags(&c->passed[i], cudaEventDisableTiming),
                              "cudaEventCreate"));
        MN_GOTO(mn_cuda_check(cudaEventCreateWithFlags(&c->taken[i], cudaEventDisableTiming),
                              "cudaEventCreate"));
    }
    *out = c;
    c = NULL;
done:
    mn_cuda_copies_close(&c);
    return st;
}

void mn_cuda_copies_close(mn_cuda_copies **copies) {
    mn_cuda_copies *c = *copies;
    if (!c) return;
    if (c->stream) cudaStreamSynchronize(c->stream);
    for (int i = 0; i < SLOTS; i++) {
        if (c->passed[i]) cudaEventDestroy(c->passed[i]);
        if (c->taken[i]) cudaEventDestroy(c->taken[i]);
    }
    cudaFree(c->landing);
    cudaFreeHost(c->pinned);
    if (c->stream) cudaStreamDestroy(c->stream);
    free(c);
    *copies = NULL;
}

/* An event that was never recorded has passed. */
static mn_status take_slot(mn_stream *s, int *index) {
    mn_cuda_copies *c = s->copies;
    *index = c->next;
    c->next = (c->next + 1) % SLOTS;
    return mn_cuda_wait(s, c->passed[*index]);
}

mn_status mn_cuda_upload(mn_device *device, void *to, const void *from, size_t bytes) {
    mn_stream *s = device->stream;
    mn_cuda_copies *c = s->copies;
    MN_TRY(mn_cuda_use(s));
    for (size_t done = 0; done < bytes;) {
        const size_t n = bytes - done < SLOT_BYTES ? bytes - done : (size_t)SLOT_BYTES;
        int i = 0;
        MN_TRY(take_slot(s, &i));
        memcpy(slot(c->pinned, i), (const char *)from + done, n);
        MN_CUDA_TRY(cudaStreamWaitEvent(c->stream, c->taken[i], 0));
        MN_CUDA_TRY(cudaMemcpyAsync(slot(c->landing, i), slot(c->pinned, i), n,
                                    cudaMemcpyHostToDevice, c->stream));
        MN_CUDA_TRY(cudaEventRecord(c->passed[i], c->stream));
        MN_CUDA_TRY(cudaStreamWaitEvent(s->stream, c->passed[i], 0));
        MN_CUDA_TRY(cudaMemcpyAsync((char *)to + done, slot(c->landing, i), n,
                                    cudaMemcpyDeviceToDevice, s->stream));
        MN_CUDA_TRY(cudaEventRecord(c->taken[i], s->stream));
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
            MN_CUDA_TRY(cudaMemcpyAsync(slot(s->copies->pinned, i), (const char *)from + asked, n,
                                        cudaMemcpyDeviceToHost, s->stream));
            MN_CUDA_TRY(cudaEventRecord(s->copies->passed[i], s->stream));
            asked += n;
        }
        const size_t n = bytes - got < SLOT_BYTES ? bytes - got : (size_t)SLOT_BYTES;
        MN_TRY(mn_cuda_wait(s, s->copies->passed[first]));
        memcpy((char *)to + got, slot(s->copies->pinned, first), n);
        got += n;
        first = (first + 1) % SLOTS;
        waiting--;
    }
    return MN_OK;
}
