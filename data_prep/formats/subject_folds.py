"""Splits by subject, for data sets of few people that are cross-validated."""

import argparse
from collections.abc import Callable, Iterator, Sequence

from data_prep.conversion import Item, Skipped


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds --test_fold."""
    parser.add_argument(
        "--test_fold",
        type=int,
        choices=(1, 2, 3),
        help="write the splits `train` and `test`, this fold the test; default: the splits fold_1, fold_2, fold_3",
    )


def splits(
    folds: Sequence[Sequence[str]], test_fold: int | None, items: Callable[[str], Iterator[Item | Skipped]]
) -> dict[str, Iterator[Item | Skipped]]:
    """The items of every split.

    Args:
      folds: the subjects of each fold.
      test_fold: 1 for the first: it is the split `test`, the others are `train`. None: each fold is a split.
      items: of a subject.
    """
    subjects = {f"fold_{number}": fold for number, fold in enumerate(folds, 1)}
    if test_fold:
        test = subjects.pop(f"fold_{test_fold}")
        subjects = {"train": [subject for fold in subjects.values() for subject in fold], "test": test}
    return {split: (item for subject in part for item in items(subject)) for split, part in subjects.items()}
