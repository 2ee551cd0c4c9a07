#!/usr/bin/env python3
"""Writes data/demo-model/config.json and model.safetensors: Pythia-shaped, knowing nothing.

    python3 tools/make_demo_model.py data/demo-model      # Python alone; reads tokenizer.json there

Folder, keys, names and types are those of the published Pythia models (GPT-NeoX, parallel residual,
fp16, vocabulary padded to a multiple of 64); four layers of 64, so that one block lies at 70-80 %
of the depth. The weights are seeded random numbers, except for two things that keep a demo
readable:

- A chain ":" -> " (" -> a, b or c -> ")" -> newline. Each arrow is a random direction of which the
  embedding of the left and the output rows of the right token hold a part: greedy decoding then
  answers in the template's form, with a letter that the random rest chooses.
- The output rows of the padding are zero, so ids without a token are not decoded.

The seed was chosen among the first fifty for answers that spread over the three letters.
"""
import argparse
import json
import math
import pathlib
import random
import struct

SEED = 10
HIDDEN, LAYERS, HEADS, INNER = 64, 4, 4, 256
EMBED, OUTPUT = 0.5, 0.12      # standard deviation of the two embedding tables
MIX, ADD = 0.2, 0.05           # of weights that read the residual stream, that write to it
PULL_IN, PULL_OUT = 8.0, 6.0   # length of the chain's parts

CHAIN = ((":", "\u0120("), ("\u0120(", "abc"), ("abc", ")"), (")", "\u010a"))


def config(vocab):
    return {"architectures": ["GPTNeoXForCausalLM"], "bos_token_id": 0, "eos_token_id": 0,
            "hidden_act": "gelu", "hidden_size": HIDDEN, "initializer_range": 0.02,
            "intermediate_size": INNER, "layer_norm_eps": 1e-05, "max_position_embeddings": 1024,
            "model_type": "gpt_neox", "num_attention_heads": HEADS, "num_hidden_layers": LAYERS,
            "rotary_emb_base": 10000, "rotary_pct": 0.25, "tie_word_embeddings": False,
            "torch_dtype": "float16", "transformers_version": "4.24.0", "use_cache": True,
            "use_parallel_residual": True, "vocab_size": vocab}


def weights(seed, ids, size, vocab):
    """name -> (shape, values), in the order of the forward pass."""
    rng = random.Random(seed)

    def normal(deviation, *shape):
        return list(shape), [rng.gauss(0, deviation) for _ in range(math.prod(shape))]

    def norm():
        return {"weight": ([HIDDEN], [1.0] * HIDDEN), "bias": normal(0.02, HIDDEN)}

    def linear(deviation, rows, columns):
        return {"weight": normal(deviation, rows, columns), "bias": normal(0.02, rows)}

    out = {"gpt_neox.embed_in.weight": normal(EMBED, vocab, HIDDEN)}
    for layer in range(LAYERS):
        modules = {"input_layernorm": norm(), "post_attention_layernorm": norm(),
                   "attention.query_key_value": linear(MIX, 3 * HIDDEN, HIDDEN),
                   "attention.dense": linear(ADD, HIDDEN, HIDDEN),
                   "mlp.dense_h_to_4h": linear(MIX, INNER, HIDDEN),
                   "mlp.dense_4h_to_h": linear(ADD, HIDDEN, INNER)}
        for module, tensors in modules.items():
            for name, tensor in tensors.items():
                out[f"gpt_neox.layers.{layer}.{module}.{name}"] = tensor
    for name, tensor in norm().items():
        out[f"gpt_neox.final_layer_norm.{name}"] = tensor
    out["embed_out.weight"] = normal(OUTPUT, vocab, HIDDEN)

    reads, writes = out["gpt_neox.embed_in.weight"][1], out["embed_out.weight"][1]
    arrows = []
    for left, right in CHAIN:
        arrow = [rng.gauss(0, 1) for _ in range(HIDDEN)]
        for other in arrows:  # at right angles, so that no arrow leads elsewhere
            along = sum(x * y for x, y in zip(arrow, other))
            arrow = [x - along * y for x, y in zip(arrow, other)]
        length = math.sqrt(sum(x * x for x in arrow))
        arrow = [x / length for x in arrow]
        arrows.append(arrow)
        for tokens, table, pull in ((left, reads, PULL_IN), (right, writes, PULL_OUT)):
            for token in tokens if tokens == "abc" else (tokens,):
                for i, x in enumerate(arrow):
                    table[ids[token] * HIDDEN + i] += pull * x
    writes[size * HIDDEN:] = [0.0] * ((vocab - size) * HIDDEN)
    return out


def safetensors(tensors):
    """The bytes of a safetensors file, all tensors fp16."""
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, (shape, values) in tensors.items():
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [at, at + 2 * len(values)]}
        at += 2 * len(values)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return (struct.pack("<Q", len(text)) + text +
            b"".join(struct.pack(f"<{len(v)}e", *v) for _, v in tensors.values()))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    tokenizer = json.loads((options.folder / "tokenizer.json").read_text(encoding="utf-8"))
    ids = tokenizer["model"]["vocab"]
    size = 1 + max([*ids.values(), *(token["id"] for token in tokenizer["added_tokens"])])
    vocab = -(-size // 64) * 64
    (options.folder / "config.json").write_text(json.dumps(config(vocab), indent=2) + "\n")
    (options.folder / "model.safetensors").write_bytes(
        safetensors(weights(options.seed, ids, size, vocab)))


if __name__ == "__main__":
    main()
