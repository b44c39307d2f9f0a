"""Models and files of Hugging Face, whose functions are stood in for: nothing here asks a network."""

import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from reid_lightning.config.resolve import instantiate
from reid_lightning.errors import InputError
from reid_lightning.experiments.feeding import feed_of_config, with_architecture
from reid_lightning.models import hub
from reid_lightning.models.feed import Feed
from reid_lightning.models.timm_backbone import TimmBackbone

CONFIG = {
    "architecture": "test_efficientnet",
    "pretrained_cfg": {"mean": [0.4] * 3, "std": [0.3] * 3, "interpolation": "bilinear"},
}


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A model of timm in a folder that stands for its repository; the calls are listed."""
    torch.manual_seed(3)
    model = timm.create_model("test_efficientnet")
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    calls = []

    def snapshot_download(repo, revision=None, allow_patterns=None, local_files_only=False):
        calls.append((repo, revision, tuple(allow_patterns), local_files_only))
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    monkeypatch.setattr(hub, "reach", lambda url: None)
    return tmp_path, model.eval(), calls


@pytest.mark.parametrize("name", ["hf-hub:timm/small.in1k", "hf_hub:timm/small.in1k@v2"])
def test_a_model_is_named_by_its_repository(name, repository, compose):
    _, theirs, calls = repository
    choices = [
        "backbone=timm",
        f"backbone.name='{name}'",
        "data.image_size=[64,32]",
        "backbone.weights=imagenet",
    ]
    config = with_architecture(compose(*choices))
    assert config["backbone"]["name"] == "test_efficientnet"
    backbone = instantiate(config["backbone"], "backbone").eval()
    image = torch.randn(1, 3, 64, 32)
    with torch.no_grad():
        torch.testing.assert_close(backbone(image), theirs.forward_features(image))
    assert feed_of_config(config) == Feed((0.4,) * 3, (0.3,) * 3, "bilinear")
    assert {call[:2] for call in calls} == {("timm/small.in1k", "v2" if "@" in name else None)}
    assert with_architecture(compose(*choices[:3]))["backbone"]["weights"] is None


def test_a_file_of_weights_is_named_by_its_address(repository, compose):
    _, theirs, calls = repository
    address = "hf://me/weights@main/model.safetensors"
    backbone = TimmBackbone("test_efficientnet", address, (64, 32)).eval()
    image = torch.randn(1, 3, 64, 32)
    with torch.no_grad():
        torch.testing.assert_close(backbone(image), theirs.forward_features(image))
    assert calls[0] == ("me/weights", "main", ("model.safetensors", "config.json"), False)
    choices = ["backbone=timm", "backbone.name=test_efficientnet", f"backbone.weights='{address}'"]
    assert feed_of_config(compose(*choices)).mean == (0.4, 0.4, 0.4)
    with pytest.raises(InputError, match=r"hf://me/weights has no file other\.pth"):
        hub.hub_file("hf://me/weights/other.pth")


@pytest.mark.parametrize(
    "address",
    ["hf://me/weights", "hf://me", "hf:me/weights/file", "hf://me/weights/../../secret", "hf://a b/c/d"],
)
def test_an_address_that_names_no_file_is_refused(address):
    with pytest.raises(InputError, match="write hf://OWNER/REPO/FILE"):
        hub.hub_file(address)


@pytest.mark.parametrize("name", ["hf-hub:", "hf-hub:me", "hf-hub:me/../x/y", "hf-hub:a/b c"])
def test_a_name_that_is_no_repository_is_refused(name):
    with pytest.raises(InputError, match="write hf-hub:OWNER/REPO"):
        hub.hub_model(name)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not a model of timm"),
        ("[]", "is not a model of timm"),
        ("{}", "is not a model of timm"),
        ('{"architecture": 3}', "is not a model of timm"),
        ('{"architecture": "vit", "model_args": {"img_size": 3}}', "is a changed vit"),
    ],
)
def test_a_repository_of_something_else_is_one_sentence(content, message, repository):
    folder, _, _ = repository
    (folder / "config.json").write_text(content)
    with pytest.raises(InputError, match=message):
        hub.hub_model("hf-hub:me/model")


def test_without_a_network_the_earlier_copy_serves_or_a_sentence_says_what_to_do(repository, monkeypatch):
    folder, _, calls = repository

    def no_network(url):
        raise OSError("no route")

    monkeypatch.setattr(hub, "reach", no_network)
    assert hub.hub_file("hf://me/weights/model.safetensors") == Path(folder) / "model.safetensors"
    assert calls[-1][-1] is True  # local files only

    def nothing(*arguments, **options):
        raise FileNotFoundError("no copy")

    monkeypatch.setattr("huggingface_hub.snapshot_download", nothing)
    with pytest.raises(InputError, match=r"no earlier copy: .* does not answer \(OSError\); fetch model"):
        hub.hub_file("hf://me/weights/model.safetensors")
