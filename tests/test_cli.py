import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


def run(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=False, cwd=REPOSITORY)


def test_help_lists_every_group():
    shown = run(sys.executable, "train.py", "--help").stdout
    for group in (folder.name for folder in (REPOSITORY / "conf").iterdir() if folder.is_dir()):
        assert group == "hydra" or f"{group}: " in shown, group


@pytest.mark.parametrize("module", ["reid_lightning.cli.train", "reid_lightning.cli"])
def test_the_command_line_is_imported_without_the_heavy_libraries(module):
    heavy = "{'torch', 'lightning', 'wandb', 'matplotlib', 'pandas', 'sklearn'}"
    code = f"import sys, {module}; print(sorted({heavy} & set(sys.modules)))"
    assert run(sys.executable, "-c", code).stdout.strip() == "[]"


def test_a_users_error_is_one_line_and_exit_code_2():
    failed = run(sys.executable, "-m", "reid_lightning.cli", "evaluate", "nowhere/best.ckpt")
    assert failed.returncode == 2
    assert failed.stderr.startswith("error: there is no checkpoint nowhere/best.ckpt")
    assert failed.stderr.count("\n") == 1


def test_counting_annotated_people(tmp_path):
    (tmp_path / "album.csv").write_text(
        "path,person_id,split,gender\na1.jpg,a,query,1\na2.jpg,a,gallery,1\nb1.jpg,b,gallery,\n"
    )
    check = (
        sys.executable,
        "-m",
        "reid_lightning.cli",
        "data",
        "check",
        "data=table",
        f"data.root={tmp_path / 'album.csv'}",
    )
    for schema in ("market12", "own"):
        shown = run(*check, *([] if schema == "market12" else ["attributes=own"]))
        assert f"{schema} attributes of 1 of 2 identities" in " ".join(shown.stdout.split()), shown.stderr


def test_counting_a_data_set(tmp_path):
    import cv2
    import numpy as np

    for name in ("a1", "a2", "b1"):
        cv2.imwrite(str(tmp_path / f"{name}.jpg"), np.zeros((8, 4, 3), np.uint8))
    (tmp_path / "album.csv").write_text(
        "path,person_id,split\na1.jpg,a,query\na2.jpg,a,gallery\nb1.jpg,b,gallery\n"
    )
    shown = run(
        sys.executable, "-m", "reid_lightning.cli", "data", "check", "data=table", f"data.root={tmp_path / 'album.csv'}"
    )  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    assert [line.split("│")[1:4] for line in shown.stdout.splitlines() if "gallery" in line] == [
        [" gallery ", "      2 ", "          2 "]
    ]
