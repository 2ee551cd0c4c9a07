/* gpus.c - see gpus.h. Dense rates without sparsity at boost clock. The documents give NVLink and PCIe as the sum of
 * both directions; here it is half of that. */
#include "cli/gpus.h"

#define GB 1e9
#define TERA 1e12

const mn_gpu mn_gpus[MN_GPUS] = {
    {"a100-40gb", "NVIDIA A100 Tensor Core GPU data sheet, June 2021 (SXM)", 40 * GB, 1555 * GB,
     312 * TERA, 19.5 * TERA, 300 * GB, 32 * GB},
    {"a100-80gb", "NVIDIA A100 80GB Tensor Core GPU data sheet (SXM)", 80 * GB, 2039 * GB,
     312 * TERA, 19.5 * TERA, 300 * GB, 32 * GB},
    {"a100-80gb-pcie", "NVIDIA A100 80GB Tensor Core GPU data sheet (PCIe, NVLink bridge)", 80 * GB,
     1935 * GB, 312 * TERA, 19.5 * TERA, 300 * GB, 32 * GB},
    {"h100-sxm", "NVIDIA H100 Tensor Core GPU data sheet (SXM; half of the sparse rate)", 80 * GB,
     3350 * GB, 989.4 * TERA, 66.9 * TERA, 450 * GB, 64 * GB},
    {"h100-pcie", "NVIDIA H100 Tensor Core GPU data sheet (PCIe; half of the sparse rate)", 80 * GB,
     2000 * GB, 756.5 * TERA, 51.2 * TERA, 300 * GB, 64 * GB},
    {"h200", "NVIDIA H200 Tensor Core GPU data sheet (SXM; half of the sparse rate)", 141 * GB,
     4800 * GB, 989.4 * TERA, 66.9 * TERA, 450 * GB, 64 * GB},
    {"l40s", "NVIDIA L40S GPU data sheet", 48 * GB, 864 * GB, 362.05 * TERA, 91.6 * TERA, 0,
     32 * GB},
    {"a10", "NVIDIA A10 Tensor Core GPU data sheet", 24 * GB, 600 * GB, 125 * TERA, 31.2 * TERA, 0,
     32 * GB},
    {"l4", "NVIDIA L4 Tensor Core GPU data sheet (half of the sparse rate)", 24 * GB, 300 * GB,
     121 * TERA, 30.3 * TERA, 0, 32 * GB},
    {"rtx4090", "NVIDIA Ada GPU Architecture white paper, appendix A (FP16 with FP32 sums)",
     24 * GB, 1008 * GB, 165.2 * TERA, 82.6 * TERA, 0, 32 * GB},
};

const char *const mn_gpu_names[MN_GPUS + 1] = {
    "a100-40gb", "a100-80gb", "a100-80gb-pcie", "h100-sxm", "h100-pcie", "h200", "l40s",
    "a10",       "l4",        "rtx4090",        NULL};

double mn_gpu_seconds(const mn_gpu *gpu, const mn_tally_row *row) {
    if (row->unit == MN_TALLY_HOST) return row->bytes / gpu->pcie;
    if (row->unit == MN_TALLY_LINK) return row->bytes / (gpu->nvlink > 0 ? gpu->nvlink : gpu->pcie);
    const double flops = row->flops / (row->unit == MN_TALLY_TENSOR ? gpu->tensor : gpu->f32);
    const double bytes = row->bytes / gpu->bandwidth;
    return flops > bytes ? flops : bytes;
}
