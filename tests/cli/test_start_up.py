"""What a command brings along: nothing heavy before it is used."""

import json
import re

import pytest
from helpers import REPOSITORY, run_python, write_plain_image

USED_LATER = {"wandb", "timm", "plotly", "sklearn", "tensorboard", "faiss", "pytorch_metric_learning", "h5py"}
HEAVY = USED_LATER | {
    "torch",
    "lightning",
    "torchmetrics",
    "albumentations",
    "pandas",
    "scipy",
    "matplotlib",
    "cv2",
}
# Lightning imports all of torchmetrics, and that matplotlib and scipy, whoever uses them or not.
OURS = {
    "job": ("reid_lightning.experiments.run", USED_LATER),
    "networks": (
        "reid_lightning.models.convolutional_backbones, reid_lightning.models.weights",
        USED_LATER | {"matplotlib"},
    ),
    "reports": (
        "reid_lightning.reporting.page, reid_lightning.reporting.figures, reid_lightning.reporting.ranked_lists",
        USED_LATER | {"matplotlib", "lightning", "scipy"},
    ),
    "galleries": (
        "reid_lightning.inference.gallery.commands, reid_lightning.inference.gallery.search_command",
        USED_LATER | {"matplotlib", "lightning", "torchmetrics", "torchvision", "albumentations"},
    ),
    "retrieval": (
        "reid_lightning.retrieval.ranking, reid_lightning.losses.triplet",
        USED_LATER | {"matplotlib", "lightning", "scipy", "pandas"},
    ),
}  # fmt: skip


def test_help_lists_every_group_and_imports_nothing_heavy():
    shown = run_python("-X", "importtime", "train.py", "--help")
    for group in (folder.name for folder in (REPOSITORY / "conf").iterdir() if folder.is_dir()):
        assert group == "hydra" or f"{group}: " in shown.stdout, group
    imported = set(re.findall(r"\| +(\w+)\n", shown.stderr))
    assert "hydra" in imported
    assert not imported & HEAVY


@pytest.mark.parametrize("command", ["", "train", "search", "gallery build", "evaluate", "data check"])
def test_the_help_of_every_command_imports_nothing_heavy(command):
    shown = run_python("-X", "importtime", "-m", "reid_lightning.cli", *command.split(), "--help")
    imported = set(re.findall(r"\| +(\w+)\n", shown.stderr))
    assert "typer" in imported
    assert not imported & (HEAVY | {"hydra", "numpy"})
    if command == "train":
        script = run_python("train.py", "-h").stdout
        assert shown.stdout == script.replace("python train.py", "reid train") != script


@pytest.mark.slow
@pytest.mark.parametrize("part", OURS)
def test_a_part_imports_only_what_it_uses(part):
    modules, absent = OURS[part]
    code = f"import json, sys, {modules}; print(json.dumps(sorted(sys.modules)))"
    assert not set(json.loads(run_python("-c", code).stdout)) & absent


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "absent"),
    [
        (("attributes=market12",), {"timm", "sklearn"}),
        (("backbone=timm", "backbone.name=mobilenetv3_small_050"), {"sklearn"}),
    ],
)
def test_a_trained_model_embeds_without_what_only_a_training_uses(tmp_path, settings, absent):
    build = (
        "import sys, torch; from pathlib import Path; sys.path.insert(0, 'tests'); import untrained; "
        "untrained.write_small_checkpoint(Path(sys.argv[1]), *sys.argv[2:])"
    )
    file = tmp_path / "model.ckpt"
    run_python("-c", build, file, *settings)
    write_plain_image(tmp_path / "a.png")
    use = (
        "import json, sys, reid_lightning; m = reid_lightning.load(sys.argv[1]); m.embed(sys.argv[2]); "
        "print(json.dumps(sorted(sys.modules)))"
    )
    loaded = set(json.loads(run_python("-c", use, file, tmp_path / "a.png").stdout))
    assert not loaded & {
        "lightning",
        "torchmetrics",
        "wandb",
        "albumentations",
        "matplotlib",
        "scipy",
        *absent,
    }


@pytest.mark.slow
def test_the_default_run_has_loaded_nothing_unused_by_its_first_step(monkeypatch, tiny):
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    import start_up

    marks, loaded, report = start_up.until_first_step(tiny, "-X", "importtime")
    assert list(marks.values()) == sorted(marks.values())
    assert {"torch", "lightning", "pandas"} <= set(loaded)
    assert not USED_LATER & set(loaded)
    imports = {row["what"]: row for row in start_up.import_times(report)}
    assert imports["all imports"]["seconds"] < marks["first step"]
    assert imports["import lightning"]["with_others"] > imports["import lightning"]["seconds"]
    assert not {f"import {name}" for name in USED_LATER} & set(imports)


def test_import_times_are_added_up_by_package(monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    import start_up

    report = (
        "import time: self [us] | cumulative | imported package\n"
        "import time:    200000 |     200000 |     b.inner\n"
        "import time:    300000 |     500000 |   b\n"
        "a warning of another kind | with | bars\n"
        "import time:    100000 |     600000 | a\n"
    )
    whole, first, second = start_up.import_times(report)
    assert whole["seconds"] == pytest.approx(0.6)
    assert (first["what"], first["seconds"], first["with_others"]) == ("import b", 0.5, 0.5)
    assert (second["what"], second["seconds"], second["with_others"]) == ("import a", 0.1, 0.6)
