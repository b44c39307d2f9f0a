import sys

import pytest
from helpers import command, run_python, write_plain_image

from reid_lightning.cli.main import main

HEAVY = {"torch", "lightning", "wandb", "matplotlib", "pandas", "sklearn"}


def test_the_command_line_is_imported_without_the_heavy_libraries():
    code = f"import sys, reid_lightning.cli.train, reid_lightning.cli.main; print(sorted({HEAVY} & set(sys.modules)))"
    assert run_python("-c", code).stdout.strip() == "[]"


def test_a_users_error_is_one_line_and_exit_code_2():
    failed = run_python("-m", "reid_lightning.cli", "report", "sweep", "nowhere", code=2)
    assert failed.stderr.startswith("error: ")
    assert failed.stderr.count("\n") == 1


def test_a_missing_checkpoint_is_a_users_error(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["reid", "evaluate", "nowhere/best.ckpt"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    written = capsys.readouterr().err
    assert written.startswith("error: there is no checkpoint nowhere/best.ckpt")
    assert written.count("\n") == 1


def test_counting_annotated_people(tmp_path):
    (tmp_path / "album.csv").write_text(
        "path,person_id,split,gender\na1.jpg,a,query,1\na2.jpg,a,gallery,1\nb1.jpg,b,gallery,\n"
    )
    for name in ("a1", "a2", "b1"):
        write_plain_image(tmp_path / f"{name}.jpg")
    check = ("data", "check", "data=table", f"data.root={tmp_path / 'album.csv'}")
    for schema in ("market12", "own"):
        shown = command(*check, *([] if schema == "market12" else ["attributes=own"]))
        assert f"{schema} attributes of 1 of 2 identities" in " ".join(shown.stdout.split())


def test_counting_a_data_set(tmp_path):
    for name in ("a1", "a2", "b1"):
        write_plain_image(tmp_path / f"{name}.jpg")
    (tmp_path / "album.csv").write_text(
        "path,person_id,split\na1.jpg,a,query\na2.jpg,a,gallery\nb1.jpg,b,gallery\n"
    )
    shown = command("data", "check", "data=table", f"data.root={tmp_path / 'album.csv'}")
    assert shown.exit_code == 0, shown.output
    assert [line.split("│")[1:4] for line in shown.stdout.splitlines() if "│ gallery" in line] == [
        [" gallery ", "      2 ", "          2 "]
    ]
