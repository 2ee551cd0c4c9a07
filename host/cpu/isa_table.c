/* isa_table.c - the function table of one instruction set. */
#include "cpu/isa.h"

const mn_kernels MN_CPU(kernels) = {
#define MN_KERNEL(name, params) .name = MN_CPU(name),
#include "mneme/kernels.def"
#undef MN_KERNEL
};
