"""The template protocol at IJB-C's size, with random features: seconds and memory of each part.

    python -m benchmarks.templates [--images=469375] [--templates=23124] [--pairs=15658489] [--dimensions=512]

Memory is the peak of the process above what the inputs take.
"""

import argparse
import pathlib
import resource
import tempfile
import time

import numpy as np

from facejax.evaluation import templates
from facejax.evaluation.templates import Pairs


def peak_megabytes() -> float:
    """The largest memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=469_375)
    parser.add_argument("--templates", type=int, default=23_124)
    parser.add_argument("--pairs", type=int, default=15_658_489)
    parser.add_argument("--dimensions", type=int, default=512)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    features = rng.standard_normal((args.images, args.dimensions), np.float32)
    mirrored = features[::-1]
    names = np.r_[np.arange(args.templates), rng.integers(args.templates, size=args.images - args.templates)]
    media, scores = rng.integers(0, args.images // 4 + 1, args.images), rng.random(args.images, np.float32)
    first = np.sort(rng.integers(args.templates, size=args.pairs, dtype=np.int32))
    second = rng.integers(args.templates, size=args.pairs, dtype=np.int32)
    pairs = Pairs(first, second, np.arange(args.pairs) % 800 == 0)
    inputs = peak_megabytes()
    print(f"{args.images} images, {args.templates} templates, {args.pairs} pairs, {args.dimensions} dimensions")

    def timed(what, function):
        began = time.perf_counter()
        result = function()
        seconds = time.perf_counter() - began
        print(f"{what:<30}{seconds:>8.1f} s, peak {peak_megabytes() - inputs:>6.0f} MB", flush=True)
        return result

    pooled = timed("pooling", lambda: templates.pool(features, mirrored, scores, names, media))
    cosines = timed("scores of the pairs", lambda: templates.pair_scores(pooled, pairs.first, pairs.second))
    timed("curve", lambda: templates.read_curve(templates.roc(cosines, pairs.same)))
    half = args.templates // 2
    gallery, probes = np.split(pooled.features[: 2 * half], 2)
    subjects = np.arange(2 * half) % (half + half // 2)
    timed("identification, half in half", lambda: templates.identify(gallery, subjects[:half], probes, subjects[half:]))
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "pairs.txt"
        count = min(args.pairs, 1_000_000)
        np.savetxt(path, np.stack(pairs, 1)[:count], fmt="%d")
        timed(f"reading {count} pairs", lambda: templates.read_pairs(path))


if __name__ == "__main__":
    main()
