"""ImageNet's reader, on small JPEG files."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from quadfire.models.datasets import ImageDataset, load_dataset


def image_dataset(name: str, folder, **options) -> ImageDataset:
    data = load_dataset(name, folder, **options)
    assert isinstance(data, ImageDataset)
    return data


@pytest.fixture
def photographs(tmp_path):
    """Two classes; every picture has one colour on its left and another on its right."""
    for part, count in (("train", 3), ("val", 1)):
        for name in ("n02", "n01"):
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = np.full((60, 90, 3), 20 if name == "n01" else 100, np.uint8)
                pixels[:, 45:] = 220
                buffer = io.BytesIO()
                Image.fromarray(pixels).save(buffer, "JPEG", quality=95)
                (tmp_path / part / name / f"{name}_{number}.JPEG").write_bytes(buffer.getvalue())
    return tmp_path


def test_imagenet(photographs):
    data = image_dataset("imagenet", photographs, size=32)
    assert (data.shape, data.classes) == ((3, 32, 32), 2)
    assert (len(data.train_samples), len(data.held_out_samples)) == (6, 2)
    x, y = data.held_out_samples.batch(torch.tensor([0, 1]))
    assert y.tolist() == [0, 1] and x.shape == (2, 3, 32, 32) and x.dtype == torch.uint8
    # the middle of the picture, its edge in the middle
    for image, left in zip(x, (20, 100), strict=True):
        assert (image[:, :, :14].int() - left).abs().max() < 8
        assert (image[:, :, 18:].int() - 220).abs().max() < 8


def test_imagenet_random_parts_depend_on_the_seed_alone(photographs):
    samples = image_dataset("imagenet", photographs, size=16).train_samples
    seeds = torch.arange(6)
    first, labels = samples.batch(torch.zeros(6, dtype=torch.long), seeds)
    assert labels.tolist() == [0] * 6
    assert len({bytes(image.numpy()) for image in first}) > 3
    turned, _ = samples.batch(torch.zeros(6, dtype=torch.long), seeds.flip(0))
    assert torch.equal(turned.flip(0), first)
    with pytest.raises(ValueError, match="they need seeds"):
        samples.batch(torch.tensor([0]))


def test_imagenet_layouts(photographs, tmp_path):
    (photographs / "val" / "n03").mkdir()
    with pytest.raises(ValueError, match="val/ has classes that train/ has not: n03"):
        load_dataset("imagenet", photographs)
    for folder in (photographs / "val").iterdir():
        folder.rename(photographs / f"away_{folder.name}")
    with pytest.raises(ValueError, match="(?s)val/ holds no folders.*move each into a folder"):
        load_dataset("imagenet", photographs)
