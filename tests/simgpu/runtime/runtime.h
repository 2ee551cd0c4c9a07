/* runtime.h - what the files of the simulated libcudart share. */
#ifndef SIMGPU_RUNTIME_H
#define SIMGPU_RUNTIME_H

#include "stream.h"
#include <map>
#include <string>

namespace sg {

enum class Option { LAZY_STREAMS, DEVICES, MEMORY_MIB, PATIENCE, NCCL_FAIL, SUMMARY, FAIL };
long long option_value(Option option);

/* Keeps an error for cudaGetLastError and gives it back. */
cudaError_t remember(cudaError_t error);
void drain_everything();        /* what can be done without standing still */
uint64_t take_graph_launches(); /* since the last call */

struct Registered {
    sg_module *module;
    std::string name;
    std::map<int, size_t>
        raised; /* limits of dynamic shared memory that cudaFuncSetAttribute set, per device */

    size_t shared_limit() const; /* on the current device */
};
/* NULL: not registered. */
Registered *kernel_of(const void *host_function);
Registered *variable_of(const void *host_variable);
/* Called before main can have changed anything: options, and the report at the end. */
void start_runtime();

constexpr size_t SHARED_DEFAULT = 48 * 1024, SHARED_OPT_IN = 163 * 1024, SHARED_PER_SM = 164 * 1024;
constexpr int SM_COUNT = 8;

} // namespace sg
#endif
