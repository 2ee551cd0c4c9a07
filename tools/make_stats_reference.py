#!/usr/bin/env python3
"""Writes tests/fixtures/stats/*.json: statistics as other programs compute them.

    python3 -m venv /tmp/stats-venv
    /tmp/stats-venv/bin/pip install numpy==2.4.6 scipy==1.17.1 \\
        scikit-learn==1.9.1 statsmodels==0.15.0
    /tmp/stats-venv/bin/python tools/make_stats_reference.py tests/fixtures/stats

Labels are written as the characters 0 1 2, an unreadable answer as '-'.

metrics.json    random predictions, scored under each rule for unreadable answers
mcnemar.json    discordant counts and their p, exact and chi-square
bootstrap.json  page-clustered percentile intervals from many more replicates than the tests draw
document.json   the rows of the document's full results, each with a confusion matrix that gives
                its three numbers, all with the same gold labels: proof that "macro over three
                labels" fits every row. The search prints how many rows fit no matrix at all when
                macro is over two labels (those that gold has) or over four (with unreadable)
"""
import argparse
import json
import pathlib

import numpy as np
from scipy import stats as scipy_stats
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score
from statsmodels.stats.contingency_tables import mcnemar

RULES = ("wrong", "class", "nei", "drop")
LABELS = [0, 1, 2]
UNREADABLE = 3

# Full results, base models: accuracy and f1.macro by shots (f1.micro equals accuracy in each row).
DOCUMENT = {
    "llama2 13b": "013 018  460 319  410 229  417 238  472 268  476 272",
    "llama2 7b": "018 024  435 241  354 214  368 220  367 219  364 220",
    "llama2_chat 13b": "010 012  556 381  389 209  496 259  552 284  578 291",
    "llama2_chat 7b": "392 196  636 457  519 402  463 373  408 341  393 337",
    "pythia 12b": "000 000  366 197  118 124  119 117  113 115  083 093",
    "pythia 6.9b": "021 028  163 118  280 247  175 164  106 106  206 167",
    "pythia 2.8b": "006 008  026 025  097 077  056 066  108 087  132 102",
    "pythia 1.4b": "059 067  009 008  139 102  177 133  275 178  176 176",
    "pythia 1b": "000 000  000 000  001 001  002 002  011 011  013 014",
    "pythia 410m": "000 000  010 009  000 000  000 000  000 000  000 000",
    "pythia 160m": "000 000  000 000  000 000  000 000  000 000  000 000",
    "pythia 70m": "000 000  000 000  000 000  000 000  000 000  000 000",
}
DOCUMENT_ROWS = 3045     # stated by the author
# The share of SUPPORTS among the (claim, page) rows of the 100 pages of FEVER's paper_dev that have
# the most claims: 795 of 1809. NOT ENOUGH INFO has no page, so it is absent from gold.
SUPPORTS = round(DOCUMENT_ROWS * 795 / 1809)


def text(labels):
    return "".join("-" if v == UNREADABLE else str(v) for v in labels)


def apply_rule(gold, pred, rule):
    """The rows and the labels that scikit-learn is to see."""
    if rule == "nei":
        return gold, np.where(pred == UNREADABLE, 2, pred)
    if rule == "drop":
        return gold[pred != UNREADABLE], pred[pred != UNREADABLE]
    return gold, pred


def score(gold, pred, rule):
    g, p = apply_rule(gold, pred, rule)
    micro_labels = LABELS if rule == "class" else LABELS + [UNREADABLE]
    kw = dict(zero_division=0)
    return {
        "n": len(g),
        "accuracy": accuracy_score(g, p),
        "f1_micro": f1_score(g, p, labels=micro_labels, average="micro", **kw),
        "f1_macro": f1_score(g, p, labels=LABELS, average="macro", **kw),
        "f1": list(f1_score(g, p, labels=LABELS, average=None, **kw)),
    }


def metrics(rng):
    """Random cases; some lack a label in gold, in the predictions, or in both."""
    shapes = [  # rows, gold shares, share that is right, prediction shares of the others with '-'
        (1, (1, 0, 0), 1.0, (1, 0, 0, 0)), (7, (1, 1, 1), 0.4, (1, 1, 1, 1)),
        (50, (3, 2, 0), 0.5, (1, 1, 1, 1)), (50, (3, 2, 0), 0.0, (0, 0, 0, 1)),
        (200, (5, 4, 3), 0.3, (1, 2, 3, 4)), (333, (1, 1, 0), 0.6, (1, 1, 0, 0)),
        (500, (6, 3, 1), 0.2, (0, 0, 1, 9)), (1000, (2, 1, 1), 0.7, (1, 1, 1, 0)),
        (64, (0, 0, 1), 0.1, (1, 1, 0, 1)), (400, (1, 1, 1), 0.0, (1, 0, 0, 0)),
    ]
    cases = []
    for n, gold_shares, right, others in shapes:
        gold = rng.choice(3, n, p=np.array(gold_shares) / sum(gold_shares))
        pred = rng.choice(4, n, p=np.array(others) / sum(others))
        pred = np.where(rng.random(n) < right, gold, pred)
        if not (pred != UNREADABLE).any():
            pred[0] = 1
        matrix = confusion_matrix(gold, pred, labels=LABELS + [UNREADABLE])
        assert (matrix[UNREADABLE] == 0).all()
        cases.append({
            "gold": text(gold), "pred": text(pred), "confusion": matrix[:3].tolist(),
            "unparsed": int((pred == UNREADABLE).sum()),
            "coverage": float((pred != UNREADABLE).mean()),
            "rules": {rule: score(gold, pred, rule) for rule in RULES},
        })
    return {"cases": cases}


def mcnemar_cases():
    cases = []
    for a, b in [(0, 1), (5, 0), (1, 9), (10, 12), (25, 4), (60, 61), (400, 350), (499, 501),
                 (300, 700), (700, 301), (520, 481), (5000, 5200), (1, 4000)]:
        table = [[17, a], [b, 23]]
        p = mcnemar(table, exact=True).pvalue
        assert abs(p - scipy_stats.binomtest(a, a + b, 0.5).pvalue) < 1e-12
        cases.append({"only_a": a, "only_b": b, "exact": p,
                      "chi2": mcnemar(table, exact=False, correction=True).pvalue})
    return {"cases": cases}


def mcnemar_rows(rng):
    """Whole prediction lists: which rows are a pair depends on the rule."""
    gold = rng.choice(3, 300, p=(.5, .3, .2))
    pred = [np.where(rng.random(300) < right, gold, rng.choice(4, 300)) for right in (.35, .55)]
    rules = {}
    for rule in RULES:
        ok = [(np.where(p == UNREADABLE, 2, p) if rule == "nei" else p) == gold for p in pred]
        both = (pred[0] != UNREADABLE) & (pred[1] != UNREADABLE)
        keep = both if rule == "drop" else np.ones(300, bool)
        a, b = int((ok[0] & ~ok[1] & keep).sum()), int((~ok[0] & ok[1] & keep).sum())
        rules[rule] = {"only_a": a, "only_b": b,
                       "p": mcnemar([[1, a], [b, 1]], exact=True).pvalue}
    return {"gold": text(gold), "pred_a": text(pred[0]), "pred_b": text(pred[1]), "rules": rules}


def summed_scores(counts, rule):
    """Scores of (replicates, 3, 4) summed confusion matrices."""
    c = counts.astype(float)
    if rule == "nei":
        c[:, :, 2] += c[:, :, 3]
    if rule in ("nei", "drop"):
        c[:, :, 3] = 0
    n, parsed = c.sum((1, 2)), c[:, :, :3].sum((1, 2))
    hits = np.stack([c[:, k, k] for k in LABELS], 1)
    total = c.sum(2) + c[:, :, :3].sum(1)
    f1 = np.divide(2 * hits, total, out=np.zeros_like(hits), where=total > 0)
    micro = 2 * hits.sum(1) / (n + parsed) if rule == "class" else hits.sum(1) / n
    return {"accuracy": hits.sum(1) / n, "f1_micro": micro, "f1_macro": f1.mean(1)}


def interval(values):
    low, high = np.percentile(values, [2.5, 97.5])
    return {"low": low, "high": high, "stderr": values.std(ddof=1)}


def bootstrap(rng, pages=40, replicates=400_000):
    """Pages differ much in difficulty, so drawing rows instead of pages gives far narrower
    intervals: the printed ratio must be clearly above 1 for the test to tell them apart."""
    gold, pred, cluster = [], [], []
    ease = rng.beta(1.2, 1.2, pages)
    for page in range(pages):
        n = int(rng.integers(8, 41))
        g = rng.choice(3, n, p=(.5, .4, .1))
        gold.append(g)
        pred.append([np.where(rng.random(n) < e, g, rng.choice(4, n, p=(.3, .3, .1, .3)))
                     for e in (ease[page], min(1, ease[page] + .05))])
        cluster += [page] * n
    gold = np.concatenate(gold)
    pred = [np.concatenate([p[side] for p in pred]) for side in (0, 1)]
    cluster = np.array(cluster)
    order = rng.permutation(len(gold))  # rows of a page need not lie together
    gold, pred, cluster = gold[order], [p[order] for p in pred], cluster[order]

    tables = []
    for side in (0, 1):
        table = np.zeros((pages, 3, 4), int)
        np.add.at(table, (cluster, gold, pred[side]), 1)
        tables.append(table.reshape(pages, 12))
    draws = rng.multinomial(pages, np.full(pages, 1 / pages), size=replicates)
    sums = [(draws @ table).reshape(-1, 3, 4) for table in tables]
    rules = {}
    for rule in RULES:
        a, b = (summed_scores(s, rule) for s in sums)
        rules[rule] = {"own": {k: interval(a[k]) for k in a},
                       "difference": {k: interval(b[k] - a[k]) for k in a}}
    accuracy = (pred[0] == gold).mean()
    rows = np.sqrt(accuracy * (1 - accuracy) / len(gold))
    print("bootstrap: clustered / row stderr",
          round(rules["wrong"]["own"]["accuracy"]["stderr"] / rows, 2))
    return {"gold": text(gold), "pred": text(pred[0]), "pred_b": text(pred[1]),
            "cluster": cluster.tolist(), "clusters": pages, "replicates": replicates,
            "rules": rules, "replay": replay(tables[0], pages, 12345678901, 150)}


def philox_uniform(seed, stream, index):
    """mn_rng_uniform: Philox4x32-10 of Salmon et al., the first two words as 53 bits."""
    mask = 0xFFFFFFFF
    c = [index & mask, index >> 32, stream & mask, stream >> 32]
    k = [seed & mask, seed >> 32]
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & mask, (p0 >> 32) ^ c[3] ^ k[1], p0 & mask]
        k = [(k[0] + 0x9E3779B9) & mask, (k[1] + 0xBB67AE85) & mask]
    return ((c[0] << 21) ^ (c[1] >> 11)) * 2.0 ** -53


def replay(table, pages, seed, replicates):
    """The very draws that stats.h documents: these intervals must come out to the last digits."""
    draws = np.zeros((replicates, pages), int)
    for r in range(replicates):
        for j in range(pages):
            draws[r, int(philox_uniform(seed, 0x626F6F74, r * pages + j) * pages)] += 1
    sums = (draws @ table).reshape(-1, 3, 4)
    return {"seed": seed, "replicates": replicates,
            "rules": {rule: {k: interval(v) for k, v in summed_scores(sums, rule).items()}
                      for rule in RULES}}


def f1(hits, gold, predicted):
    return 2 * hits / (gold + predicted) if gold + predicted else 0.0


def fits(value, published):
    return f"{value:.3f}" == published


def fit_row(accuracy, macro, divisor):
    """A confusion matrix with this accuracy and macro F1, or None. Wrong answers are the other
    label or unreadable; macro falls steadily with the share of the former."""
    refutes = DOCUMENT_ROWS - SUPPORTS
    for hits in [h for h in range(DOCUMENT_ROWS + 1) if fits(h / DOCUMENT_ROWS, accuracy)]:
        for step in range(101):
            s = round(max(0, hits - refutes) + step / 100 * (min(SUPPORTS, hits) -
                                                             max(0, hits - refutes)))
            r = hits - s

            def matrix(share):
                x, y = round(share * (SUPPORTS - s)), round(share * (refutes - r))
                return [[s, x, 0, SUPPORTS - s - x], [y, r, 0, refutes - r - y], [0, 0, 0, 0]]

            def value(share):
                m = matrix(share)
                return (f1(s, SUPPORTS, s + m[1][0]) + f1(r, refutes, r + m[0][1])) / divisor

            low, high = 0.0, 1.0
            if value(low) < float(macro) - 5e-4 or value(high) > float(macro) + 5e-4:
                continue
            for _ in range(20):
                middle = (low + high) / 2
                low, high = (middle, high) if value(middle) > float(macro) else (low, middle)
            for share in (low, high):
                if fits(value(share), macro):
                    return matrix(share)
    return None


def document():
    rows, missing = [], {2: [], 4: []}
    for model, numbers in DOCUMENT.items():
        pairs = [f"0.{v}" for v in numbers.split()]
        for shots, (accuracy, macro) in enumerate(zip(pairs[::2], pairs[1::2])):
            matrix = fit_row(accuracy, macro, 3)
            assert matrix, (model, shots)
            rows.append({"model": model, "shots": shots, "accuracy": accuracy,
                         "f1_micro": accuracy, "f1_macro": macro, "confusion": matrix})
            for divisor, names in missing.items():
                if not fit_row(accuracy, macro, divisor):
                    names.append(f"{model} {shots}")
    for divisor, names in missing.items():
        print(f"document: macro over {divisor} labels fits no matrix in {len(names)} of "
              f"{len(rows)} rows: {', '.join(names)}")
    return {"rows": rows}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=pathlib.Path)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(20240229)
    files = {"metrics": metrics(rng), "mcnemar": mcnemar_cases() | {"rows": mcnemar_rows(rng)},
             "bootstrap": bootstrap(rng), "document": document()}
    for name, value in files.items():
        with open(out / f"{name}.json", "w", encoding="utf-8", newline="\n") as file:
            json.dump(value, file, separators=(",", ":"), default=float)
            file.write("\n")


if __name__ == "__main__":
    main()
