"""Small trained networks that several tests look at."""

from collections.abc import Callable

import pytest
import torch

from quadfire.models.datasets import Dataset, digits
from quadfire.models.networks.mlp import SpikingMLP
from quadfire.models.neurons import QIF
from quadfire.models.training.augment import Augment
from quadfire.models.training.options import Options
from quadfire.models.training.resume import Epoch
from quadfire.models.training.train import fit

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data() -> Dataset:
    return digits()


@pytest.fixture(scope="session")
def train_digits(data: Dataset) -> Callable[[int, int], tuple[SpikingMLP, Epoch]]:
    """Trains 64-48-10 of QIF neurons on scikit-learn's digits: (seed, epochs)."""
    def train(seed: int, epochs: int) -> tuple[SpikingMLP, Epoch]:
        torch.manual_seed(seed)
        network = SpikingMLP([64, 48, 10], QIF(window=1.0), 4)
        augment = Augment(shift=0.05, rotate=8, scale=0.1, shear=0.1, elastic=0)
        return network, fit(network, data, Options(epochs=epochs, rate=1e-2, seed=seed,
                                                   augment=augment))

    return train


@pytest.fixture(scope="session")
def trained(train_digits) -> SpikingMLP:
    """A network of `train_digits`; not to be changed."""
    return train_digits(3, 8)[0]
