#!/usr/bin/env python3
"""Registers, shared memory and theoretical occupancy of every CUDA kernel, per chip, as a Markdown table.

    tools/kernel_table.py [--out FILE] [--arch 80,90] [FILE.cu ...]     default: cuda/*.cu, six chips

Compiles each file for each chip, as the release build does; needs nvcc and no GPU. Occupancy is that of blocks as large as the kernel's launch bounds and of its static shared memory:
smaller blocks and dynamic shared memory change it. Leaves with 1 when a kernel spills registers."""
import argparse
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# Per multiprocessor, CUDA C++ Programming Guide 13.0, table "Technical Specifications per Compute
# Capability": threads, blocks, shared bytes. All have 65536 registers, given out to warps in units of 256.
CHIPS = {
    80: (2048, 32, 164 << 10),
    86: (1536, 16, 100 << 10),
    89: (1536, 24, 100 << 10),
    90: (2048, 32, 228 << 10),
    100: (2048, 32, 228 << 10),
    120: (1536, 24, 100 << 10),
}
REGISTERS, SHARED_OF_A_BLOCK = 65536, 1 << 10  # what the system takes of each block's shared memory


def occupancy(chip, threads, registers, shared):
    """Resident threads of a multiprocessor over the most it can have, in percent."""
    most, blocks, bytes_ = CHIPS[chip]
    warps = (threads + 31) // 32
    per_warp = (registers * 32 + 255) // 256 * 256
    blocks = min(blocks, most // (32 * warps), REGISTERS // per_warp // warps,
                 bytes_ // (shared + SHARED_OF_A_BLOCK))
    return 100 * blocks * warps * 32 / most


def run(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return done.stdout + done.stderr


def launch_bounds(ptx):
    """Threads of a block, by mangled name."""
    found = re.finditer(r"\.entry (\w+)\(.*?\)\s*((?:\.\w+ [\d, ]+\s*)*)\{", ptx, re.S)
    bounds = {}
    for entry in found:
        most = re.search(r"\.maxntid (\d+)", entry[2])
        bounds[entry[1]] = int(most[1]) if most else 1024
    return bounds


def nvcc(file, out, *options):
    includes = [f"-I{os.path.join(ROOT, d)}" for d in ("", "include", "host")]
    return run(["nvcc", "-std=c++17", "-O3", *options, *includes, file, "-o", out])


def assemble(file, chip, cubin):
    """(registers, static shared bytes, spilled bytes) by mangled name."""
    text = nvcc(file, cubin, f"-arch=sm_{chip}", "-cubin", "-Xptxas=-v")
    found = {}
    for part in text.split("Compiling entry function '")[1:]:
        name = part[: part.index("'")]
        spills = re.findall(r"(\d+) bytes spill (?:stores|loads)", part)
        shared = re.search(r"(\d+) bytes smem", part)
        found[name] = (int(re.search(r"Used (\d+) registers", part)[1]),
                       int(shared[1]) if shared else 0, sum(map(int, spills)))
    return found


def short(names):
    """Readable names: no parameters, no return type."""
    plain = run(["c++filt", "-p"] + names).split("\n")
    return [re.sub(r"^void ", "", p).replace("(int)", "") for p in plain]


def table(files, chips):
    rows, spilled = [], []
    with tempfile.TemporaryDirectory() as folder:
        for file in files:
            ptx = os.path.join(folder, "kernels.ptx")
            nvcc(file, ptx, "-arch=compute_80", "-ptx")
            with open(ptx, encoding="utf-8") as f:
                bounds = launch_bounds(f.read())
            if not bounds:
                continue
            used = {c: assemble(file, c, os.path.join(folder, "cubin")) for c in chips}
            for name, plain in zip(bounds, short(list(bounds))):
                threads = bounds[name]
                cells = [f"{os.path.basename(file)}", f"`{plain}`", f"{threads}",
                         f"{used[chips[0]][name][1]}"]
                for c in chips:
                    registers, shared, spills = used[c][name]
                    cells.append(f"{registers}, {occupancy(c, threads, registers, shared):.0f} %")
                    if spills:
                        spilled.append(f"{plain} spills {spills} bytes on sm_{c}")
                rows.append(cells)
    return rows, spilled


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", help="file to write; default: standard output")
    parser.add_argument("--arch", default=",".join(map(str, CHIPS)), help="chips, as 80,90")
    parser.add_argument("files", nargs="*", help="default: cuda/*.cu")
    args = parser.parse_args()
    os.environ["PATH"] += ":/usr/local/cuda/bin"
    chips = [int(a) for a in args.arch.split(",")]
    unknown = [c for c in chips if c not in CHIPS]
    if unknown:
        sys.exit(f"unknown chips {unknown}; known: {', '.join(map(str, CHIPS))}")
    folder = os.path.join(ROOT, "cuda")
    files = args.files or sorted(os.path.join(folder, f) for f in os.listdir(folder)
                                 if f.endswith(".cu"))
    rows, spilled = table(files, chips)
    head = ["file", "kernel", "threads", "shared"] + [f"sm_{c}" for c in chips]
    lines = ["| " + " | ".join(r) + " |" for r in [head, ["---"] * len(head)] + rows]
    text = "Registers per thread and theoretical occupancy (calculated, not measured).\n\n"
    text += "\n".join(lines) + "\n"
    if args.out:
        with open(args.out, "w", encoding="utf-8") as f:
            f.write(text)
    else:
        sys.stdout.write(text)
    for line in spilled:
        print(line, file=sys.stderr)
    return 1 if spilled else 0


if __name__ == "__main__":
    sys.exit(main())
