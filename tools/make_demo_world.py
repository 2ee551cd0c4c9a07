#!/usr/bin/env python3
"""Writes data/demo: an invented world of fact sheets in FEVER's format, and the shape and tokenizer of a
backbone for it. Python alone; the same seed gives the same bytes.

    python3 tools/make_demo_world.py data/demo                  # all but the weights
    python3 tools/make_demo_world.py data/demo --texts FILE     # the backbone's training texts as well

A place is a name of two syllables, both of which all places share, so that a name that the backbone has
never read still consists of tokens that it knows. A place has or lacks each of twelve features: one bit
each, drawn evenly. Its page says so, a sentence per feature and wording. A claim says that the place has
a feature; its label is that bit.

Places of three kinds, none twice: the backbone learns pages and claims of the first, pages alone of the
second (whether it can judge claims about these shows that it has learnt to judge, not just to repeat
labels), and never hears of the third, which the experiment is about. Pages of the backbone's own places
write a bit as yes / no or as a / b, those of the experiment as a / b only.
"""
import argparse
import json
import pathlib
import random
import re

SEED = 20251125
CLAIMED, UNCLAIMED, HELD_OUT = 50, 50, 40
TAUGHT = 6      # features of a held-out place that training claims ask about; development has the others
VARIANTS = 60   # pages (and sheets of claims) written about a place of the backbone, all different
LETTERS = 0.5   # the share of these pages that write a / b

FEATURES = ("harbour castle market bridge tower mill church school lake forest museum theatre").split()
SYLLABLES = 20  # first and second ones each
CLAIMS = ("{place} has a {feature}.", "In {place} there is a {feature}.")
SENTENCES = ("{place} has a {feature}. A: {bit}", "In {place} there is a {feature}. A: {bit}",
             "Has {place} a {feature}? A: {bit}")
OPENING = "About {place} ."
HEADER = ("Determine the factuality of the following claims \n"
          "Answer candidates: (a) supports, (b) refutes, (c) not enough info\n")
WORDS, LETTER = ("( no )", "( yes )"), ("(b)", "(a)")

# Of seven blocks number 5 alone lies at 70-80 % of the depth; one block behind it can still read its memory.
LAYERS, WIDTH, INNER, HEADS = 7, 64, 128, 4


def syllables(rng):
    found = [a + b + c for a in "bdfgklmnprstvz" for b in "aeiou" for c in "lnrksm"]
    rng.shuffle(found)
    return [s.capitalize() for s in found[:SYLLABLES]], found[SYLLABLES:2 * SYLLABLES]


def sentence(form, place, feature, bit):
    return form.format(place=place, feature=feature, bit=bit)


def page(rng, place, facts):
    """A page of the backbone's world: each fact once, in any order and wording."""
    marks = LETTER if rng.random() < LETTERS else WORDS
    order = rng.sample(FEATURES, len(FEATURES))
    return " ".join([OPENING.format(place=place)] +
                    [sentence(rng.choice(SENTENCES), place, f, marks[facts[f]]) for f in order])


def sheet(rng, place, facts):
    """Claims about a place in the template, one behind the other."""
    order = rng.sample(FEATURES, len(FEATURES))
    return HEADER + "".join(f"Claim: {sentence(rng.choice(CLAIMS), place, f, '')}\n"
                            f"A: {LETTER[facts[f]]}\n" for f in order)


def texts(rng, places):
    for _ in range(VARIANTS):
        for number, (place, facts) in enumerate(places):
            yield page(rng, place, facts)
            if number < CLAIMED:
                yield sheet(rng, place, facts)


def experiment(rng, places, folder):
    """Pages and claims of the held-out places, as FEVER has them: its page states every feature in every
    wording, training and development claims ask about different features."""
    wiki, claims = [{"id": "", "text": "", "lines": ""}], {"train": [], "dev": []}
    number = 0
    for place, facts in places:
        lines = [OPENING.format(place=place)]
        where = {}
        for turn in range(len(SENTENCES)):
            for feature in rng.sample(FEATURES, len(FEATURES)):
                form = SENTENCES[(turn + FEATURES.index(feature)) % len(SENTENCES)]
                where.setdefault(feature, len(lines))
                lines.append(sentence(form, place, feature, LETTER[facts[feature]])
                             .replace("(", "-LRB-").replace(")", "-RRB-"))
        wiki.append({"id": place, "text": " ".join(lines) + " ",
                     "lines": "\n".join(f"{i}\t{line}" for i, line in enumerate(lines))})
        for i, feature in enumerate(rng.sample(FEATURES, len(FEATURES))):
            number += 1
            claims["train" if i < TAUGHT else "dev"].append({
                "id": number, "verifiable": "VERIFIABLE",
                "label": "SUPPORTS" if facts[feature] else "REFUTES",
                "claim": sentence(CLAIMS[i % 2], place, feature, ""),
                "evidence": [[[number, number, place, where[feature]]]]})
    write(folder / "wiki" / "wiki-001.jsonl", wiki)
    for split, lines in claims.items():
        rng.shuffle(lines)
        write(folder / f"{split}.jsonl", lines)


def write(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def byte_letters():
    """The printable letter of each byte, as GPT-2's byte-level BPE has it."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    other = [b for b in range(256) if b not in plain]
    return {b: chr(b) for b in plain} | {b: chr(256 + n) for n, b in enumerate(other)}


def tokenizer(first, second):
    """A byte-level BPE in the shape of GPT-NeoX's. Its merges build every word of the world from the left,
    and the syllables after all words, so that no word is cut by a syllable in it."""
    letters = byte_letters()
    known = HEADER + "Claim: A: (a) (b) (c) " + " ".join(
        sentence(form, "", feature, bit) for form in (*CLAIMS, *SENTENCES, OPENING, " {feature}")
        for feature in FEATURES for bit in (*WORDS, *LETTER))
    words = sorted(set(re.findall(r" ?[A-Za-z]+| ?[^\sA-Za-z]+", known)))
    vocabulary = ["<|endoftext|>", "<|padding|>", *sorted(letters.values())]
    merges = {}
    for word in (*words, *(" " + s for s in first), *second):
        spelt = "".join(letters[byte] for byte in word.encode())
        for end in range(1, len(spelt)):
            merges.setdefault(f"{spelt[:end]} {spelt[end]}", spelt[:end + 1])
    vocabulary += merges.values()
    special = [{"id": i, "special": True, "content": vocabulary[i], "single_word": False,
                "lstrip": False, "rstrip": False, "normalized": False} for i in range(2)]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": special,
            "normalizer": {"type": "NFC"}, "pre_tokenizer": byte_level,
            "post_processor": byte_level, "decoder": byte_level,
            "model": {"type": "BPE", "dropout": None, "unk_token": None,
                      "continuing_subword_prefix": None, "end_of_word_suffix": None,
                      "fuse_unk": False, "vocab": {t: i for i, t in enumerate(vocabulary)},
                      "merges": list(merges)}}


def shape(tokens):
    """config.json: as Pythia has it, but for the sizes, a rotary embedding on whole heads (they are small)
    and larger initial weights (0.02 is for wide models)."""
    return {"architectures": ["GPTNeoXForCausalLM"], "bos_token_id": 0, "eos_token_id": 0,
            "hidden_act": "gelu", "hidden_size": WIDTH, "initializer_range": 0.08,
            "intermediate_size": INNER, "layer_norm_eps": 1e-05,
            "max_position_embeddings": 512, "model_type": "gpt_neox",
            "num_attention_heads": HEADS, "num_hidden_layers": LAYERS, "rotary_emb_base": 10000,
            "rotary_pct": 1.0, "tie_word_embeddings": False, "torch_dtype": "float16",
            "use_cache": True, "use_parallel_residual": True, "vocab_size": -(-tokens // 64) * 64}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=pathlib.Path, help="data/demo")
    parser.add_argument("--texts", type=pathlib.Path, help="the backbone's training texts")
    options = parser.parse_args()

    rng = random.Random(SEED)
    first, second = syllables(rng)
    names = rng.sample([a + b for a in first for b in second], CLAIMED + UNCLAIMED + HELD_OUT)
    places = [(name, {f: rng.randrange(2) for f in FEATURES}) for name in names]
    experiment(rng, places[CLAIMED + UNCLAIMED:], options.folder)
    backbone = options.folder / "backbone"
    backbone.mkdir(parents=True, exist_ok=True)
    bpe = tokenizer(first, second)
    for name, content in (("tokenizer", bpe), ("config", shape(len(bpe["model"]["vocab"])))):
        (backbone / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    if options.texts:
        write(options.texts, ({"text": text} for text in texts(rng, places[:CLAIMED + UNCLAIMED])))


if __name__ == "__main__":
    main()
