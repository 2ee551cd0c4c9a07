#!/usr/bin/env python3
"""bench_train_torch.py - the training step of `mneme bench --what train`, written by hand in plain
PyTorch: the reference that `mneme bench --reference` runs.

    mneme bench --shape pythia-410m --what train --reference "python3 tools/bench_train_torch.py"

A GPT-NeoX with frozen fp32 weights (or bf16 matrices with --compute bf16), memories behind some
blocks, cross-entropy, clipping and AdamW of the memories. The sizes come on the command line. Prints
one JSON object: tokens per second (the median) of a step with a loss on every token, of one with a
loss on the last tokens of each sequence only (the output matrix sees those rows alone), and of the
forward pass with logits for every token.

Starts itself again with the setting that was fastest on an AVX-512 processor: as many OpenMP
threads as mneme has, OpenBLAS's OpenMP build in place of the default BLAS, with the Haswell kernels,
and memory that is not given back between steps. Debian: python3-torch, libopenblas0-openmp.
"""
import argparse
import glob
import json
import os
import statistics
import sys
import time


def parse():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--arch", default="GPT-NeoX")
    p.add_argument("--layers", type=int, default=24)
    p.add_argument("--dim", type=int, default=1024)
    p.add_argument("--heads", type=int, default=16)
    p.add_argument("--ffn_dim", type=int, default=4096)
    p.add_argument("--vocab", type=int, default=50304)
    p.add_argument("--rotary_dims", type=int, default=16)
    p.add_argument("--parallel_residual", type=int, default=1)
    p.add_argument("--sequences", type=int, default=4)
    p.add_argument("--length", type=int, default=256)
    p.add_argument("--answer", type=int, default=4, help="target tokens of a sequence, template")
    p.add_argument("--memory_blocks", default="17,18,19")
    p.add_argument("--memory_hidden", type=int, default=128)
    p.add_argument("--compute", choices=("f32", "bf16"), default="f32")
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--repeat", type=int, default=5)
    p.add_argument("--seed", type=int, default=0)
    return p.parse_args()


def restart_with_best_setting(threads):
    """The libraries read these when they are loaded."""
    if os.environ.get("MNEME_REFERENCE_STARTED"):
        return
    env = dict(os.environ, MNEME_REFERENCE_STARTED="1", OMP_NUM_THREADS=str(threads))
    # Activations stay in the heap: fresh pages for each cost 14 % of the time.
    env.update(MALLOC_MMAP_MAX_="0", MALLOC_TRIM_THRESHOLD_=str(1 << 33), MALLOC_TOP_PAD_=str(1 << 26))
    blas = glob.glob("/usr/lib/*/openblas-openmp/libopenblas.so.0")
    if blas:
        env.update(LD_PRELOAD=blas[0], OPENBLAS_CORETYPE="Haswell")
    os.execve(sys.executable, [sys.executable] + sys.argv, env)


args = parse()
if args.arch != "GPT-NeoX":
    sys.exit(f"bench_train_torch.py: this reference is a GPT-NeoX, not a {args.arch}")
restart_with_best_setting(args.threads)

import torch  # noqa: E402  (after the setting)
import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402

torch.set_num_threads(args.threads)
torch.manual_seed(args.seed)
HEAD_DIM = args.dim // args.heads
FROZEN = torch.bfloat16 if args.compute == "bf16" else torch.float32


def frozen(*shape):
    return (torch.randn(*shape) * 0.02).to(FROZEN).requires_grad_(False)


def linear(x, w, b=None):
    """The output has the type of the matrix: activations inside of a block are bf16 with it."""
    return F.linear(x.to(FROZEN), w, b)


class Memory(nn.Module):
    """out = y + gate * LayerNorm(down(gelu(up(y))))"""

    def __init__(self):
        super().__init__()
        self.up = nn.Linear(args.dim, args.memory_hidden)
        self.down = nn.Linear(args.memory_hidden, args.dim)
        self.norm = nn.LayerNorm(args.dim)
        self.gate = nn.Parameter(torch.ones(()))
        for matrix in (self.up, self.down):
            nn.init.orthogonal_(matrix.weight, 2**0.5)
            nn.init.zeros_(matrix.bias)

    def forward(self, y):
        return y + self.gate * self.norm(self.down(F.gelu(self.up(y))))


class Block:
    def __init__(self):
        c = args.dim
        self.norm1 = (torch.ones(c), torch.zeros(c))
        self.norm2 = (torch.ones(c), torch.zeros(c))
        self.qkv = (frozen(3 * c, c), frozen(3 * c))
        self.out = (frozen(c, c), frozen(c))
        self.up = (frozen(args.ffn_dim, c), frozen(args.ffn_dim))
        self.down = (frozen(c, args.ffn_dim), frozen(c))

    def attention(self, x, cos, sin, mask):
        n, t, c = x.shape
        qkv = linear(x, *self.qkv).view(n, t, args.heads, 3 * HEAD_DIM).transpose(1, 2)
        q, k, v = qkv.split(HEAD_DIM, dim=-1)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        weights = torch.softmax(q @ k.transpose(-1, -2) * HEAD_DIM**-0.5 + mask, dim=-1)
        return linear((weights @ v).transpose(1, 2).reshape(n, t, c), *self.out)

    def mlp(self, x):
        return linear(F.gelu(linear(x, *self.up)), *self.down)

    def __call__(self, x, cos, sin, mask):
        c = (args.dim,)
        attended = self.attention(F.layer_norm(x, c, *self.norm1), cos, sin, mask)
        if args.parallel_residual:
            return x + attended + self.mlp(F.layer_norm(x, c, *self.norm2))
        x = x + attended
        return x + self.mlp(F.layer_norm(x, c, *self.norm2))


def rotate(x, cos, sin):
    """Half-split pairs of the first rotary_dims numbers of a head."""
    turned, rest = x[..., : args.rotary_dims], x[..., args.rotary_dims :]
    half = args.rotary_dims // 2
    other = torch.cat((-turned[..., half:], turned[..., :half]), dim=-1)
    return torch.cat((turned * cos + other * sin, rest), dim=-1)


class Model:
    def __init__(self):
        self.embed = frozen(args.vocab, args.dim)
        self.head = frozen(args.vocab, args.dim)
        self.norm = (torch.ones(args.dim), torch.zeros(args.dim))
        self.blocks = [Block() for _ in range(args.layers)]
        self.memories = nn.ModuleDict({b: Memory() for b in args.memory_blocks.split(",")})
        half = torch.arange(0, args.rotary_dims, 2) / args.rotary_dims
        angles = torch.outer(torch.arange(args.length), 10000.0**-half)
        angles = torch.cat((angles, angles), dim=-1)
        self.cos, self.sin = angles.cos().to(FROZEN), angles.sin().to(FROZEN)
        self.mask = torch.full((args.length, args.length), float("-inf")).triu(1).to(FROZEN)

    def hidden(self, ids):
        x = F.embedding(ids, self.embed).float()
        for i, block in enumerate(self.blocks):
            x = block(x, self.cos, self.sin, self.mask)
            if str(i) in self.memories:
                x = self.memories[str(i)](x)
        return x

    def logits(self, x):
        return linear(F.layer_norm(x, (args.dim,), *self.norm), self.head).float()


def rate(run):
    """Tokens per second, median; a first run does not count."""
    run()
    seconds = []
    for _ in range(args.repeat):
        begin = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begin)
    return args.sequences * args.length / statistics.median(seconds)


def main():
    model = Model()
    params = list(model.memories.parameters())
    optimizer = torch.optim.AdamW(params, lr=1e-3, weight_decay=0.05)
    ids = torch.randint(args.vocab, (args.sequences, args.length + 1))
    inputs, targets = ids[:, :-1], ids[:, 1:]

    def step(answer):
        optimizer.zero_grad()
        x = model.hidden(inputs)[:, -answer:].reshape(-1, args.dim)
        loss = F.cross_entropy(model.logits(x), targets[:, -answer:].reshape(-1))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(params, 10.0)
        optimizer.step()

    def forward():
        with torch.no_grad():
            model.logits(model.hidden(inputs))

    print(
        json.dumps(
            {
                "epoch1": rate(lambda: step(args.length)),
                "template": rate(lambda: step(args.answer)),
                "forward": rate(forward),
                "version": "PyTorch " + torch.__version__,
            }
        )
    )


if __name__ == "__main__":
    main()
