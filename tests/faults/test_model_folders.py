"""Folders of saved models that strangers have written or that are damaged: the same as of checkpoints, one sentence."""

import json
import os
import pickle
from contextlib import nullcontext

import pytest
import torch
from checkpoints import reid, trained  # noqa: F401
from safetensors.torch import save_file
from test_hostile_checkpoints import (
    CALLS,
    EXEC,
    PLACES,
    TRICKS,
    Runs,
    filled,
    nothing_happened,
    places,  # noqa: F401
    put,
    refused,
)
from test_malformed_checkpoints import CHANGED

import reid_lightning

from checkpoints import recorded  # isort: skip
from reid_lightning.errors import InputError

GROUP = "Folders of saved models"
NOT_JSON = {  # what JSON or safetensors cannot hold, or what is of a checkpoint's file alone
    "a tensor alone",
    "a list",
    "weights alone",
    "no entry of ours",
    "an entry that is text",
    "an entry that is empty",
    "config empty",
    "config with a tensor",
    "state_dict missing",
    "state_dict a list",
    "state_dict of numbers",
    "a weight of claimed size",
    "a sparse weight",
}
CHANGES = [what for what in CHANGED if what not in NOT_JSON]


@pytest.mark.fault(GROUP, "the config names a function that runs, reads, writes or fetches")
@pytest.mark.parametrize("target", CALLS)
def test_a_call_in_the_config(trained, tmp_path, places, seen, target):  # noqa: F811
    node = {"_target_": target, **filled(CALLS[target], places)}
    seen(
        refused(
            trained.folder(tmp_path / "x", lambda content: put(content, "backbone", node)), tmp_path, places
        )
    )


@pytest.mark.fault(GROUP, "the same anywhere in the config")
@pytest.mark.parametrize("place", PLACES)
def test_a_call_anywhere(trained, tmp_path, places, place):  # noqa: F811
    def change(content):
        transform = {"_target_": "albumentations.Compose", "transforms": []}
        content["reid_lightning"]["config"]["test_transform"] = transform
        put(content, PLACES[place], {"_target_": EXEC, **filled(CALLS[EXEC], places)})

    folder = trained.folder(tmp_path / "x", change)
    refused(folder, tmp_path, places)
    built = place not in ("reader", "report")  # which a model without a data set does not need
    with recorded() as events, pytest.raises(InputError) if built else nullcontext():
        reid_lightning.load(folder)
    nothing_happened(events, places)


@pytest.mark.fault(
    GROUP, "a disguised name, an interpolation, an instruction of Hydra's, or a dangerous argument"
)
@pytest.mark.parametrize("trick", TRICKS)
def test_a_trick(trained, tmp_path, places, trick):  # noqa: F811
    key, value = TRICKS[trick]
    change = lambda content: put(content, key, filled(value, places))  # noqa: E731
    refused(trained.folder(tmp_path / "x", change), tmp_path, places)


@pytest.mark.fault(GROUP, "a pickle in place of the weights, the config, or beside them")
@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "pytorch_model.bin"])
def test_code_in_a_pickle(trained, tmp_path, places, seen, name):  # noqa: F811
    folder = trained.folder(tmp_path / "x")
    (folder / name).write_bytes(pickle.dumps({"state_dict": Runs(places["CANARY"])}))
    with recorded() as events:
        if name == "pytorch_model.bin":
            reid_lightning.load(folder)
        else:
            with pytest.raises(InputError, match=name) as error:
                reid_lightning.load(folder)
            seen(error.value)
    nothing_happened(events, places)


@pytest.mark.fault(GROUP, "a part of the config is missing, of another type, or out of range")
@pytest.mark.parametrize("what", CHANGES)
def test_a_changed_folder(trained, tmp_path, seen, what):  # noqa: F811
    folder = trained.folder(tmp_path / "x", CHANGED[what])
    with pytest.raises(InputError) as error:
        reid_lightning.load(folder)
    assert str(folder) in str(error.value)
    assert "\n" not in str(error.value)
    seen(error.value)


def written(name, content):
    """Return a change that writes a file of the folder."""
    return lambda folder: (folder / name).write_bytes(content)


def said(**values):
    """Return a change of the top of config.json."""

    def change(folder):
        content = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(content | values))

    return change


def cut(name):
    """Return a change that leaves half of a file."""
    return lambda folder: os.truncate(folder / name, (folder / name).stat().st_size // 2)


def pipe(name):
    """Return a change that puts a pipe, which nobody writes to, in place of a file."""

    def change(folder):
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return change


HEADER = (2**62).to_bytes(8, "little")
DAMAGED = {
    "no config": lambda folder: (folder / "config.json").unlink(),
    "no weights": lambda folder: (folder / "model.safetensors").unlink(),
    "config empty": written("config.json", b""),
    "config a list": written("config.json", b"[]"),
    "config not UTF-8": written("config.json", b'{"a": "\xff\xfe"}'),
    "config of another library": written("config.json", b'{"architectures": ["BertModel"]}'),
    "config nested without end": written("config.json", b"[" * 200_000),
    "config with a number of 10,000 digits": written("config.json", b'{"seed": ' + b"9" * 10_000 + b"}"),
    "config with NaN": written("config.json", b'{"seed": NaN}'),
    "config huge": lambda folder: os.truncate(folder / "config.json", 10**9),
    "config a pipe": pipe("config.json"),
    "config cut": cut("config.json"),
    "format of the future": said(format=2),
    "format a list": said(format=[1]),
    "fingerprint missing": said(weights_sha256=None),
    "fingerprint of other weights": said(weights_sha256="0" * 64),
    "labels a list": said(identity_labels=[1]),
    "card a text": said(card="text"),
    "weights empty": written("model.safetensors", b""),
    "weights cut": cut("model.safetensors"),
    "weights with a header of claimed size": written("model.safetensors", HEADER + b"{}"),
    "weights a pipe": pipe("model.safetensors"),
    "weights of another model": lambda folder: save_file({"a": torch.zeros(2)}, folder / "model.safetensors"),
    "weights a zip archive": written("model.safetensors", b"PK\x03\x04" + b"\0" * 100),
}


@pytest.mark.fault(GROUP, "a file is missing, damaged, of another program, or does not belong to the other")
@pytest.mark.parametrize("what", DAMAGED)
def test_a_damaged_folder(trained, monkeypatch, capsys, tmp_path, seen, what):  # noqa: F811
    folder = trained.folder(tmp_path / "x")
    DAMAGED[what](folder)
    for command, arguments in {
        "evaluate": ("--output", tmp_path / "output"),
        "embed": (trained.images, tmp_path / "vectors.npz"),
        "save": (tmp_path / "saved",),
    }.items():
        code, said = reid(monkeypatch, capsys, command, folder, *arguments)
        lines = [line for line in said.splitlines() if line.strip()]
        assert (code, len(lines)) == (2, 1), said
        assert str(folder) in lines[0]
    seen(lines[0].removeprefix("error: "))


@pytest.mark.fault(GROUP, "damaged weights whose fingerprint was made to fit")
@pytest.mark.parametrize("content", [b"", HEADER + b"{}", b"PK\x03\x04" + b"\0" * 100])
def test_damaged_weights_with_a_fitting_fingerprint(trained, tmp_path, seen, content):  # noqa: F811
    import hashlib

    folder = trained.folder(tmp_path / "x")
    (folder / "model.safetensors").write_bytes(content)
    said(weights_sha256=hashlib.sha256(content).hexdigest())(folder)
    with pytest.raises(InputError, match="cannot be read as safetensors") as error:
        reid_lightning.load(folder)
    seen(error.value)


@pytest.mark.fault(GROUP, "a stranger's facts in the card, which is written again")
def test_facts_of_a_stranger_are_loaded_and_written_again(trained, tmp_path, seen):  # noqa: F811
    folder = trained.folder(tmp_path / "x")
    evil = "</code><script>alert(1)</script>`\n---\nlicense: mit\n---\n"
    said(
        card={
            "test": {"mAP": evil, "rank1": 10**400},
            "protocol": evil,
            "command": [evil],
            "data": [{"source": evil}],
        }
    )(folder)
    again = reid_lightning.load(folder).save_pretrained(tmp_path / "again")
    text = (again / "README.md").read_text()
    assert "license:" not in text.split("\n---\n")[0]
    assert [line for line in text.splitlines() if line.startswith(("license", "---", "<"))] == ["---", "---"]
    seen("names in code spans, numbers left out")


@pytest.mark.fault(GROUP, "a folder to save in that cannot be written to, or is a file")
def test_a_place_that_takes_no_model(trained, monkeypatch, capsys, tmp_path, seen):  # noqa: F811
    (tmp_path / "file").write_text("")
    code, text = reid(monkeypatch, capsys, "save", trained.path, tmp_path / "file")
    assert code == 2
    assert "is a file and not a folder" in text
    seen(text.removeprefix("error: "))
