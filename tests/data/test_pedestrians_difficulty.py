import cv2
import numpy as np
import pytest
import timm
import torch

from reid_lightning.data.pedestrians.dataset import read_pedestrians

TEST_IDENTITIES = 100


@pytest.fixture(scope="module")
def test_set(tmp_path_factory):
    root = tmp_path_factory.mktemp("pedestrians") / "set"
    table = read_pedestrians(root, train_identities=300, test_identities=TEST_IDENTITIES)
    table = table[table["split"] != "train"]
    return table, np.stack([cv2.imread(path) for path in table["path"]])


def stripe_histogram(image):
    """6 stripes x (16 hues, 8 saturations, 8 values), square roots: 15 % Rank-1 on Market-1501."""
    hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
    parts = []
    for stripe in np.array_split(hsv, 6):
        for channel, (bins, top) in enumerate(((16, 180), (8, 256), (8, 256))):
            counts = np.histogram(stripe[..., channel], bins, (0, top))[0]
            parts.append(np.sqrt(counts / counts.sum()))
    return np.concatenate(parts)


def rank1(table, features):
    features = features / np.linalg.norm(features, axis=1, keepdims=True)
    query = (table["split"] == "query").to_numpy()
    person, camera = table["person_id"].to_numpy(), table["camera_id"].to_numpy()
    hits = []
    for row in np.flatnonzero(query):
        allowed = ~query & ~((person == person[row]) & (camera == camera[row]))
        nearest = np.flatnonzero(allowed)[np.argmax(features[allowed] @ features[row])]
        hits.append(person[nearest] == person[row])
    return float(np.mean(hits))


@pytest.mark.slow
def test_colour_histograms_find_as_many_as_on_the_real_set(test_set):
    table, images = test_set
    assert 0.08 < rank1(table, np.stack([stripe_histogram(image) for image in images])) < 0.35


@pytest.mark.slow
def test_untrained_network_finds_few(test_set):
    table, images = test_set
    torch.manual_seed(0)
    network = timm.create_model("resnet18", pretrained=False, num_classes=0).eval()
    pixels = torch.from_numpy(images[..., ::-1].copy()).permute(0, 3, 1, 2)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    deviation = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    with torch.no_grad():
        features = [network((part.float() / 255 - mean) / deviation) for part in pixels.split(128)]
    assert rank1(table, torch.cat(features).numpy()) < 0.30
