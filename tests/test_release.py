"""What a release consists of: its version, its extras, the licenses of what it needs, and its wheel."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import reid_lightning

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PERMISSIVE = (
    "Apache",
    "BSD",
    "MIT",
    "Python Software Foundation",
    "matplotlib",
)  # what a license may be named


def license_of(package: str) -> str:
    """Return what a package's own metadata say: the expression, else the classifier, else the free text's first line."""
    facts = importlib.metadata.metadata(package)
    classifiers = [line for line in facts.get_all("Classifier") or [] if line.startswith("License ::")]
    stated = [
        facts["License-Expression"],
        *(line.rpartition(" :: ")[2] for line in classifiers),
        facts["License"],
    ]
    return next(str(one).strip().splitlines()[0] for one in stated if one)


def licenses() -> str:
    """Return the file that lists what `pip install reid-lightning` brings directly."""
    names = sorted((Requirement(line).name for line in PROJECT["dependencies"]), key=str.lower)
    rows = "".join(f"| {name} | {license_of(name)} |\n" for name in names)
    return (
        "# Licenses of dependencies\n\n"
        "What the installed packages state of themselves; `pytest tests/test_release.py --update-golden` writes it.\n\n"
        f"| Package | License |\n|---|---|\n{rows}"
    )


def test_the_version_is_the_same_everywhere():
    cited = re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    changed = re.search(r"^## (\S+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert PROJECT["version"] == reid_lightning.__version__ == cited[1] == changed[1]


def test_all_is_every_extra_but_ray():
    extras = PROJECT["optional-dependencies"]
    named = {name for line in extras["all"] for name in Requirement(line).extras}
    assert named == extras.keys() - {"all", "ray"}


def test_the_licenses_of_dependencies_are_listed(request):
    file = ROOT / "LICENSES.md"
    if request.config.getoption("--update-golden"):
        file.write_text(licenses())
    assert file.read_text() == licenses()


def test_no_dependency_is_copyleft():
    stated = {Requirement(line).name: license_of(Requirement(line).name) for line in PROJECT["dependencies"]}
    refused = [
        name for name, text in stated.items() if "GPL" in text or not any(one in text for one in PERMISSIVE)
    ]
    assert refused == []


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The wheel and the source archive of this tree."""
    if shutil.which("uv") is None:
        pytest.skip("uv is not installed")
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(["uv", "build", "-q", "--out-dir", folder, ROOT], check=True)
    return next(folder.glob("*.whl")), next(folder.glob("*.tar.gz"))


def content(wheel):
    with zipfile.ZipFile(wheel) as opened:
        return {one.filename: one.CRC for one in opened.infolist() if not one.filename.endswith("RECORD")}


@pytest.mark.slow
def test_the_source_archive_builds_the_same_wheel(built, tmp_path):
    wheel, source = built
    with tarfile.open(source) as opened:
        opened.extractall(tmp_path, filter="data")
    subprocess.run(
        ["uv", "build", "-q", "--wheel", "--out-dir", tmp_path, next(tmp_path.iterdir())], check=True
    )
    assert content(next(tmp_path.glob("*.whl"))) == content(wheel)


@pytest.mark.slow
def test_the_wheel_trains_and_searches_in_an_empty_folder(built, tiny, export_images, tmp_path):
    installed, work = tmp_path / "installed", tmp_path / "work"
    subprocess.run(["uv", "pip", "install", "-q", "--no-deps", "--target", installed, built[0]], check=True)
    work.mkdir()
    environment = os.environ | {"PYTHONPATH": str(installed)}

    def reid(*words):
        command = [sys.executable, "-m", "reid_lightning.cli", *map(str, words)]
        done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    where = "import reid_lightning; print(reid_lightning.__file__)"
    ran = subprocess.run(
        [sys.executable, "-c", where], cwd=work, env=environment, capture_output=True, text=True
    )
    assert Path(ran.stdout.strip()).is_relative_to(installed)
    reid("train", *tiny, "trainer.max_epochs=1", "hydra.run.dir=run")
    assert (work / "run" / "checkpoints" / "best.ckpt").is_file()
    (work / "own" / "loss").mkdir(parents=True)
    (work / "own" / "loss" / "mine.yaml").write_text("# My own triplet loss.\ndefaults: [triplet]\n")
    assert "lossless" in reid("list", "loss")
    reid("train", "--config-dir", work / "own", "loss=mine", "--cfg", "job")
    reid("gallery", "build", "gallery", export_images, "--model", "small")
    found = reid("search", "gallery", export_images.parent / "0.png", "--model", "small", "--top", 3)
    assert "0.png" in found
