import pytest

OWN = """
import torch
from capsbench.data import Dataset, Images, ImageShape, Splits

def images(count, classes, shape, seed):
    drawn = torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed))
    return Images(drawn, torch.arange(count) % classes)

class Colour(Dataset):
    image = ImageShape(3, 8, 8)
    classes = 4

    def load(self, folder):
        return Splits(*(images(40, 4, self.image, seed) for seed in range(3)))

class Stereo(Dataset):
    image = ImageShape(2, 8, 8)
    classes = 4
    standardised = True

    def load(self, folder):
        parts = (images(40, 4, self.image, seed) for seed in range(3))
        return Splits(*(Images(4 * part.images - 2, part.labels) for part in parts))

class Pairs(Dataset):
    image = ImageShape(1, 8, 8)
    classes = 4
    labels_an_image = 2

    def load(self, folder):
        parts = (images(40, 4, self.image, seed) for seed in range(3))
        return Splits(*(Images(p.images, torch.stack([p.labels, (p.labels + 1) % 4], dim=1)) for p in parts))
"""


@pytest.fixture
def own_data(tmp_path, monkeypatch):
    """The name of a data set of one's own: colour, stereo, or two objects an image."""
    name = f"own_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    return lambda kind: f"{name}:{kind}"
