/* simgpu.h - a simulated GPU: runs the PTX that nvcc produced on the CPU and checks every access.
 *
 * The shared libraries libcudart.so.13, libcublas(Lt).so.13 and libnccl.so.2 of this folder stand on
 * these functions; tests of single kernels may call them directly. Not thread-safe: the libraries take
 * one lock around each call. README.md says what is checked and what is not known. */
#ifndef SIMGPU_H
#define SIMGPU_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sg_module sg_module;
typedef struct sg_dim3 {
    unsigned x, y, z;
} sg_dim3;

/* Counters of one launch. They do not depend on the machine or on time. */
typedef struct sg_stats {
    uint64_t blocks, warps;
    uint64_t warp_insts, thread_insts;     /* issued per warp; lanes that took part */
    uint64_t branches, divergent_branches; /* divergent: some lanes jumped and some did not */
    uint64_t barriers;                     /* bar.sync generations completed */
    uint64_t mma, mma_flops, ldmatrix, cp_async, atomics, shuffles;
    uint64_t load_requests, load_sectors;   /* global loads per warp; 32-byte sectors they touch */
    uint64_t store_requests, store_sectors; /* the same for global stores */
    uint64_t shared_requests;
    uint64_t shared_wavefronts,
        shared_ideal; /* passes through the banks; passes without conflicts */
} sg_stats;

/* Sets an option of core/options.def. 0, or -1 when there is none of that name. */
int sg_option(const char *name, long long value);
/* Takes SIMGPU_<NAME> from the environment for every option. */
void sg_options_from_environment(void);

/* Parses PTX text. NULL and a message in err when it cannot. */
sg_module *sg_load(const char *ptx, char *err, size_t err_size);
sg_module *sg_load_file(const char *path, char *err, size_t err_size);
void sg_unload(sg_module *module);
int sg_kernel_count(const sg_module *module);
const char *sg_kernel_name(const sg_module *module, int i);
/* Number of parameters and, when sizes is not NULL, the bytes of each. -1: no such kernel. */
int sg_kernel_params(sg_module *module, const char *kernel, int *count, size_t *sizes);
/* Static shared memory in bytes and the limit of __launch_bounds__ (0: none). -1: no such kernel. */
int sg_kernel_limits(sg_module *module, const char *kernel, size_t *shared, int *max_threads);

enum { SG_BAD_LAUNCH = -1, SG_CANNOT_RUN = -2 };
/* Checks the configuration alone: 0 or SG_BAD_LAUNCH or SG_CANNOT_RUN, with a report. */
int sg_check_launch(sg_module *module, const char *kernel, sg_dim3 grid, sg_dim3 block,
                    size_t dynamic_shared);
/* Runs a kernel; args as in cudaLaunchKernel. 0: no error was reported; > 0: number of errors;
 * SG_BAD_LAUNCH: configuration refused; SG_CANNOT_RUN: an instruction is not known. */
int sg_launch(sg_module *module, const char *kernel, sg_dim3 grid, sg_dim3 block,
              size_t dynamic_shared, void **args);
const sg_stats *sg_last_stats(void);
/* libcudart alone: the sums over all launches so far of kernels whose name, as the compiler changed it,
 * contains `part`. Waits for none. */
void sg_totals(const char *part, sg_stats *sums);
/* Sums over all launches of this process that have run; libcudart.so.13 has it. */
void sg_total_stats(sg_stats *out);

/* libcudart.so.13 alone: what was run since the last call of this function, all that was submitted: kernels, graphs,
 * and a hash over the kernels' names, sizes and arguments, in their order. */
typedef struct sg_work {
    uint64_t kernels, graphs, sequence;
} sg_work;
void sg_work_done(sg_work *out);
/* The device that allocations and launches belong to from here on, 0 at first. Kernels may touch memory of their own
 * device only. sg_device_of: the device of an address, -1 when it is no device memory. */
int sg_use_device(int device); /* returns the one before */
int sg_device_of(const void *address);

/* Device memory. Addresses are not dereferenceable by the host. malloc gives 0 when it cannot. */
uint64_t sg_malloc(size_t bytes);
int sg_free(uint64_t address);
int sg_copy_in(uint64_t to, const void *from, size_t bytes);
int sg_copy_out(void *to, uint64_t from, size_t bytes);
int sg_copy(uint64_t to, uint64_t from, size_t bytes);
int sg_fill(uint64_t to, int value, size_t bytes);
int sg_symbol(sg_module *module, const char *name, uint64_t *address, size_t *bytes);
int sg_is_device(const void *address);
/* The host's view of device bytes, for libraries that compute on the host. NULL: out of bounds.
 * sg_mark_read reports uninitialised bytes, sg_mark_written initialises. */
void *sg_host_view(uint64_t address, size_t bytes);
void sg_mark_read(uint64_t address, size_t bytes, const char *what);
void sg_mark_written(uint64_t address, size_t bytes);
size_t sg_live_bytes(void);
size_t sg_live_allocations(void);

/* Reports since the last sg_clear_reports; equal ones are counted once. An error is certainly wrong,
 * a warning is wrong unless the author can say why not. */
int sg_report_count(void);
const char *sg_report(int i, int *is_error, uint64_t *times);
void sg_clear_reports(void);
/* Adds a report, as the libraries do. */
void sg_add_report(int is_error, const char *key, const char *text);

/* The table of opcodes and how many instructions of each were built so far. */
int sg_opcode_count(void);
const char *sg_opcode_name(int i);
uint64_t sg_opcode_uses(int i);

#ifdef __cplusplus
}
#endif
#endif
