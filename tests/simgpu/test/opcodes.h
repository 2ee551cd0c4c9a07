/* opcodes.h - the groups of instruction tests. */
#ifndef SIMGPU_OPCODES_H
#define SIMGPU_OPCODES_H

#include "harness.h"

namespace test {
void scalar_opcodes();
void memory_opcodes();
void warp_opcodes();
void control_opcodes();
} // namespace test
#endif
