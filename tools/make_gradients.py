#!/usr/bin/env python3
"""Writes the golden gradients of tests/golden/gradients with transformers on PyTorch, in float64.

Each folder is a tiny random model, an adapter for it (adapter_config.json and
adapter_model.safetensors, as `mneme train` writes them) and reference.safetensors: loss and gradients
that PyTorch's autograd finds. Nothing is downloaded. Versions and set-up are those of make_golden.py:

    /tmp/golden-venv/bin/python tools/make_gradients.py tests/golden/gradients  # [NAME ...]

reference.safetensors holds a packed batch, sequences one behind the other, and what comes of it:

    ids       int32 [T]       tokens
    lengths   int32 [S]       of the sequences
    outputs   int32 [R]       tokens behind which the model should say ...
    targets   int32 [R]       ... these
    loss, full.loss           float64 [1]: the sum of -log p(target), with and without the memories
    memory.B.PARAMETER        float32: gradient of a parameter of the memory behind block B
    full.WEIGHT               float32: gradient of a weight, without memories

Gradients are computed in float64 on the stored weights and rounded to float32 at the end (relative
6e-8). The script prints how far PyTorch's own float32 run is from them, as the largest
||difference|| / ||reference|| of any tensor.
"""
import argparse
import json
import pathlib
import shutil

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import GPTNeoXConfig, LlamaConfig

from make_golden import (LLAMA, NEOX, Golden, exact_rotary, float64, read_model, write_model)

LENGTHS = (17, 3, 26, 1, 9)  # uneven, one of a single token
SHARE = 0.4                  # of the tokens that have a target
BATCHES = 16                 # tried; the best conditioned one is kept
SMALL = dict(vocab_size=61, max_position_embeddings=64)

MODELS = {
    # name: model, blocks with memories, their hidden size
    "neox-parallel": (Golden(config=GPTNeoXConfig(
        **{**NEOX, **SMALL, "hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 4,
           "intermediate_size": 64})), (1, 2), 8),
    "neox-sequential": (Golden(config=GPTNeoXConfig(
        **{**NEOX, **SMALL, "hidden_size": 30, "num_attention_heads": 2, "num_hidden_layers": 3,
           "intermediate_size": 44, "rotary_pct": 0.4, "use_parallel_residual": False,
           "tie_word_embeddings": True}), dtype=torch.float16), (0, 2), 12),
    "llama-gqa": (Golden(config=LlamaConfig(
        **{**LLAMA, **SMALL, "hidden_size": 48, "num_attention_heads": 6,
           "num_key_value_heads": 2, "num_hidden_layers": 3, "intermediate_size": 56,
           "tie_word_embeddings": True}), dtype=torch.bfloat16), (1, 2), 8),
    # The only memory stands behind the last block: nothing but it and the output matrix remains.
    "llama-last": (Golden(config=LlamaConfig(
        **{**LLAMA, **SMALL, "hidden_size": 24, "num_attention_heads": 3,
           "num_key_value_heads": 3, "num_hidden_layers": 2, "intermediate_size": 40})), (1,), 8),
}


class Memory(torch.nn.Module):
    """out = y + gate * LayerNorm(down(gelu(up(y))))"""

    def __init__(self, dim, hidden):
        super().__init__()
        self.up = torch.nn.Linear(dim, hidden)
        self.down = torch.nn.Linear(hidden, dim)
        self.norm = torch.nn.LayerNorm(dim, eps=1e-5)
        self.gate = torch.nn.Parameter(torch.ones(1))

    def forward(self, y):
        inner = torch.nn.functional.gelu(self.up(y))
        return y + self.gate * self.norm(self.down(inner))


def make_memory(dim, hidden, generator):
    """Away from the initial values, so that no gradient is the same by chance."""
    memory = Memory(dim, hidden)
    with torch.no_grad():
        for parameter in memory.parameters():
            draw = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(draw * 0.3)
        memory.norm.weight.add_(1.0)
        memory.gate.copy_(torch.tensor([0.7]))
    return memory


def write_adapter(folder, name, model, blocks, hidden, seed):
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for block in blocks:
        memory = make_memory(model.config.hidden_size, hidden, generator)
        tensors.update({f"memory.{block}.{key}": value.detach().clone()
                        for key, value in memory.state_dict().items()})
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {"peft_type": "MNEME_MEMORY", "task_type": "CAUSAL_LM",
              "base_model_name_or_path": name, "name": "golden",
              "hidden_size": model.config.hidden_size, "hidden": hidden, "blocks": list(blocks),
              "activation": "gelu", "norm": "layer_norm", "gate": "scalar",
              "inference_mode": True}
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")


def read_adapter(folder, dtype):
    """The memories by block, from the files."""
    config = json.loads((folder / "adapter_config.json").read_text())
    tensors = load_file(folder / "adapter_model.safetensors")
    memories = {}
    for block in config["blocks"]:
        memory = Memory(config["hidden_size"], config["hidden"])
        start = f"memory.{block}."
        memory.load_state_dict({key[len(start):]: value for key, value in tensors.items()
                                if key.startswith(start)})
        memories[block] = memory.to(dtype)
    return memories


def attach(model, memories):
    """Behind their blocks, as forward hooks; returns these."""
    layers = model.base_model.layers
    return [layers[block].register_forward_hook(
                lambda module, args, output, memory=memory: (memory(output[0]), *output[1:]))
            for block, memory in memories.items()]


def make_batch(vocab, seed):
    generator = torch.Generator().manual_seed(seed)
    total = sum(LENGTHS)
    chosen = torch.rand(total, generator=generator) < SHARE
    outputs = chosen.nonzero()[:, 0]
    return {"ids": torch.randint(0, vocab, (total,), generator=generator),
            "lengths": torch.tensor(LENGTHS), "outputs": outputs,
            "targets": torch.randint(0, vocab, (len(outputs),), generator=generator)}


def loss_of(model, batch):
    """The sum over targets; each sequence runs on its own."""
    hidden, at = [], 0
    for length in batch["lengths"].tolist():
        ids = batch["ids"][at:at + length].long()
        hidden.append(model.base_model(ids[None], use_cache=False)[0][0])
        at += length
    logits = model.get_output_embeddings()(torch.cat(hidden)[batch["outputs"].long()])
    return torch.nn.functional.cross_entropy(logits, batch["targets"].long(), reduction="sum")


def gradients_of(golden, folder, batch, dtype):
    """All that reference.safetensors holds besides the batch, in `dtype`."""
    model, memories, out = read_model(golden, folder).to(dtype), read_adapter(folder, dtype), {}
    if dtype == torch.float64:
        exact_rotary(model)
    full = loss_of(model, batch)
    full.backward()
    out["full.loss"] = full.detach()[None]
    out.update({f"full.{name}": parameter.grad.clone()
                for name, parameter in model.named_parameters()})
    model.requires_grad_(False)
    attach(model, memories)
    loss = loss_of(model, batch)
    loss.backward()
    assert loss.dtype == dtype
    out["loss"] = loss.detach()[None]
    for block, memory in memories.items():
        out.update({f"memory.{block}.{name}": parameter.grad.clone()
                    for name, parameter in memory.named_parameters()})
    return out


def write_reference(golden, folder, seed):
    """Of BATCHES batches the one that float32 computes best: a gradient that is the small difference
    of large numbers, as a gate's may be, would test the batch rather than the program."""
    best = None
    for tried in range(BATCHES):
        batch = make_batch(golden.config.vocab_size, seed + 100 * tried)
        with float64():
            exact = gradients_of(golden, folder, batch, torch.float64)
        single = gradients_of(golden, folder, batch, torch.float32)
        worst = max(((single[name].double() - value).norm() / value.norm()).item()
                    for name, value in exact.items())
        if best is None or worst < best[0]:
            best = worst, batch, exact
    worst, batch, exact = best
    out = {name: value if name.endswith("loss") else value.float() for name, value in exact.items()}
    out.update({name: value.int() for name, value in batch.items()})
    # One entry only: safetensors writes several in random order.
    save_file(out, folder / "reference.safetensors",
              metadata={"made_by": f"transformers {transformers.__version__}"})
    return (f"{len(batch['targets'])} targets, loss {exact['loss'].item():.3f}, "
            f"PyTorch's float32 is off by {worst:.1e}")


def main():
    parser = argparse.ArgumentParser(description="Writes the golden gradients.")
    parser.add_argument("folder", type=pathlib.Path, help="such as tests/golden/gradients")
    parser.add_argument("name", nargs="*", help="models to write (default: all)")
    options = parser.parse_args()
    torch.set_num_threads(1)  # one order of summation, and a light load
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for number, (name, (golden, blocks, hidden)) in enumerate(MODELS.items()):
        if options.name and name not in options.name:
            continue
        folder = options.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        write_model(golden, folder, seed=3000 + number)
        write_adapter(folder, name, golden, blocks, hidden, seed=4000 + number)
        print(f"{name}: {write_reference(golden, folder, seed=5000 + number)}", flush=True)


if __name__ == "__main__":
    main()
