#!/usr/bin/env python3
"""Writes the golden models of tests/golden with Hugging Face transformers on PyTorch.

Each folder is a tiny random model as a publisher would lay it out (config.json and weights), and
reference.safetensors: what transformers computes from those very files. Nothing is downloaded.

Versions (the files in the repository were made with these; others may change the bytes of the
weights files and the last digits of the logits):

    apt-get install python3-torch python3-numpy python3-venv       # Debian 12: torch 1.13.1
    /usr/bin/python3 -m venv --system-site-packages /tmp/golden-venv
    /tmp/golden-venv/bin/pip install transformers==4.35.2 safetensors==0.4.5
    /tmp/golden-venv/bin/python tools/make_golden.py tests/golden  # [NAME ...] for some only

reference.safetensors holds, for L in 1, 7, 513:

    ids_L     int32 [L]            the input tokens
    rows_L    int32 [R]            the positions whose logits are kept
    logits_L  float32 [R, vocab]   logits at these positions

and greedy_prompt int32 [7], greedy_ids int32 [64]: the continuation by argmax, which no end token
stops. At every step the best logit leads the second by more than GAP. All of it comes from a
float64 run on the stored weights (upcasts are exact); the script prints how far transformers' own
float32 run is from that. The rotary tables of the float64 run are float64 too: transformers rounds
its angles to float32, and how much that alone moves the logits is printed as "rope32".
"""
import argparse
import contextlib
import json
import pathlib
import shutil
import types

import torch
import transformers
from safetensors.torch import save_file
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, LlamaConfig, LlamaForCausalLM
from transformers.models.llama import modeling_llama

LENGTHS = (1, 7, 513)
KEPT_ROWS = 16   # of a long input
PROMPT = 7       # tokens
STEPS = 64
GAP = 1e-2       # least lead of the best logit over the second while decoding
PROMPTS = 16     # prompts tried; the most varied continuation is kept
MASK = 32        # side of the stored causal mask of old GPT-NeoX files (2048 in published ones)

CLASSES = {"gpt_neox": GPTNeoXForCausalLM, "llama": LlamaForCausalLM}
NEOX = dict(vocab_size=160, hidden_size=64, num_attention_heads=4, num_hidden_layers=3,
            intermediate_size=256, rotary_pct=0.25, rotary_emb_base=10000, hidden_act="gelu",
            max_position_embeddings=640, use_parallel_residual=True, layer_norm_eps=1e-5,
            bos_token_id=0, eos_token_id=0, tie_word_embeddings=False)
LLAMA = dict(vocab_size=160, hidden_size=64, num_attention_heads=4, num_key_value_heads=4,
             num_hidden_layers=3, intermediate_size=172, hidden_act="silu", rms_norm_eps=1e-5,
             max_position_embeddings=640, bos_token_id=1, eos_token_id=2,
             tie_word_embeddings=False)

# Keys that published files of older models lack; a reader must fall back to the defaults.
OLD_NEOX = ("attention_dropout", "hidden_dropout", "classifier_dropout", "rope_scaling")
OLD_LLAMA = ("num_key_value_heads", "rope_theta", "attention_bias", "pretraining_tp")

# Spread of the weights of some projections, others have 1: sharp attention, and residual branches
# that outweigh the token embedding, so that a continuation does not merely repeat its last token.
GAINS = dict(query_key_value=1.6, dense=3.0, dense_4h_to_h=3.0,
             q_proj=1.3, k_proj=1.3, o_proj=2.0, down_proj=2.0)


class Golden(types.SimpleNamespace):
    """One model, its stored type and the layout of its files."""
    dtype = torch.float32
    safe = True         # safetensors, or else pytorch_model.bin
    shard = "1GB"       # largest size of one weights file
    files = 1           # how many weights files that must give
    extra = None        # function(config) -> extra tensors of old files
    drop = ()           # keys left out of config.json


def inverse_frequencies(dims, base, dtype=torch.float32):
    return 1.0 / (base ** (torch.arange(0, dims, 2, dtype=dtype) / dims))


def neox_buffers(config):
    """What files of old GPT-NeoX classes also hold, halved with the rest of the model."""
    dims = int(config.hidden_size // config.num_attention_heads * config.rotary_pct)
    tensors = {}
    for layer in range(config.num_hidden_layers):
        at = f"gpt_neox.layers.{layer}.attention."
        # The type of the mask changed between releases: both occur in published files.
        kind = torch.uint8 if layer % 2 == 0 else torch.bool
        tensors[at + "bias"] = torch.ones(MASK, MASK).tril().to(kind).view(1, 1, MASK, MASK)
        tensors[at + "masked_bias"] = torch.tensor(-1e9).half()  # -inf
        inverse = inverse_frequencies(dims, config.rotary_emb_base)
        tensors[at + "rotary_emb.inv_freq"] = inverse.half()
    return tensors


def llama_buffers(config):
    """What files of old Llama classes also hold."""
    dims = config.hidden_size // config.num_attention_heads
    return {f"model.layers.{layer}.self_attn.rotary_emb.inv_freq":
            inverse_frequencies(dims, config.rope_theta)
            for layer in range(config.num_hidden_layers)}


MODELS = {
    "neox-parallel": Golden(config=GPTNeoXConfig(**NEOX)),
    "neox-sequential": Golden(
        config=GPTNeoXConfig(**{**NEOX, "hidden_size": 60, "rotary_pct": 0.4,
                                "intermediate_size": 100, "use_parallel_residual": False,
                                "tie_word_embeddings": True}),
        dtype=torch.float16),
    "neox-bf16": Golden(
        config=GPTNeoXConfig(**{**NEOX, "rotary_pct": 1.0, "num_hidden_layers": 2}),
        dtype=torch.bfloat16, shard=100_000, files=3),
    "neox-bin": Golden(
        config=GPTNeoXConfig(**NEOX), dtype=torch.float16,
        safe=False, shard=150_000, files=3, extra=neox_buffers, drop=OLD_NEOX),
    "llama-mha": Golden(
        config=LlamaConfig(**LLAMA), dtype=torch.float16, extra=llama_buffers, drop=OLD_LLAMA),
    "llama-gqa": Golden(
        config=LlamaConfig(**{**LLAMA, "hidden_size": 120, "num_attention_heads": 6,
                              "num_key_value_heads": 2, "num_hidden_layers": 2,
                              "intermediate_size": 160, "rms_norm_eps": 1e-6,
                              "tie_word_embeddings": True}),
        dtype=torch.bfloat16),
    "llama-bin": Golden(
        config=LlamaConfig(**{**LLAMA, "vocab_size": 157, "num_key_value_heads": 1,
                              "num_hidden_layers": 2, "intermediate_size": 112,
                              "rope_theta": 1000000.0}),
        safe=False),
}


@torch.no_grad()
def randomise(model, generator):
    """Random weights that leave no part of the model idle and spread the logits by some units."""
    head = model.get_output_embeddings()
    tied = model.config.tie_word_embeddings
    head_std = 3.0 / model.config.hidden_size ** 0.5

    def normal(tensor, mean, std):
        # Drawn in float64 so that the values do not depend on a float32 code path.
        draw = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
        tensor.copy_(draw * std + mean)

    for name, module in model.named_modules():
        if module is head:
            if not tied:
                normal(module.weight, 0, head_std)
        elif isinstance(module, torch.nn.Embedding):
            normal(module.weight, 0, head_std if tied else 1.0)
        elif isinstance(module, (torch.nn.LayerNorm, modeling_llama.LlamaRMSNorm)):
            normal(module.weight, 1, 0.25)
        elif isinstance(module, torch.nn.Linear):
            gain = GAINS.get(name.rpartition(".")[2], 1.0)
            normal(module.weight, 0, gain / module.in_features ** 0.5)
        if isinstance(getattr(module, "bias", None), torch.nn.Parameter):
            normal(module.bias, 0, 0.25)


def write_model(golden, folder, seed):
    """Writes config.json and the weights, as save_pretrained does."""
    model = CLASSES[golden.config.model_type](golden.config)
    randomise(model, torch.Generator().manual_seed(seed))
    model.to(golden.dtype)
    state = model.state_dict()
    if golden.extra:
        state = dict(sorted({**state, **golden.extra(golden.config)}.items()))
    model.save_pretrained(folder, state_dict=state, safe_serialization=golden.safe,
                          max_shard_size=golden.shard)
    (folder / "generation_config.json").unlink()

    written = list(folder.glob("model*.safetensors" if golden.safe else "pytorch_model*.bin"))
    assert len(written) == golden.files, written
    path = folder / "config.json"
    config = json.loads(path.read_text())
    for key in golden.drop:
        config.pop(key, None)
    path.write_text(json.dumps(config, indent=2) + "\n")


def read_model(golden, folder):
    """Loads the folder as any user of transformers would, in float32."""
    model, info = CLASSES[golden.config.model_type].from_pretrained(
        folder, torch_dtype=torch.float32, output_loading_info=True)
    assert not info["missing_keys"] and not info["mismatched_keys"], info
    assert all(name.endswith("inv_freq") for name in info["unexpected_keys"]), info
    return model.eval()


@contextlib.contextmanager
def float64():
    """Inside, transformers' defaults and modeling_llama's casts to float32 are float64."""
    class Wide:
        float32 = torch.float64

        def __getattr__(self, name):
            return getattr(torch, name)

    modeling_llama.torch = Wide()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
    modeling_llama.torch = torch


def exact_rotary(model):
    """Replaces the rotary tables, which transformers rounds to float32."""
    for module in model.modules():
        if hasattr(module, "cos_cached"):
            at = torch.arange(module.max_position_embeddings, dtype=torch.float64)
            angles = torch.outer(at, inverse_frequencies(module.dim, module.base, torch.float64))
            angles = torch.cat((angles, angles), dim=-1)
            module.cos_cached = angles.cos()
            module.sin_cached = angles.sin()


@torch.no_grad()
def logits_of(model, ids):
    """Logits at every position. (LlamaForCausalLM itself would round them to float32.)"""
    return model.get_output_embeddings()(model.base_model(ids, use_cache=False)[0])


def greedy(model, prompts):
    """Continues each prompt, without a cache; returns (variety, gap, prompt, answer) of the most
    varied continuation, where gap is the least lead that a best logit had."""
    ids, gaps = prompts, torch.full((len(prompts),), torch.inf, dtype=torch.float64)
    for _ in range(STEPS):
        best, at = logits_of(model, ids)[:, -1].topk(2)
        gaps = torch.minimum(gaps, best[:, 0] - best[:, 1])
        ids = torch.cat((ids, at[:, :1]), dim=1)
    answers = ids[:, prompts.shape[1]:]
    variety = [len(answer[-STEPS // 2:].unique()) if gap > GAP else 0
               for answer, gap in zip(answers, gaps)]
    pick = variety.index(max(variety))
    assert variety[pick] > 0, "no prompt gives a well-posed continuation"
    return variety[pick], gaps[pick].item(), prompts[pick], answers[pick]


def write_reference(golden, folder, seed):
    """Computes and writes reference.safetensors; returns a line of findings."""
    generator = torch.Generator().manual_seed(seed)

    def tokens(*shape):
        return torch.randint(0, golden.config.vocab_size, shape, generator=generator)

    single = read_model(golden, folder)
    rope32 = read_model(golden, folder).double()
    double = read_model(golden, folder).double()
    exact_rotary(double)

    out, worst, rope, spread = {}, 0.0, 0.0, 0.0
    with float64():
        for length in LENGTHS:
            ids = tokens(length)
            rows = torch.linspace(0, length - 1, min(length, KEPT_ROWS)).round().long()
            exact = logits_of(double, ids[None])[0]
            assert exact.dtype == torch.float64
            rope = max(rope, (logits_of(rope32, ids[None])[0] - exact).abs().max().item())
            spread = exact.std().item()
            out[f"ids_{length}"] = ids.int()
            out[f"rows_{length}"] = rows.int()
            out[f"logits_{length}"] = exact[rows].float().contiguous()
        variety, gap, prompt, answer = greedy(double, tokens(PROMPTS, PROMPT))
    for length in LENGTHS:
        narrow = logits_of(single, out[f"ids_{length}"][None])[0, out[f"rows_{length}"].long()]
        worst = max(worst, (narrow - out[f"logits_{length}"]).abs().max().item())

    # transformers' own decoder, in float32 and with its cache, must agree.
    single.generation_config.eos_token_id = None
    own = single.generate(prompt[None], max_new_tokens=STEPS, do_sample=False)[0, PROMPT:]
    assert torch.equal(own, answer)
    out.update(greedy_prompt=prompt.int(), greedy_ids=answer.int())
    # One entry only: safetensors writes several in random order.
    save_file(out, folder / "reference.safetensors",
              metadata={"made_by": f"transformers {transformers.__version__}"})
    return (f"std {spread:.2f}, float32 {worst:.1e}, rope32 {rope:.1e}, greedy gap {gap:.3f}, "
            f"{variety} distinct in the last {STEPS // 2}")


def main():
    parser = argparse.ArgumentParser(description="Writes the golden models.")
    parser.add_argument("folder", type=pathlib.Path, help="such as tests/golden")
    parser.add_argument("name", nargs="*", help="models to write (default: all)")
    options = parser.parse_args()
    torch.set_num_threads(1)  # one order of summation, and a light load
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for number, (name, golden) in enumerate(MODELS.items()):
        if options.name and name not in options.name:
            continue
        folder = options.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        write_model(golden, folder, seed=1000 + number)
        print(f"{name}: {write_reference(golden, folder, seed=2000 + number)}", flush=True)


if __name__ == "__main__":
    main()
