/* gpus.c - see gpus.h. Dense rates without sparsity at boost clock. The documents give NVLink and PCIe as the sum of
 * both directions; here it is half of that. */
#include "cli/gpus.h"

/* Name, document; GB of memory; GB/s of memory; TFLOP/s of fp16 with fp32 sums, of fp32; GB/s of NVLink, of PCIe. */
#define GPUS(G)                                                                                    \
    G("a100-40gb", "NVIDIA A100 Tensor Core GPU data sheet, June 2021 (SXM)", 40, 1555, 312, 19.5, \
      300, 32)                                                                                     \
    G("a100-80gb", "NVIDIA A100 80GB Tensor Core GPU data sheet (SXM)", 80, 2039, 312, 19.5, 300,  \
      32)                                                                                          \
    G("a100-80gb-pcie",                                                                            \
      "NVIDIA A100 80GB Tensor Core GPU data sheet (PCIe; NVLink bridges join two cards)", 80,     \
      1935, 312, 19.5, 300, 32)                                                                    \
    G("h100-sxm", "NVIDIA H100 Tensor Core GPU Architecture white paper (SXM)", 80, 3350, 989.4,   \
      66.9, 450, 64)                                                                               \
    G("h100-pcie",                                                                                 \
      "NVIDIA H100 Tensor Core GPU Architecture white paper (PCIe; NVLink bridges join two "       \
      "cards)",                                                                                    \
      80, 2000, 756.5, 51.2, 300, 64)                                                              \
    G("h200", "NVIDIA H200 Tensor Core GPU data sheet (SXM); arithmetic as H100", 141, 4800,       \
      989.4, 66.9, 450, 64)                                                                        \
    G("l40s", "NVIDIA L40S GPU data sheet", 48, 864, 362.05, 91.6, 0, 32)                          \
    G("a10", "NVIDIA A10 Tensor Core GPU data sheet", 24, 600, 125, 31.2, 0, 32)                   \
    G("l4", "NVIDIA L4 Tensor Core GPU data sheet (half of the sparse rate)", 24, 300, 121, 30.3,  \
      0, 32)                                                                                       \
    G("rtx4090", "NVIDIA Ada GPU Architecture white paper, appendix A (FP16 with FP32 sums)", 24,  \
      1008, 165.2, 82.6, 0, 32)

#define RATES(id, document, gb, gb_s, half, single, link, bus)                                     \
    {.name = id,                                                                                   \
     .source = document,                                                                           \
     .memory = gb * 1e9,                                                                           \
     .bandwidth = gb_s * 1e9,                                                                      \
     .tensor = half * 1e12,                                                                        \
     .f32 = single * 1e12,                                                                         \
     .nvlink = link * 1e9,                                                                         \
     .pcie = bus * 1e9},
const mn_gpu mn_gpus[MN_GPUS] = {GPUS(RATES)};

#define NAME(id, document, gb, gb_s, half, single, link, bus) id,
const char *const mn_gpu_names[MN_GPUS + 1] = {GPUS(NAME) NULL};

double mn_gpu_seconds(const mn_gpu *gpu, const mn_tally_row *row) {
    if (row->unit == MN_TALLY_HOST) return row->bytes / gpu->pcie;
    if (row->unit == MN_TALLY_LINK) return row->bytes / (gpu->nvlink > 0 ? gpu->nvlink : gpu->pcie);
    const double flops = row->flops / (row->unit == MN_TALLY_TENSOR ? gpu->tensor : gpu->f32);
    const double bytes = row->bytes / gpu->bandwidth;
    return flops > bytes ? flops : bytes;
}
