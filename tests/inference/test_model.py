"""A trained model: loaded, put to work, saved as a folder, and loaded again."""

import hashlib
import json
import os
import re
import shutil

import cv2
import numpy as np
import pytest
import torch
from helpers import command
from huggingface_hub import ModelCard
from huggingface_hub import errors as hub_errors
from PIL import Image
from safetensors.torch import load_file

import reid_lightning
from reid_lightning.data.attributes import MARKET12
from reid_lightning.engine.module import CHECKPOINT_KEY
from reid_lightning.errors import InputError
from reid_lightning.experiments.checkpoint import load_module
from reid_lightning.experiments.evaluate import folder_of
from reid_lightning.experiments.factory import build_module
from reid_lightning.experiments.run import run_job
from reid_lightning.inference.embed import Embedder
from reid_lightning.models import hub as hub_of_models
from reid_lightning.models.weights import load_weights

FILES = ["README.md", "config.json", "model.safetensors"]


def write_checkpoint(path, config):
    """Write the checkpoint of an untrained network."""
    torch.manual_seed(0)
    module = build_module(config, 3, {"a/anna": 0, "a/bo": 1, "a/cy": 2})
    entry = {
        "version": "0",
        "config": config,
        "identity_labels": module.identity_labels,
        "validation": {"mAP": 0.25},
        "validation_interval": [0.125, 0.5],
        "tasks": {task.name: task.saved() for task in module.tasks},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": module.state_dict(), CHECKPOINT_KEY: entry}, path)
    return path


@pytest.fixture
def checkpoint(compose, tiny, tmp_path):
    config = compose(
        *tiny, "data.sources.pedestrians.root=/home/me/people", output_dir="/home/me/outputs/run"
    )
    return write_checkpoint(tmp_path / "model.ckpt", config)


@pytest.fixture
def saved(checkpoint, tmp_path):
    return reid_lightning.load(checkpoint).save_pretrained(tmp_path / "saved", license="mit")


@pytest.fixture
def image():
    """An image of smooth noise, larger than the model's, red first."""
    coarse = np.random.default_rng(0).integers(0, 256, (6, 3, 3), dtype=np.uint8)
    return cv2.resize(coarse, (40, 80))


def test_a_saved_model_gives_the_same_vectors_to_the_bit(checkpoint, saved, image):
    assert sorted(os.listdir(saved)) == FILES
    images = [image, image[::-1].copy(), image[:50]]
    expected = reid_lightning.load(checkpoint).embed(images)
    assert expected.shape == (3, reid_lightning.load(checkpoint).network.embedding_size)
    assert torch.equal(reid_lightning.load(saved).embed(images), expected)
    again = reid_lightning.load(saved).save_pretrained(saved.with_name("again"))
    assert torch.equal(reid_lightning.load(again).embed(images), expected)
    for name in ("config.json", "model.safetensors"):
        assert (again / name).read_bytes() == (saved / name).read_bytes()


def test_the_folder_holds_plain_json_without_places_and_its_own_fingerprint(checkpoint, saved):
    text = (saved / "config.json").read_text()
    content = json.loads(text)
    for place in ("/home/me", str(saved.parent)):
        assert place not in text + (saved / "README.md").read_text()
    digest = hashlib.sha256((saved / "model.safetensors").read_bytes()).hexdigest()
    assert content["weights_sha256"] == digest == reid_lightning.load(checkpoint).fingerprint
    assert content["image_size"] == [32, 16]
    assert content["feed"]["mean"] == pytest.approx([0.485, 0.456, 0.406])
    assert "cosine distance" in content["protocol"]
    assert content["identity_labels"] == {"a/anna": 0, "a/bo": 1, "a/cy": 2}
    assert content["config"]["optimizer"] is None
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    held = load_file(saved / "model.safetensors")
    assert held.keys() == {name for name in state if not name.startswith("objective.losses.")}
    assert all(torch.equal(held[name], state[name]) for name in held)
    assert os.stat(saved / "model.safetensors").st_mode == os.stat(saved / "config.json").st_mode
    card = ModelCard.load(saved / "README.md")
    assert card.data.license == "mit"
    assert card.data.eval_results[0].metric_value == 25.0


def test_names_of_people_can_be_left_out(checkpoint, tmp_path, image):
    model = reid_lightning.load(checkpoint)
    folder = model.save_pretrained(tmp_path / "saved", with_labels=False)
    assert "anna" not in (folder / "config.json").read_text()
    other = reid_lightning.load(folder)
    assert other.identity_labels == {"0": 0, "1": 1, "2": 2}
    assert torch.equal(other.embed(image), model.embed(image))


def test_images_may_be_files_pillow_images_arrays_or_tensors(checkpoint, image, tmp_path):
    model = reid_lightning.load(checkpoint)
    Image.fromarray(image).save(tmp_path / "a.png")
    tensor = torch.from_numpy(image).permute(2, 0, 1)
    forms = [tmp_path / "a.png", str(tmp_path / "a.png"), Image.fromarray(image), image, tensor]
    vectors = model.embed(forms)
    assert torch.equal(vectors, vectors[:1].expand_as(vectors))
    for form in forms:
        torch.testing.assert_close(model.embed(form), vectors[:1], rtol=0, atol=1e-6)
    batch = torch.stack([tensor, tensor.flip(2)])
    torch.testing.assert_close(model.embed(batch), model.embed(list(batch)), rtol=0, atol=1e-6)
    assert torch.equal(model.embed(batch.permute(0, 2, 3, 1).numpy()), model.embed(batch))
    small = cv2.resize(image, (16, 32), interpolation=cv2.INTER_AREA)
    floats = torch.from_numpy(small).permute(2, 0, 1) / 255
    mixed = model.embed([floats, image, floats, floats])
    torch.testing.assert_close(mixed, vectors[:1].expand_as(mixed), rtol=0, atol=1e-5)


def test_vectors_keep_their_order_and_are_those_of_the_module_whatever_the_batch(checkpoint, image):
    model = reid_lightning.load(checkpoint)
    images = [np.roll(image, 7 * turn, axis=1) for turn in range(5)]
    pixels = [cv2.resize(each, (16, 32), interpolation=cv2.INTER_AREA) for each in images]
    module, _ = load_module(checkpoint)
    with torch.no_grad():
        expected = module.embed(torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2))
    assert torch.equal(model.embed(images), expected)
    model.batch_size = 2
    torch.testing.assert_close(model.embed(images), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ([], "got none"),
        (np.zeros((4, 4), np.uint8), "must be uint8 with 3 channels"),
        (np.zeros((4, 4, 3)), "got float64"),
        (np.zeros((0, 4, 3), np.uint8), "must be uint8"),
        (torch.zeros(3, 5, 5), r"must have the model's size, \(3, 32, 16\)"),
        ([3], "got int"),
        ("nowhere.jpg", "nowhere.jpg cannot be read"),
    ],
)
def test_what_is_no_image_is_refused(checkpoint, wrong, said):
    with pytest.raises(ValueError, match=said):
        reid_lightning.load(checkpoint).embed(wrong)


def test_the_model_says_what_it_is(saved):
    model = reid_lightning.load(saved, device="cpu")
    assert (model.image_size, model.device.type) == ((32, 16), "cpu")
    assert json.loads(json.dumps(model.info)) == model.info
    assert model.info["identities"] == 3
    assert model.info["attributes"] is None
    assert model.facts.validation == {"mAP": 0.25}
    assert model.protocol.distance == "cosine"
    with pytest.raises(InputError, match="device=gpu is not a device"):
        reid_lightning.load(saved, device="gpu")


def test_attributes_travel_with_their_schema(compose, tiny, tmp_path, image):
    path = write_checkpoint(tmp_path / "model.ckpt", compose(*tiny, "attributes=market12"))
    model = reid_lightning.load(path)
    folder = model.save_pretrained(tmp_path / "saved")
    schema = json.loads((folder / "config.json").read_text())["attributes"]
    assert list(schema) == list(MARKET12.names)
    assert schema["hat"] == ["no", "yes"]
    other = reid_lightning.load(folder)
    assert other.schema == model.schema == MARKET12
    assert torch.equal(other.embed(image), model.embed(image))


def test_overrides_of_the_protocol_are_saved(checkpoint, tmp_path, image):
    model = reid_lightning.load(checkpoint, overrides=["evaluation.flip=true"])
    other = reid_lightning.load(model.save_pretrained(tmp_path / "saved"))
    assert other.protocol.flip
    assert torch.equal(other.embed(image), model.embed(image))
    assert torch.equal(other.embed(image[:, ::-1].copy()), other.embed(image))


def test_commands_take_the_folder(checkpoint, tmp_path, image):
    (tmp_path / "people" / "anna").mkdir(parents=True)
    for turn in range(3):
        Image.fromarray(np.roll(image, 9 * turn, axis=0)).save(tmp_path / "people" / "anna" / f"{turn}.png")
    shown = command("save", checkpoint, tmp_path / "saved", "--license", "mit", "--no-labels")
    assert shown.exit_code == 0
    assert "anna" not in (tmp_path / "saved" / "config.json").read_text()
    found = {}
    for name in ("model.ckpt", "saved"):
        people, vectors = tmp_path / f"{name}.people.npz", tmp_path / f"{name}.npz"
        assert command("embed", tmp_path / name, tmp_path / "people", vectors).exit_code == 0
        assert command("enrol", tmp_path / name, tmp_path / "people", people).exit_code == 0
        named = command("identify", tmp_path / name, people, tmp_path / "people", "--k", 1)
        found[name] = np.load(vectors)["vectors"], named.stdout
    assert (found["model.ckpt"][0] == found["saved"][0]).all()
    assert found["model.ckpt"][1] == found["saved"][1]
    assert Embedder(tmp_path / "saved").mark == Embedder(tmp_path / "saved").mark


def test_results_of_an_evaluation_lie_beside_the_folder_and_not_in_it(saved, monkeypatch):
    assert folder_of(saved) == saved.with_name("saved_evaluation")
    monkeypatch.chdir(saved)
    assert folder_of(".") == saved.with_name("saved_evaluation")


def test_an_evaluation_on_its_own_data_asks_for_their_place(saved):
    with pytest.raises(
        InputError, match=r"data\.sources\.pedestrians\.root=\(left out of the saved model\), is not there"
    ):
        command("evaluate", saved, "--output", saved.with_name("evaluation"))


def test_a_class_of_ones_own_needs_trust_from_a_folder_too(checkpoint, tmp_path, monkeypatch, image):
    (tmp_path / "own_pooling.py").write_text(
        "from reid_lightning.models.pooling import AveragePooling\nclass Own(AveragePooling): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    content = torch.load(checkpoint, weights_only=True)
    content[CHECKPOINT_KEY]["config"]["pooling"] = {"_target_": "own_pooling.Own"}
    torch.save(content, tmp_path / "own.ckpt")
    folder = reid_lightning.load(tmp_path / "own.ckpt", trust=["own_pooling"]).save_pretrained(
        tmp_path / "own"
    )
    with pytest.raises(InputError, match=r"own_pooling.Own at pooling.*--trust own_pooling"):
        reid_lightning.load(folder)
    vectors = reid_lightning.load(folder, trust=["own_pooling"]).embed(image)
    assert torch.equal(vectors, reid_lightning.load(checkpoint).embed(image))


def test_what_json_cannot_hold_is_refused_and_not_changed(checkpoint, tmp_path):
    for key, value, said in (
        ("x", {1: "a"}, "a key that is not text"),
        ("x", float("nan"), "cannot be written as JSON"),
    ):
        content = torch.load(checkpoint, weights_only=True)
        content[CHECKPOINT_KEY]["config"]["data"][key] = value
        torch.save(content, tmp_path / "odd.ckpt")
        with pytest.raises(InputError, match=said):
            reid_lightning.load(tmp_path / "odd.ckpt").save_pretrained(tmp_path / "odd")
        assert os.listdir(tmp_path / "odd") == []


def test_a_training_starts_from_the_folder(saved, checkpoint):
    module, _ = load_module(checkpoint)
    body = reid_lightning.load(saved).network.backbone.body
    expected = {name: tensor.clone() for name, tensor in body.state_dict().items()}
    for path in (saved, saved / "model.safetensors"):
        torch.nn.init.zeros_(body.conv1.weight)
        report = load_weights(body, path)
        assert not report.missing
        assert not report.wrong_shape
        assert torch.equal(body.conv1.weight, expected["conv1.weight"])
    assert torch.equal(body.conv1.weight, module.network.backbone.body.conv1.weight)


def run_the_card(folder, images, monkeypatch):
    """Run the examples of a card as they stand, in its folder."""
    text = (folder / "README.md").read_text()
    for name in ("query.jpg", "gallery.jpg"):
        shutil.copy(images / name, folder / name)
    monkeypatch.chdir(folder)
    (python,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(compile(python, "README.md", "exec"), {})
    (embeds,) = re.findall(r"^reid (embed .*)$", text, re.MULTILINE)
    arguments = embeds.replace("IMAGES", str(images)).split()
    assert command(*arguments).exit_code == 0
    assert np.load("vectors.npz")["vectors"].shape[0] == 2


@pytest.fixture
def images(tmp_path, image):
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("query.jpg", "gallery.jpg"):
        Image.fromarray(image).save(folder / name)
    return folder


def test_the_examples_of_the_card_of_a_folder_run(saved, images, monkeypatch, capsys):
    run_the_card(saved, images, monkeypatch)
    assert float(capsys.readouterr().out.split("cosine similarity: ")[1].split()[0]) == pytest.approx(
        1, abs=1e-5
    )


HUB = {
    "RepositoryNotFoundError": "hf://me/model does not exist, or is private",
    "GatedRepoError": "hf://me/model wants its conditions to be accepted",
    "RevisionNotFoundError": "hf://me/model has no revision None",
}


class Hub:
    """Stands in for Hugging Face: a folder, or an error."""

    def __init__(self, folder, fails=None):
        self.folder, self.fails, self.asked = folder, fails, []

    def __call__(self, repo, **options):
        self.asked.append((repo, options))
        if self.fails is not None and not options.get("local_files_only"):
            raise self.fails
        if self.folder is None:
            raise hub_errors.LocalEntryNotFoundError("nothing here")
        return str(self.folder)


def test_a_model_comes_from_hugging_face(saved, monkeypatch, image):
    hub = Hub(saved)
    monkeypatch.setattr("huggingface_hub.snapshot_download", hub)
    monkeypatch.setattr(hub_of_models, "reach", lambda url: None)
    expected = reid_lightning.load(saved).embed(image)
    for name in ("hf://me/my-model", "hf://me/my-model@v1.0"):
        assert torch.equal(reid_lightning.load(name).embed(image), expected)
    assert [(repo, options["revision"]) for repo, options in hub.asked] == [
        ("me/my-model", None),
        ("me/my-model", "v1.0"),
    ]
    assert sorted(hub.asked[0][1]["allow_patterns"]) == FILES


@pytest.mark.parametrize(
    "name",
    ["hf://me", "hf://me/model/file", "hf://me/mo del", "hf://../..@x y", "https://huggingface.co/me/model"],
)
def test_another_name_of_hugging_face_is_refused_before_the_network(name, monkeypatch):
    monkeypatch.setattr(hub_of_models, "reach", lambda url: pytest.fail("the network was asked"))
    with pytest.raises(InputError, match="write hf://OWNER/REPO"):
        reid_lightning.load(name)


@pytest.mark.parametrize("error", HUB)
def test_what_hugging_face_refuses_is_a_sentence(error, monkeypatch):
    import httpx

    response = httpx.Response(404, request=httpx.Request("GET", "https://hub.invalid"))
    monkeypatch.setattr(
        "huggingface_hub.snapshot_download", Hub(None, getattr(hub_errors, error)("x", response=response))
    )
    monkeypatch.setattr(hub_of_models, "reach", lambda url: None)
    with pytest.raises(InputError, match=re.escape(HUB[error])):
        reid_lightning.load("hf://me/model")


def test_without_a_network_an_earlier_copy_serves_or_a_sentence_says_what_to_do(saved, monkeypatch, image):
    def fails(url):
        raise OSError("no network")

    monkeypatch.setattr(hub_of_models, "reach", fails)
    monkeypatch.setattr("huggingface_hub.snapshot_download", Hub(saved))
    assert reid_lightning.load("hf://me/model").embed(image).shape[0] == 1
    hub = Hub(None)
    monkeypatch.setattr("huggingface_hub.snapshot_download", hub)
    with pytest.raises(
        InputError, match=r"hf://me/model cannot be downloaded.*OSError.*config.json and model.safetensors"
    ):
        reid_lightning.load("hf://me/model")
    assert [options["local_files_only"] for _, options in hub.asked] == [True]


@pytest.mark.slow
def test_a_trained_model_is_evaluated_the_same_from_its_folder(
    compose, tiny, tmp_path, monkeypatch, images, capsys
):
    result = run_job(compose(*tiny, "trainer.max_epochs=1", "attributes=market12"))
    checkpoints = tmp_path / "run" / "checkpoints"
    run_the_card(checkpoints, images, monkeypatch)
    command("save", checkpoints / "best.ckpt", tmp_path / "saved")
    scores = {}
    for name, model in (("checkpoint", checkpoints / "best.ckpt"), ("folder", tmp_path / "saved")):
        command("evaluate", model, "--output", tmp_path / name, "--embeddings", tmp_path / f"{name}.npz")
        scores[name] = json.loads((tmp_path / name / "metrics.json").read_text())
    assert scores["folder"]["test"] == scores["checkpoint"]["test"] == result.test
    assert scores["folder"]["attributes"] == scores["checkpoint"]["attributes"]
    vectors = [np.load(tmp_path / f"{name}.npz")["vectors"] for name in scores]
    assert (vectors[0] == vectors[1]).all()
    facts = reid_lightning.load(tmp_path / "saved").facts
    assert facts.test == result.test
    assert facts.reports["attributes"]["majority"] == result.reports["attributes"]["majority"]
    assert f"| test | {100 * result.test['mAP']:.1f} |" in (tmp_path / "saved" / "README.md").read_text()
    for name in ("classification_test.csv", "queries.csv"):
        assert (tmp_path / "folder" / name).read_bytes() == (tmp_path / "checkpoint" / name).read_bytes()
