"""The protocol of IJB-B and IJB-C, which compares templates: sets of images and video frames of a person.

1:1, in order of use:

    images = read_images("ijbc_face_tid_mid.txt", "ijbc_name_5pts_score.txt")
    pairs = read_pairs("ijbc_template_pair_label.txt")
    templates = pool(features, mirrored, images.detector_scores, images.templates, images.media)
    result = verify_templates(templates, pairs)

1:N: `identify`, once for each of the two galleries.
"""

import re
from collections.abc import Collection, Iterator
from typing import NamedTuple

import numpy as np

from facejax import paths
from facejax.errors import UserError
from facejax.evaluation.unit_rows import unit_rows

FAR_LEVELS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
SWITCHES = ("normalised_first", "no_detector", "no_flip")  # options N, D, F of the official script, switched off
READINGS = ("official", "all_thresholds")

_CHUNK = 4096  # rows at a time: with 512 dimensions in float64, 16 MB
_PAIR_CHUNK = 256  # pairs at a time, whose templates fit into the cache of a core: three times as fast


class Images(NamedTuple):
    """The images of a release, N of them, in the order of its lists. An image may be in several templates."""

    names: tuple[str, ...]
    templates: np.ndarray  # [N] int64
    media: np.ndarray  # [N] int64; the frames of a video are one medium
    landmarks: np.ndarray  # [N, 5, 2] float32, x and y in pixels
    detector_scores: np.ndarray  # [N] float32


class Pairs(NamedTuple):
    """P pairs of templates to compare."""

    first: np.ndarray  # [P] int32
    second: np.ndarray  # [P] int32
    same: np.ndarray  # [P] bool, whether both show one person


class Templates(NamedTuple):
    """T templates, each with one vector."""

    identifiers: np.ndarray  # [T] int64, ascending
    features: np.ndarray  # [T, D] float64 of unit length; 0 where everything pooled is 0


class Roc(NamedTuple):
    """K points of a curve, ascending, from (0, 0) to (1, 1)."""

    far: np.ndarray  # [K] fraction of the pairs of two people that are accepted
    tar: np.ndarray  # [K] fraction of the pairs of one person that are accepted

    @property
    def auc(self) -> float:
        """Area under the curve."""
        return float(np.trapezoid(self.tar, self.far))


class TemplateVerification(NamedTuple):
    """Result of `verify_templates`."""

    scores: np.ndarray  # [P] float64, in the order of the pairs
    roc: Roc
    far: np.ndarray  # [L] float64, at which the curve was read for each level
    tar: np.ndarray  # [L] float64, the reading there


class Identification(NamedTuple):
    """Result of `identify`."""

    rank_rate: np.ndarray  # [R] float64, fraction of the mated probes whose mate is within the rank
    tpir: np.ndarray  # [L] float64, fraction of the mated probes whose mate is above the threshold of a level


def rows(path, num_words: int) -> Iterator[tuple[str, list[str]]]:
    """The non-empty lines of a list: position (file and line) and words; the first word may contain spaces.

    Raises:
      UserError: the file cannot be read as UTF-8, or a line has fewer words.
    """
    path = paths.resolve(path)
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                words = line.strip().rsplit(" ", num_words - 1)
                if words == [""]:
                    continue
                where = f"{path}, line {number}"
                if len(words) != num_words:
                    raise UserError(f"{where}: '{line[:80].rstrip()}' has {len(words)} words, not {num_words}")
                yield where, words
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error


def read_images(media_path, points_path) -> Images:
    """Reads `*_face_tid_mid.txt` and `*_name_5pts_score.txt` as shipped: name, template and medium; name, x and y of
    five points and the detector's score, for the same images in the same order.

    Raises:
      UserError: a file cannot be read; a line of it is malformed; the two lists differ.
    """
    names, identifiers, numbers = [], [], []
    points = rows(points_path, 12)
    for where, (name, *words) in rows(media_path, 3):
        there, (other, *values) = next(points, (f"{points_path}, at its end", [None]))
        if other != name:
            raise UserError(f"{where} has the image {name}, but {there}, has {other}: take both lists as shipped")
        names.append(name)
        identifiers.append(_converted(where, words, int))
        numbers.append(_converted(there, values, float))
    for there, (other, *_) in points:
        raise UserError(f"{there} has the image {other} that is missing in {media_path}: take both lists as shipped")
    if not names:
        raise UserError(f"{media_path} names no image")
    identifiers, numbers = np.array(identifiers, np.int64), np.array(numbers, np.float32)
    return Images(tuple(names), identifiers[:, 0], identifiers[:, 1], numbers[:, :10].reshape(-1, 5, 2), numbers[:, 10])


def _converted(where: str, words: list[str], kind: type) -> list:
    try:
        values = [kind(word) for word in words]
        if np.isfinite(values).all():
            return values
    except (ValueError, OverflowError):
        pass
    expected = {int: "a whole number each for template and medium", float: "five points and a score"}[kind]
    raise UserError(f"{where}: '{' '.join(words)[:80]}' is not {expected}")


def read_pairs(path) -> Pairs:
    """Reads `*_template_pair_label.txt` as shipped: two templates, and 1 if they show one person, otherwise 0.

    Raises:
      UserError: the file cannot be read, a line of it is malformed, or there is none.
    """
    path = paths.resolve(path)
    try:
        with path.open(encoding="utf-8-sig") as file:
            first, second, same = np.loadtxt(file, np.int64, comments=None, ndmin=2).T
        ids = np.stack([first, second])
        if np.isin(same, (0, 1)).all() and len(same) and 0 <= ids.min() and ids.max() < 10**9:
            return Pairs(*ids.astype(np.int32), same.astype(bool))
    except ValueError:
        pass
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    for where, words in rows(path, 3):  # slow, but finds the line
        if not re.fullmatch(r"[0-9]{1,9} [0-9]{1,9} [01]", " ".join(words)):
            raise UserError(f"{where}: '{' '.join(words)[:80]}' is not two templates and 0 or 1")
    raise UserError(f"{path} names no pair of templates")


def pool(features, mirrored, detector_scores, templates, media, *, switches: Collection[str] = ()) -> Templates:
    """One vector per template: image + mirror, times the detector's score, mean within a medium, sum over its media,
    scaled to unit length.

    Until then features keep their norm, which, like the detector's score, reflects the quality of an image.

    Args:
      features: [N, D] float, of the images, not normalised.
      mirrored: [N, D] float, of their mirror images; ignored with the switch `no_flip`.
      detector_scores: [N]; ignored with `no_detector`.
      templates: [N] int, the template of each image; an image of several templates has several rows.
      media: [N] int, the medium of each image.
      switches: some of `SWITCHES`; `normalised_first` gives image + mirror unit length before the score.

    Returns:
      `Templates`; sums are float64, a few thousand images at a time.

    Raises:
      ValueError: an unknown switch, or shapes that do not fit.
      UserError: a feature or a score is not finite.

    Source: `IJB_evaluation.py` of InsightFace and of LAFS.

    Examples:
      >>> pool([[3.0, 0], [0, 4]], [[3.0, 0], [0, 4]], [1, 1], [7, 7], [1, 2]).features.tolist()
      [[0.6, 0.8]]
    """
    if unknown := set(switches) - set(SWITCHES):
        raise ValueError(f"switches: expected some of {', '.join(SWITCHES)}, got {', '.join(sorted(unknown))}")
    features, templates, media = np.asarray(features), np.asarray(templates), np.asarray(media)
    used = {"features": features}
    if "no_flip" not in switches:
        used["mirrored"] = np.asarray(mirrored)
    count = len(features)
    weights = np.ones(count) if "no_detector" in switches else np.asarray(detector_scores, np.float64)
    if features.ndim != 2 or not count or any(array.shape != features.shape for array in used.values()):
        raise ValueError(f"expected [N, D] each, got {', '.join(f'{k} {list(a.shape)}' for k, a in used.items())}")
    if not weights.shape == templates.shape == media.shape == (count,):
        raise ValueError(f"{count} features need as many scores, templates and media")

    # A mean within media and a sum over them are one weighted sum: each row counts 1 / (rows of its medium).
    order = np.lexsort((media, templates))
    new_template = np.diff(templates[order], prepend=templates[order[:1]] - 1) != 0
    medium = np.cumsum(new_template | (np.diff(media[order], prepend=0) != 0))
    weights = weights[order] / np.bincount(medium)[medium]
    row = np.cumsum(new_template) - 1
    sums = np.zeros((len(templates[order][new_template]), features.shape[1]))
    for start in range(0, count, _CHUNK):
        chunk = slice(start, start + _CHUNK)
        here = order[chunk]
        vectors = sum(array[here].astype(np.float64) for array in used.values())
        if "normalised_first" in switches:
            vectors = unit_rows(vectors)
        vectors *= weights[chunk, None]
        if not np.isfinite(vectors).all():
            image = here[~np.isfinite(vectors).all(1)].min()
            raise UserError(f"image {image} (counted from 0): its feature or its detector score is not finite")
        starts = np.flatnonzero(np.diff(row[chunk], prepend=-1))
        sums[row[chunk][starts]] += np.add.reduceat(vectors, starts)
    return Templates(templates[order][new_template], unit_rows(sums))


def pair_scores(templates: Templates, first, second) -> np.ndarray:
    """Cosines of pairs of templates, in their order: float64 [P].

    Args:
      templates: from `pool`.
      first: [P] int, identifier of a template.
      second: [P] int, of the other.

    Raises:
      UserError: a pair names a template that has no image.
    """
    one, two = (_position(templates.identifiers, np.asarray(names)) for names in (first, second))
    scores = np.empty(len(one))
    for start in range(0, len(one), _PAIR_CHUNK):
        chunk = slice(start, start + _PAIR_CHUNK)
        np.einsum("nd,nd->n", templates.features[one[chunk]], templates.features[two[chunk]], out=scores[chunk])
    return scores


def _position(identifiers: np.ndarray, names: np.ndarray) -> np.ndarray:
    found = np.minimum(np.searchsorted(identifiers, names), len(identifiers) - 1).astype(np.int32)
    absent = identifiers[found] != names
    if absent.any():
        pair = int(absent.argmax())
        raise UserError(f"pair {pair} (counted from 0) names template {names[pair]}, which has no image")
    return found


def roc(scores, same, *, drop_intermediate: bool = True) -> Roc:
    """Fractions of accepted pairs at every distinct threshold, from above the largest score downwards.

    Args:
      scores: [P], larger for pairs that look more alike.
      same: [P] bool.
      drop_intermediate: drop points where the curve continues in the same direction, in equal steps, which is
        scikit-learn's default. The area does not change, but readings at a level do.

    Raises:
      UserError: all pairs are of one person, or none is.
    """
    scores, same = np.asarray(scores), np.asarray(same, bool)
    if same.all() or not same.any():
        raise UserError(f"a curve needs pairs of one person and of two; of {len(same)} pairs {same.sum()} are of one")
    order = np.argsort(scores, kind="stable")[::-1]
    last = np.flatnonzero(np.diff(scores[order], append=-np.inf))  # last of each run of equal scores
    accepted = np.cumsum(same[order])[last]
    false = last + 1 - accepted
    if drop_intermediate and len(last) > 2:
        corner = np.r_[True, (np.diff(false, 2) != 0) | (np.diff(accepted, 2) != 0), True]
        accepted, false = accepted[corner], false[corner]
    return Roc(np.r_[0, false / false[-1]], np.r_[0, accepted / accepted[-1]])


def read_curve(curve: Roc, levels=FAR_LEVELS) -> tuple[np.ndarray, np.ndarray]:
    """FAR and TAR, [L] each, of the point whose FAR is nearest to each level; among equals the one with the larger FAR,
    then TAR.

    The nearest FAR may be far away where the curve has few points; see `roc` for which points it has.
    """
    nearest = [len(curve.far) - 1 - np.abs(curve.far[::-1] - level).argmin() for level in levels]
    return curve.far[nearest], curve.tar[nearest]


def verify_templates(
    templates: Templates, pairs: Pairs, *, levels=FAR_LEVELS, reading: str = "official"
) -> TemplateVerification:
    """1:1 verification: TAR at levels of FAR.

    Args:
      templates: from `pool`.
      pairs: from `read_pairs`.
      levels: [L] of FAR.
      reading: "official" reads the curve without intermediate points, as for published numbers; "all_thresholds" reads
        the whole curve, which has a point nearer to the level.

    Raises:
      ValueError: an unknown reading.
      UserError: a pair names a template that has no image; all pairs are of one person, or none is.

    Source: Maze et al., IARPA Janus Benchmark - C, ICB 2018.
    """
    if reading not in READINGS:
        raise ValueError(f"reading: expected one of {', '.join(READINGS)}, got {reading!r}")
    scores = pair_scores(templates, pairs.first, pairs.second)
    curve = roc(scores, pairs.same, drop_intermediate=reading == "official")
    return TemplateVerification(scores, curve, *read_curve(curve, levels))


def identify(
    gallery, gallery_subjects, probes, probe_subjects, *, ranks=(1, 5, 10), fpir_levels=(0.01, 0.1)
) -> Identification:
    """1:N search of probes in one gallery; probes of its subjects are mated, the others must not be found.

    A probe's mate is its subject's best template in the gallery. It has rank 1 if no template of another
    subject is as similar. At a level of FPIR, at most that fraction of the unmated probes has any template above the
    threshold; TPIR is the fraction of mated probes whose mate is above it.

    Args:
      gallery: [G, D] of unit length.
      gallery_subjects: [G] int.
      probes: [P, D] of unit length.
      probe_subjects: [P] int.
      ranks: R of them.
      fpir_levels: L of them; () where every probe is mated.

    Raises:
      UserError: no probe is mated; levels are asked for and every probe is mated.

    Source: Maze et al., IARPA Janus Benchmark - C, ICB 2018, section 4; with both galleries and the mean of the two.
    """
    found = search(gallery, gallery_subjects, probes, probe_subjects)
    ones = np.ones((1, len(found.mated)))
    if found.mated.all() and len(fpir_levels):
        raise UserError(f"all {len(found.mated)} probes are of a subject of the gallery: some must be of others")
    return Identification(
        np.array([found.rank_rate(ones, at)[0] for at in ranks]),
        np.array([found.tpir(ones, level)[0] for level in fpir_levels]),
    )


class Search(NamedTuple):
    """What `search` returns: of P probes."""

    mated: np.ndarray  # [P] bool, whether the subject is in the gallery
    rank: np.ndarray  # [P] int64, of the mate, from 1; of unmated probes it means nothing
    mate: np.ndarray  # [P] float64, similarity of the mate; -inf if there is none
    best: np.ndarray  # [P] float64, largest similarity

    def rank_rate(self, counts, at: int) -> np.ndarray:
        """Fraction of the mated probes with at most rank `at`, each counted as often as `counts` [R, P] says: [R]."""
        found, all_mated = counts @ (self.mated & (self.rank <= at)), counts @ self.mated
        return np.divide(found, all_mated, out=np.full(len(counts), np.nan), where=all_mated > 0)

    def tpir(self, counts, level: float) -> np.ndarray:
        """Fraction of the mated probes above the threshold at which at most `level` of the unmated ones are: [R]."""
        order = np.flatnonzero(~self.mated)[np.argsort(-self.best[~self.mated], kind="stable")]
        above = np.cumsum(counts[:, order], 1)
        allowed = level * above[:, -1:] + 1e-9
        first = (above > allowed).argmax(1)  # the first unmated probe that may not be found
        thresholds = np.where(level < 1, self.best[order][first], -np.inf)
        all_mated = counts @ self.mated
        found = (counts * (self.mated & (self.mate > thresholds[:, None]))).sum(1)
        return np.divide(found, all_mated, out=np.full(len(counts), np.nan), where=all_mated > 0)


def search(gallery, gallery_subjects, probes, probe_subjects) -> Search:
    """Looks for every probe in a gallery; arguments as for `identify`.

    Raises:
      UserError: no probe is mated.
    """
    gallery, probes = np.asarray(gallery), np.asarray(probes)
    gallery_subjects, probe_subjects = np.asarray(gallery_subjects), np.asarray(probe_subjects)
    mated = np.isin(probe_subjects, gallery_subjects)
    if not mated.any():
        raise UserError(f"none of {len(mated)} probes are of a subject of the gallery")
    mate, rank, best = np.empty(len(probes)), np.empty(len(probes), np.int64), np.empty(len(probes))
    for start in range(0, len(probes), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        similarity = probes[chunk] @ gallery.T
        own = probe_subjects[chunk, None] == gallery_subjects
        best[chunk] = similarity.max(1)
        mate[chunk] = np.where(own, similarity, -np.inf).max(1)
        rank[chunk] = 1 + (~own & (similarity >= mate[chunk, None])).sum(1)
    return Search(mated, rank, mate, best)
