"""A saved model on its way to Hugging Face, whose API a stand-in speaks."""

import hashlib
import json

import pytest
from helpers import command
from hub_stand_in import TOKEN, Hub
from untrained import write_small_checkpoint

import reid_lightning
from reid_lightning.errors import InputError
from reid_lightning.inference.push import push

# huggingface_hub uploads large files in a way that httpx would have otherwise.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def hub(monkeypatch):
    from huggingface_hub import constants

    hub = Hub()
    monkeypatch.setattr(constants, "ENDPOINT", hub.address)
    monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", hub.address)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    yield hub
    hub.close()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("push")
    checkpoint = write_small_checkpoint(folder / "model.ckpt")
    return reid_lightning.load(checkpoint).save_pretrained(folder / "saved", license="mit")


def digests(tree):
    return {name: hashlib.sha256(content).hexdigest() for name, content in tree.items()}


def test_the_whole_model_arrives_and_nothing_else(hub, saved):
    for name in ("model.onnx", "model.onnx.json", "notes.txt", "person.jpg", "cache.npz"):
        (saved / name).write_bytes(name.encode())
    address = push(saved, "me/small")
    assert address == f"{hub.address}/me/small/commit/0"
    there = hub.repositories["me/small"]
    assert there["private"] is True
    wanted = ("model.safetensors", "config.json", "README.md", "model.onnx", "model.onnx.json")
    assert digests(there["branches"]["main"]) == digests(
        {name: (saved / name).read_bytes() for name in wanted}
    )


def test_what_arrived_is_the_model(hub, saved, tmp_path):
    push(saved, "hf://me/again", private=False)
    push(saved, "me/again")  # once more: the repository is there
    assert hub.repositories["me/again"]["private"] is False
    for name, content in hub.repositories["me/again"]["branches"]["main"].items():
        (tmp_path / name).write_bytes(content)
    assert reid_lightning.load(tmp_path).fingerprint == reid_lightning.load(saved).fingerprint


def test_a_branch(hub, saved):
    push(saved, "me/branched", revision="dev")
    branches = hub.repositories["me/branched"]["branches"]
    assert not branches["main"]
    assert "model.safetensors" in branches["dev"]


def test_the_command(hub, saved):
    said = command("push", saved, "me/told", "--public", "--message", "first").stderr
    assert f"{hub.address}/me/told/commit/0" in said
    assert "names 3 people of the training; `reid save --no-labels` leaves them out" in said
    assert hub.repositories["me/told"]["private"] is False


def test_nobody_is_logged_in(hub, saved, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(InputError, match="log in with `hf auth login`, or set HF_TOKEN"):
        push(saved, "me/none")
    assert not hub.repositories


@pytest.mark.parametrize(
    ("status", "said"),
    [(403, "the token has no right to write there"), (422, "nothing was committed: try again")],
)
def test_a_refused_commit_leaves_nothing(hub, saved, status, said):
    hub.refuse = status
    with pytest.raises(InputError, match=said):
        push(saved, "me/refused")
    assert not hub.repositories["me/refused"]["branches"]["main"]


def test_no_network(saved, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(InputError, match=r"http://127\.0\.0\.1:9 does not answer"):
        push(saved, "me/none")


@pytest.mark.parametrize("name", ["me", "me/a/b", "../x", "me/a b", "https://x/y", "me/.."])
def test_wrong_names(saved, name):
    with pytest.raises(InputError, match="does not name a repository of Hugging Face: write OWNER/NAME"):
        push(saved, name)


def test_folders_that_are_no_model(saved, tmp_path):
    with pytest.raises(InputError, match="is not the folder of a saved model"):
        push(tmp_path / "none", "me/none")
    with pytest.raises(InputError, match=r"has no file config\.json"):
        push(tmp_path, "me/none")
    for name in ("config.json", "README.md"):
        (tmp_path / name).write_bytes((saved / name).read_bytes())
    weights = bytearray((saved / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "model.safetensors").write_bytes(bytes(weights))
    with pytest.raises(InputError, match="does not hold the weights"):
        push(tmp_path, "me/none")
    content = json.loads((saved / "config.json").read_text())
    assert content["library"] == "reid-lightning"
