"""What is held out of samples that bring no test set: a part of each class, by a fixed seed."""

import numpy as np

__all__ = ["SPLIT_SEED", "fifth_of_each", "stratified"]

#: Seed of every split that a data set does not bring itself. Every stated accuracy depends on it.
SPLIT_SEED = 2510


def stratified(labels: np.ndarray, held: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """(train, held out), sorted indices: of class c a random choice of `held[c]` is held out.

    The choice depends on SPLIT_SEED alone: numpy promises never to change RandomState's stream.
    """
    random = np.random.RandomState(SPLIT_SEED)  # noqa: NPY002
    train, held_out = [], []
    for label, count in enumerate(held):
        members = random.permutation(np.flatnonzero(labels == label))
        train.append(members[:len(members) - count])
        held_out.append(members[len(members) - count:])
    return np.sort(np.concatenate(train)), np.sort(np.concatenate(held_out))


def fifth_of_each(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(train, held out): of each class a fifth, at least one of two or more, is held out."""
    counts = np.bincount(labels).tolist()
    return stratified(labels, [max(round(0.2 * count), int(count > 1)) for count in counts])
