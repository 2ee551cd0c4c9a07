/* options.cpp - the options that the libraries, not the machine, look at. */
#include "report.h"
#include "runtime.h"

namespace sg {

long long option_value(Option option) {
    start_runtime();
    switch (option) {
    case Option::LAZY_STREAMS: return options.lazy_streams;
    case Option::DEVICES: return options.devices;
    case Option::MEMORY_MIB: return options.memory_mib;
    case Option::PATIENCE: return options.patience;
    case Option::NCCL_FAIL: return options.nccl_fail;
    case Option::SUMMARY: return options.summary;
    default: return options.fail;
    }
}

} // namespace sg
