#!/usr/bin/env python3
"""Writes the golden loss traces of tests/golden/trace: 50 steps of training in PyTorch, in float64.

Models and adapters to start from are those of tests/golden/gradients. The training texts are written
first (texts.jsonl, tokens as "<12>"), then trained on as `mneme train` documents it: chunks, the order
of samples (Philox and a Feistel network, written here a second time), batches packed into steps, the
mean over all targets of a step, torch.nn.utils.clip_grad_norm_, torch.optim.AdamW with decay groups,
transformers' schedules. Versions and set-up are those of make_golden.py:

    /tmp/golden-venv/bin/python tools/make_loss_trace.py tests/golden

NAME.json holds the settings and per step the loss (before the step) and the gradient's norm (before
clipping). The script prints how far PyTorch's own float32 run is from that.
"""
import argparse
import json
import pathlib
import random

import torch
import transformers
from transformers import get_scheduler

from make_golden import exact_rotary, float64, read_model
from make_gradients import MODELS, attach, loss_of, read_adapter

STEPS, VOCAB, SEED = 50, 61, 1234
SETTINGS = dict(weight_decay=0.2, warmup_steps=5, max_grad_norm=1.0,
                per_device_train_batch_size=2, gradient_accumulation_steps=2, chunk_length=20,
                chunk_stride=12)
TRACES = {
    # name: model, what trains, rate, schedule, groups that decay
    "neox-memory": ("neox-parallel", "memory", 0.05, "cosine", ["weight"]),
    "llama-memory": ("llama-gqa", "memory", 0.05, "linear", ["weight", "bias", "norm", "gate"]),
    "neox-full": ("neox-parallel", "full", 0.004, "constant_with_warmup", ["weight", "norm"]),
}


# ---- texts ----

def write_texts(path):
    """Twelve texts, long and short, and five prompts with completions."""
    draw, lines = random.Random(7), []
    for number in range(17):
        ids = [draw.randrange(VOCAB) for _ in range(draw.randrange(4, 36))]
        ids[2:] = [ids[i - 2] if draw.random() < 0.5 else ids[i] for i in range(2, len(ids))]
        if number % 3 == 2:
            cut = 1 + draw.randrange(min(len(ids), 20) - 1)
            lines.append({"prompt": show(ids[:cut]), "completion": show(ids[cut:20])})
        else:
            lines.append({"text": show(ids)})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def show(ids):
    return "".join(f"<{i}>" for i in ids)


def read(text):
    return [int(number) for number in text[1:-1].split("><")]


def samples_of(path):
    """(tokens, first token that is asked for) per sample."""
    length, stride, out = SETTINGS["chunk_length"], SETTINGS["chunk_stride"], []
    for line in path.read_text().splitlines():
        entry = json.loads(line)
        if "prompt" in entry:
            prompt = read(entry["prompt"])
            out.append((prompt + read(entry["completion"]), len(prompt)))
            continue
        ids, asked = read(entry["text"]), 1
        for begin in range(0, len(ids), stride):
            chunk = ids[begin:begin + length + 1]
            out.append((chunk, asked - begin))
            asked = begin + len(chunk)
            if asked == len(ids):
                break
    return out


# ---- order ----

def philox(seed, stream, index):
    """First word of Philox4x32-10 (Salmon et al. 2011)."""
    low, c = 0xFFFFFFFF, [index & 0xFFFFFFFF, index >> 32, stream & 0xFFFFFFFF, stream >> 32]
    k = [seed & low, seed >> 32]
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ k[0], b & low, (a >> 32) ^ c[3] ^ k[1], a & low]
        k = [(k[0] + 0x9E3779B9) & low, (k[1] + 0xBB67AE85) & low]
    return c[0]


def place(epoch, index, count):
    half = 1
    while 4 ** half < count:
        half += 1
    mask, stream = 2 ** half - 1, (int.from_bytes(b"epoch", "big") << 24) | epoch
    while True:
        left, right = index >> half, index & mask
        for number in range(6):
            left, right = right, left ^ (philox(SEED, stream, number << 32 | right) & mask)
        index = left << half | right
        if index < count:
            return index


# ---- training ----

def batch_of(samples):
    ids, lengths, outputs, targets = [], [], [], []
    for tokens, asked in samples:
        outputs += [len(ids) + i - 1 for i in range(asked, len(tokens))]
        targets += tokens[asked:]
        ids += tokens[:-1]
        lengths.append(len(tokens) - 1)
    return {"ids": torch.tensor(ids), "lengths": torch.tensor(lengths),
            "outputs": torch.tensor(outputs), "targets": torch.tensor(targets)}


def group_of(name, parameter):
    if name.endswith("gate"):
        return "gate"
    if "norm" in name:
        return "norm"
    return "weight" if parameter.ndim == 2 else "bias"


def train(trace, folder, texts, dtype):
    model_name, update, rate, schedule, groups = TRACES[trace]
    model = read_model(MODELS[model_name][0], folder / model_name).to(dtype)
    if dtype == torch.float64:
        exact_rotary(model)
    named = list(model.named_parameters())
    if update == "memory":
        model.requires_grad_(False)
        memories = read_adapter(folder / model_name, dtype)
        attach(model, memories)
        named = [(f"{block}.{name}", parameter) for block, memory in memories.items()
                 for name, parameter in memory.named_parameters()]
    decaying = [p for name, p in named if group_of(name, p) in groups]
    others = [p for name, p in named if group_of(name, p) not in groups]
    optimizer = torch.optim.AdamW(
        [{"params": decaying, "weight_decay": SETTINGS["weight_decay"]},
         {"params": others, "weight_decay": 0.0}], lr=rate)
    scheduler = get_scheduler(schedule, optimizer, SETTINGS["warmup_steps"], STEPS)
    samples, losses, norms = samples_of(texts), [], []
    size = SETTINGS["per_device_train_batch_size"] * SETTINGS["gradient_accumulation_steps"]
    per_epoch = -(-len(samples) // size)
    for step in range(STEPS):
        epoch, begin = step // per_epoch, step % per_epoch * size
        chosen = [samples[place(epoch, i, len(samples))]
                  for i in range(begin, min(begin + size, len(samples)))]
        optimizer.zero_grad()
        batch = batch_of(chosen)
        loss = loss_of(model, batch) / len(batch["targets"])
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_([p for _, p in named], SETTINGS["max_grad_norm"])
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
        norms.append(norm.item())
    return losses, norms


def main():
    parser = argparse.ArgumentParser(description="Writes the golden loss traces.")
    parser.add_argument("golden", type=pathlib.Path, help="tests/golden")
    options = parser.parse_args()
    out, models = options.golden / "trace", options.golden / "gradients"
    out.mkdir(exist_ok=True)
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    write_texts(out / "texts.jsonl")
    for name, (model, update, rate, schedule, groups) in TRACES.items():
        with float64():
            losses, norms = train(name, models, out / "texts.jsonl", torch.float64)
        single, _ = train(name, models, out / "texts.jsonl", torch.float32)
        worst = max(abs(a / b - 1) for a, b in zip(single, losses))
        entry = {"model": model, "update": update, "schedule": schedule.split("_")[0],
                 "learning_rate": rate, "decay_groups": groups, "seed": SEED, **SETTINGS, "loss": losses,
                 "grad_norm": norms, "made_by": f"torch {torch.__version__}, transformers "
                                                f"{transformers.__version__}"}
        (out / f"{name}.json").write_text(json.dumps(entry, indent=1) + "\n")
        print(f"{name}: loss {losses[0]:.4f} to {losses[-1]:.4f}, PyTorch's float32 is off by "
              f"{worst:.1e}", flush=True)


if __name__ == "__main__":
    main()
