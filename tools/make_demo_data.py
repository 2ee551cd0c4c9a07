#!/usr/bin/env python3
"""Writes data/world, an invented small world in FEVER's official format, and the demo's tokenizer.

Nobody and nothing in this world exists: all names come from syllables and word lists below, all
facts from a seeded generator. The kinds and their attributes are listed in data/world/kinds.txt.
An entity is a name of one of seven kinds; a fact is one of its attributes with a value of a small
pool. Pages state facts, one per sentence; claims
state a fact (SUPPORTS), the same attribute with another value of the same pool (REFUTES), or an
attribute that the page leaves out (NOT ENOUGH INFO). Values of true and false claims are drawn from
the same uniform distribution, so a claim's wording says nothing about its label.

    python3 tools/make_demo_data.py data                  # data/world (Python alone)
    python3 tools/make_demo_data.py data --tokenizer      # and data/demo-model/tokenizer.json
    python3 tools/make_demo_data.py data --expect         # data/world/expected.json from the files

The same seed gives the same bytes. --tokenizer needs the `tokenizers` package; the file in the
repository was made with

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install tokenizers==0.23.3

--expect does not use the generator: it counts again what lies in the files.
"""
import argparse
import collections
import json
import pathlib
import random
import unicodedata

SEED = 20240531
SPLIT = 2          # wiki files
BACKBONE = 512     # other entities, whose texts the tokenizer comes from
DISTRACTORS = 40   # wiki pages that no claim uses
STATED = 10        # attributes that a page states, of the twelve of its kind
TAUGHT = 6         # of these, how many the training claims ask about
NEI_DEV, NEI_TRAIN = 6, 5
TOP = 12           # so many pages have 14 development claims or more, no other page has over 13
MERGED = 1477      # vocabulary before the added runs of spaces

TEMPLATE = ("Determine the factuality of the following claims \n"
            "Answer candidates: (a) supports, (b) refutes, (c) not enough info\n")
VERIFIABLE = ("VERIFIABLE", "VERIFIABLE", "NOT VERIFIABLE")
LABELS = ("SUPPORTS", "REFUTES", "NOT ENOUGH INFO")

POOLS = {
    "kind": "person town film band company river book",
    "job": "drummer painter farmer pilot nurse judge dancer poet baker sailor teacher miner",
    "subject": "law music physics history botany drawing grammar medicine logic geometry",
    "sport": "tennis chess rowing boxing fencing cycling diving skating",
    "instrument": "piano guitar violin flute trumpet harp drum banjo",
    "animal": "fox bear wolf goat horse parrot rabbit turtle hawk lion",
    "number": "two three four five six seven eight nine",
    "count": "40 60 90 120 150 200 250 300 450 600",
    "year": "1904 1911 1919 1926 1933 1938 1945 1952 1957 1964 1971 1978 1983 1990 1996 2003",
    "colour": "red blue green yellow black white brown pink",
    "goods": "cheese glass paper soap boats clocks shoes bread carpets lamps",
    "genre": "comedy drama western mystery war romance horror satire",
    "style": "rock jazz folk blues punk soul swing dance",
    "building": "castle tower temple mill bridge lighthouse market library",
    "day": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    "fish": "trout salmon perch pike carp bass",
    "wood": "oak pine birch maple willow cedar",
}
# kind -> one row per attribute: pool, two ways to say it, and the noun of a third way.
KIND_ROW = ("kind", "is a {}", "is known as a {}", "type")
SPECIAL = (("person", "Žovrál Quölbern"), ("person", "Tésgavöd Žovrál"),
           ("film", "Frozen Lantern: Second Light"), ("river", "Tésgavöd Spring"))
SHARES = dict(person=14, town=8, film=10, band=8, company=8, river=7, book=7)  # together 62

ADJECTIVES = ("silent golden broken hollow frozen bitter gentle crooked distant empty hidden "
              "narrow patient wooden velvet quiet burning idle lonely early").split()
NOUNS = ("lantern harbour orchard mirror ladder garden needle anchor window pocket feather candle "
         "kettle meadow whistle button basket shadow pillow hammer").split()
PREFIXES = "Upper Lower Old New Port North South East West Great".split()
WATERS = "River Creek Brook Stream Water Run".split()
FIRMS = "Works Brothers Mills Lines Foods Steel Press Tools".split()

ONSETS = "b d f g h j k l m n p r s t v z br dr gl kr pl tr".split()

Entity = collections.namedtuple("Entity", "name title kind facts missing")
# facts: attribute row -> value, in the order of the page; missing: rows that the page leaves out


def read_kinds(path):
    """kind -> one row per attribute: pool, two ways to say it, and the noun of a third way."""
    kinds = collections.defaultdict(list)
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            kind = line.strip("[]")
        elif line and not line.startswith("#"):
            kinds[kind].append(tuple(line.split("|")))
    return kinds


class Names:
    """Words from syllables, none twice, and entity names from these words."""

    def __init__(self, rng):
        self.rng, self.seen = rng, set()
        self.stems = [self.word(2, "n l r k d v m sk".split()) for _ in range(48)]
        self.stems[7:10] = ["Žovrál", "Quölbern", "Tésgavöd"]
        self.firsts = [self.word(2, [""]) for _ in range(32)]

    def word(self, syllables, codas):
        while True:
            text = "".join(self.rng.choice(ONSETS) + self.rng.choice("aeiou")
                           for _ in range(syllables))
            text = (text + self.rng.choice(codas)).capitalize()
            if text not in self.seen and text[:4] not in {w[:4] for w in self.seen}:
                self.seen.add(text)
                return text

    def pools(self):
        def words(n, *endings):
            return [self.word(2, endings) for _ in range(n)]
        pools = {name: values.split() for name, values in POOLS.items()}
        pools["place"] = words(14, "sby", "ndor", "vik")
        pools["country"] = words(8, "nia", "ria")
        pools["language"] = words(8, "nic", "lish")
        pools["sea"] = [w + " Sea" for w in words(6, "x", "th")]
        pools["company"] = [w for w in words(8, "xco", "tek")]
        pools["award"] = [w + " Prize" for w in words(8, "l", "ng")]
        pools["human"] = [self.rng.choice(self.firsts) + " " + w for w in words(10, "sson", "ster")]
        return pools

    def of(self, kind):
        """All names of one kind in random order."""
        cap = [n.capitalize() for n in NOUNS]
        pairs = dict(person=(self.firsts, self.stems), town=(PREFIXES, self.stems),
                     film=([a.capitalize() for a in ADJECTIVES], cap),
                     band=(self.stems, [n + "s" for n in cap]), company=(self.stems, FIRMS),
                     river=(self.stems, WATERS), book=(self.firsts, [f"and the {n}" for n in cap]))
        names = [f"{a} {b}" for a in pairs[kind][0] for b in pairs[kind][1]]
        self.rng.shuffle(names)
        return names


def bracket(text):
    for sign, token in zip("()[]{}:", "-LRB- -RRB- -LSB- -RSB- -LCB- -RCB- -COLON-".split()):
        text = text.replace(sign, token)
    return text


def say(names, row, value, wording):
    """One statement without its full stop, in one of three wordings."""
    if wording < 2 and len(names) == 1:
        return f"{names[0]} {row[1 + wording].format(value)}"
    return f"The {row[3]} of {' and of '.join(names)} is {value}"


class World:
    def __init__(self, seed, kinds):
        self.rng, self.kinds = random.Random(seed), kinds
        self.names = Names(self.rng)
        self.pools = self.names.pools()
        self.free = {kind: self.names.of(kind) for kind in kinds}
        self.used = set()  # claim texts

    def entity(self, kind, name=None, title=None):
        if name is None:
            name = self.free[kind].pop()
            note = kind in ("film", "band", "book") and self.rng.random() < 0.15
            title = f"{name} ({kind})" if note else name
        rows = list(self.kinds[kind])
        self.rng.shuffle(rows)
        facts = {KIND_ROW: kind}
        facts.update((row, self.rng.choice(self.pools[row[0]])) for row in rows[:STATED])
        return Entity(name, bracket(title).replace(" ", "_"), kind, facts, rows[STATED:])

    def entities(self, count):
        """`count` entities, the kinds in the proportions of SHARES, in random order."""
        kinds = [kind for kind, share in SHARES.items() for _ in range(share)]
        out = [self.entity(kinds[i * len(kinds) // count]) for i in range(count)]
        self.rng.shuffle(out)
        return out

    def sentences(self, entity, wording):
        """[sentence, anchor] of a page in PTB style; wording: row -> 0..2."""
        out = []
        name = entity.name.replace(":", " :")
        for row, value in entity.facts.items():
            if row is KIND_ROW:
                shown = f"`` {name} ''" if entity.kind in ("film", "book") else name
                if entity.kind == "person":
                    shown += f" -LRB- {name[0]}. {name.split()[-1]} -RRB-"
                out.append([f"{shown} is a {value} .", None])
            else:
                anchor = value if value[0].isupper() else None
                out.append([say([name], row, value, wording[row]) + " .", anchor])
        return out

    def asked(self, entity):
        """The rows that claims ask about; the kind, which a name often tells, only now and then."""
        rows = [r for r in entity.facts if r is not KIND_ROW or self.rng.random() < 0.2]
        self.rng.shuffle(rows)
        return rows

    def claim(self, names, row, value, wordings):
        """A claim in the first of the wordings that is still unused, or None."""
        for wording in wordings:
            text = say(names, row, value, wording) + "."
            if text not in self.used:
                self.used.add(text)
                return text
        return None

    def other(self, row, value):
        return self.rng.choice([v for v in self.pools[row[0]] if v != value])

    def judged(self, entity, row, label, wordings):
        """A claim about a stated fact with this label; draws again while the text is taken."""
        while True:
            value = entity.facts[row] if label == 0 else self.other(row, entity.facts[row])
            text = self.claim([entity.name], row, value, wordings)
            if text or label == 0:
                return text

    def unknown(self, entity, count):
        """NEI claims: attributes that the page leaves out."""
        out = []
        while len(out) < count:
            row = self.rng.choice(entity.missing)
            wordings = self.rng.sample(range(3), 3)
            text = self.claim([entity.name], row, self.rng.choice(self.pools[row[0]]), wordings)
            out += [text] if text else []
        return out


class Annotator:
    """Official claim lines with invented, unique numbers."""

    def __init__(self, rng):
        self.rng = rng
        self.ids = rng.sample(range(10000, 99999), 8000)
        self.next = 100000

    def number(self):
        self.next += self.rng.randint(1, 9)
        return self.next

    def evidence(self, spots):
        """Evidence sets over (page, sentence) spots: some annotated twice, some with sentence 0."""
        first = [[self.number(), self.number(), page, line] for page, line in spots]
        sets = [first]
        if self.rng.random() < 0.25:
            sets.append([[self.number(), self.number(), page, line] for page, line in spots])
        if len(spots) == 1 and spots[0][1] > 0 and self.rng.random() < 0.1:
            note, number = self.number(), self.number()
            sets.append([[note, number, spots[0][0], 0], [note, number, *spots[0]]])
        return sets

    def line(self, label, text, spots):
        if label == 2:
            notes = range(1 + (self.rng.random() < 0.3))
            sets = [[[self.number(), None, None, None] for _ in notes]]
        else:
            sets = self.evidence(spots)
        return {"id": self.ids.pop(), "verifiable": VERIFIABLE[label], "label": LABELS[label],
                "claim": text, "evidence": sets}


def nfd(text):
    return unicodedata.normalize("NFD", text)


def wiki_page(world, entity, trap=None):
    """The wiki line of an entity and row -> sentence number."""
    wording = {row: world.rng.randrange(3) for row in entity.facts}
    records, where, number = [], {}, 0
    gap = world.rng.randrange(3, 9) if world.rng.random() < 0.2 or trap == "bare" else None
    for row, (text, anchor) in zip(entity.facts, world.sentences(entity, wording)):
        if number == gap:  # a paragraph ends; once the tab is missing, as in some real pages
            records.append(f"{number}" if trap == "bare" else f"{number}\t")
            number += 1
        where[row] = number
        records.append(f"{number}\t{text}" + (f"\t{anchor}\t{anchor}" if anchor else ""))
        number += 1
    records.append(f"{number}\t")
    text = "".join(r.split("\t")[1] + " " for r in records if "\t" in r[:-1])
    if trap == "empty":
        text, records = "", []
    return {"id": entity.title, "text": text, "lines": "\n".join(records)}, where, wording


def pair_claims(world, entities, per_label):
    """(label, text, [(entity, row)] * 2): one statement about two entities."""
    out, done, seen = [], collections.Counter(), set()
    pairs = [(a, b) for i, a in enumerate(entities) for b in entities[:i] if a.kind == b.kind]
    world.rng.shuffle(pairs)
    for a, b in pairs:
        rows = [r for r in a.facts if r in b.facts and r is not KIND_ROW]
        same = [r for r in rows if a.facts[r] == b.facts[r]]
        for label, choice in ((0, same), (1, [r for r in rows if r not in same])):
            if choice and done[label] < per_label and not {a.name, b.name} & seen:
                row = world.rng.choice(choice)
                text = world.claim([a.name, b.name], row, a.facts[row], [2])
                out.append((label, text, [(a, row), (b, row)]))
                done[label] += 1
                seen |= {a.name, b.name}
    return out


def experiment(world, write):
    """dev.jsonl, train.jsonl and the wiki files."""
    rng, notes = world.rng, Annotator(world.rng)
    entities = world.entities(sum(SHARES.values()) - len(SPECIAL))
    entities += [world.entity(kind, name, name) for kind, name in SPECIAL]
    traps = {0: "empty", 1: "untaught", 2: "bare"}
    pairs = {split: pair_claims(world, entities[3:], n) for split, n in (("dev", 3), ("train", 2))}
    paired = collections.Counter(e.name for _, _, spots in pairs["dev"] for e, _ in spots)
    sizes = [14] * TOP + [10 + i % 4 for i in range(len(entities) - TOP)]
    out, pages, spots = {"dev": [], "train": []}, [], {}
    for i, entity in enumerate(entities):
        page, spots[entity.name], worded = wiki_page(world, entity, traps.get(i))
        pages.append(page)

        def spot(row, entity=entity):
            return nfd(entity.title), spots[entity.name][row]
        rows = world.asked(entity)
        plan = {"dev": rows + rows[:4], "train": rows[:TAUGHT] + rows[:4]}
        size = {"dev": sizes[i] - paired[entity.name], "train": 0 if i == 1 else 10}
        for split, nei in (("dev", NEI_DEV), ("train", NEI_TRAIN)):
            made = 0
            # Drawn for each split on its own: a training label must not give away a test label.
            labels = [(n + i // 2) % 2 for n in range(size[split])]
            rng.shuffle(labels)
            for row in plan[split] + rows:
                # The page's own wording goes to training first, so development asks in another.
                turns = (1, 2, 0) if split == "dev" else (0, 2, 1)
                order = [(worded[row] + turn) % 3 for turn in turns]
                text = made < size[split] and world.judged(entity, row, labels[made], order)
                if text:
                    out[split].append(notes.line(labels[made], text, [spot(row)]))
                    made += 1
            assert made == size[split], entity.name
            out[split] += [notes.line(2, t, None) for t in world.unknown(entity, nei)]
    for split, lines in out.items():
        for label, text, where in pairs[split]:
            at = [(nfd(e.title), spots[e.name][row]) for e, row in where]
            lines.append(notes.line(label, text, at))
        repeats = [x for x in lines if x["label"] != LABELS[2] and
                   x["evidence"][0][0][2] not in {nfd(e.title) for e in entities[:TOP]}]
        for old in rng.sample([x for x in lines if x["label"] == LABELS[2]], 2) + repeats[5:7]:
            lines.append({**old, "id": notes.ids.pop()})
        rng.shuffle(lines)
        write(f"world/{split}.jsonl", lines)
    pages += [wiki_page(world, e)[0] for e in world.entities(DISTRACTORS)]
    pages.sort(key=lambda page: page["id"])
    step = -(-len(pages) // SPLIT)
    for n in range(SPLIT):
        write(f"world/wiki/wiki-{n + 1:03}.jsonl",
              [{"id": "", "text": "", "lines": ""}] + pages[n * step:(n + 1) * step])


def backbone(world, count):
    """Other entities: two texts in different wordings, and 24 claims, eight of each label."""
    for entity in world.entities(count):
        base = {row: world.rng.randrange(3) for row in entity.facts}
        turned = [{row: (w + turn) % 3 for row, w in base.items()} for turn in (0, 1)]
        texts = [[s for s, _ in world.sentences(entity, wording)] for wording in turned]
        claims, rows = [], world.asked(entity)
        while len(claims) < 16:
            row, order = world.rng.choice(rows), world.rng.sample(range(3), 3)
            text = world.judged(entity, row, len(claims) % 2, order)
            claims += [{"claim": text, "label": len(claims) % 2}] if text else []
        claims += [{"claim": text, "label": 2} for text in world.unknown(entity, 8)]
        world.rng.shuffle(claims)
        yield {"texts": [" ".join(t) for t in texts], "claims": claims}


def tokenizer(data, pages):
    """A byte-level BPE in the shape of GPT-NeoX's tokenizer.json, from the texts of other entities."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    text = []
    for page in pages:
        text += page["texts"] + [TEMPLATE + "".join(
            f"Claim: {c['claim']}\nA: ({'abc'[c['label']]})\n" for c in page["claims"])]
    tok = Tokenizer(models.BPE())
    tok.normalizer, tok.decoder = normalizers.NFC(), decoders.ByteLevel()
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.train_from_iterator(text, trainers.BpeTrainer(
        vocab_size=MERGED, special_tokens=["<|endoftext|>", "<|padding|>"], show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
    bpe = json.loads(tok.to_str())["model"]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    added = [(0, "<|endoftext|>", True), (1, "<|padding|>", True)]
    added += [(MERGED + 24 - n, " " * n, False) for n in range(24, 1, -1)]  # as GPT-NeoX has them
    out = {"version": "1.0", "truncation": None, "padding": None,
           "added_tokens": [{"id": i, "special": special, "content": content, "single_word": False,
                             "lstrip": False, "rstrip": False, "normalized": not special}
                            for i, content, special in added],
           "normalizer": {"type": "NFC"}, "pre_tokenizer": byte_level,
           "post_processor": byte_level, "decoder": byte_level,
           "model": {"type": "BPE", "dropout": None, "unk_token": None,
                     "continuing_subword_prefix": None, "end_of_word_suffix": None,
                     "fuse_unk": False,
                     "vocab": dict(sorted(bpe["vocab"].items(), key=lambda item: item[1])),
                     "merges": [m if isinstance(m, str) else " ".join(m) for m in bpe["merges"]]}}
    path = data / "demo-model/tokenizer.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(out, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def count_rows(claims, rows):
    """page -> [(id, label)], one per (claim, page) or one per evidence entry."""
    pages = collections.defaultdict(list)
    for claim in claims:
        titles = [unicodedata.normalize("NFC", entry[2]) for group in claim["evidence"]
                  for entry in group if entry[2] is not None]
        for title in (titles if rows == "evidence" else sorted(set(titles))):
            pages[title].append((claim["id"], claim["label"]))
    return pages


def expect(world):
    """What `prepare` must count, from the files alone; no cut falls between equal pages."""
    def read(path):
        return [json.loads(x) for x in path.read_text(encoding="utf-8").splitlines()]
    dev, train = read(world / "dev.jsonl"), read(world / "train.jsonl")
    wiki = {unicodedata.normalize("NFC", p["id"]): p["text"].strip()
            for path in sorted((world / "wiki").glob("*.jsonl")) for p in read(path) if p["id"]}
    cases = []
    for top, rows in ((100, "claim"), (TOP, "claim"), (100, "evidence")):
        pages, taught = count_rows(dev, rows), count_rows(train, rows)
        ranked = sorted(pages, key=lambda title: -len(pages[title]))[:top]
        sizes = sorted((len(v) for v in pages.values()), reverse=True)
        assert top >= len(sizes) or sizes[top - 1] > sizes[top], "a tie at the cut"
        kept = [title for title in ranked if wiki[title] and title in taught]
        labels = collections.Counter(label for title in kept for _, label in pages[title])
        cases.append({
            "top_pages": top, "rows": rows, "claims": len(dev), "evidence_pages": len(pages),
            "rows_per_evidence": sum(len(g) for c in dev for g in c["evidence"]),
            "n_full": len(pages), "n_top": len(ranked), "n_trunc": len(kept),
            "eval_rows": sum(len(pages[title]) for title in kept),
            "train_rows": sum(len(taught[title]) for title in kept),
            "labels": [labels[name] for name in LABELS], "bad_lines": 0})
    text = ",\n".join("  " + json.dumps(case) for case in cases)
    (world / "expected.json").write_text('{"cases": [\n' + text + "\n]}\n", encoding="utf-8")


def writer(base):
    """A function that writes one jsonl file below `base`, escaped to ASCII as FEVER's are."""
    def write(name, lines):
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        with open(base / name, "w", encoding="utf-8", newline="\n") as file:
            for line in lines:
                file.write(json.dumps(line) + "\n")
    return write


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=pathlib.Path, help="the repository's data folder")
    parser.add_argument("--tokenizer", action="store_true")
    parser.add_argument("--expect", action="store_true")
    options = parser.parse_args()

    if options.expect:
        expect(options.data / "world")
        return
    world = World(SEED, read_kinds(options.data / "world/kinds.txt"))
    write = writer(options.data)
    experiment(world, write)
    if options.tokenizer:
        tokenizer(options.data, backbone(world, BACKBONE))


if __name__ == "__main__":
    main()
