"""The part of a training split on which a probe's penalty is chosen, so the choice does not use the test split."""

import numpy as np

from facejax.errors import UserError

SHARE = 5  # one image in five is held out


def held_out(size: int, *, labels=None, groups=None, seed: int = 0) -> np.ndarray:
    """Which of `size` training images are held out: about a fifth, identical in every call.

    Args:
      size: number of training images n.
      labels: [n] integers: a fifth of each class is held out; of a class with fewer than 5 images, none.
      groups: [n], for example identities: whole groups are held out. Use it where the test split has other people than
        the training split: otherwise the penalty is too small, since faces of known people are easy. Takes precedence
        over `labels`.
      seed: of the random choice.

    Returns:
      [n] bool, neither all nor none of them true.

    Raises:
      UserError: with fewer than 5 images, or a single group.
    """
    rng = np.random.default_rng(seed)
    if size < SHARE:
        raise UserError(f"a probe needs at least {SHARE} training images, not {size}")
    if groups is not None:
        unique, inverse = np.unique(np.asarray(groups), return_inverse=True)
        if len(unique) < 2:
            raise UserError(f"all {size} training images are of one group ({unique[0]}): none can be held out")
        return (rng.permutation(len(unique)) < max(1, len(unique) // SHARE))[inverse]
    order = rng.permutation(size)
    if labels is not None:
        labels = np.asarray(labels)
        order = order[np.argsort(labels[order], kind="stable")]
        _, starts, counts = np.unique(labels[order], return_index=True, return_counts=True)
        rank = np.arange(size) - np.repeat(starts, counts)
        if counts.max() >= SHARE:
            return np.isin(np.arange(size), order[rank % SHARE == SHARE - 1])
    return np.isin(np.arange(size), order[: size // SHARE])
