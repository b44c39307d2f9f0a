import sys
from pathlib import Path

import pytest
from helpers import command, run_python, write_plain_image

from reid_lightning.cli.arguments import apart
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


def test_a_data_set_is_compared_with_its_paper_and_shown(tmp_path):
    for camera in "ab":
        for person in range(4):
            write_plain_image(
                tmp_path / "viper" / f"cam_{camera}" / f"{person:03}_0.bmp", (60 * person, 0, 0)
            )
    viper = ("data=viper", f"data.root={tmp_path / 'viper'}", "data.sources.viper.test_identities=2")
    shown = command("data", "check", *viper)
    assert "Not as published: VIPeR, Gray et al., PETS 2007" in shown.output
    assert "query: 2 images, 314 fewer than the published 316." in shown.output
    shown = command("data", "show", *viper, "--output", str(tmp_path / "page"))
    assert shown.exit_code == 0, shown.output
    page = (tmp_path / "page" / "index.html").read_text()
    assert "query: 2 images, 314 fewer than the published 316." in page


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


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("serch", "there is no command serch; did you mean search?"),
        ("gallery biuld", "there is no command biuld; did you mean build?"),
        ("rebuild", "there is no command rebuild; did you mean gallery rebuild?"),
        ("gallery search", "there is no command search; did you mean reid search?"),
        ("xyzzy", "there is no command xyzzy; `reid --help` shows what there is"),
        ("gallery xyzzy", "there is no command xyzzy; `reid gallery --help` shows what there is"),
        ("embed --procesess 2", "there is no option --procesess; did you mean --processes?"),
        ("gallery info --jsn", "there is no option --jsn; did you mean --json?"),
        ("embed --xyzzy", "there is no option --xyzzy; `reid embed --help` shows what there is"),
        ("embed --data.root x", "there is no option --data.root; settings are written without dashes, as data.root=VALUE"),
        ("describe a --model m --override x=y", "there is no option --override of `reid describe`; "
         "settings are written without it, as KEY=VALUE after the arguments"),
        ("evaluate --model m", "there is no option --model of `reid evaluate`; "
         "the model is its first argument: reid evaluate CHECKPOINT ..."),
        ("search g a --overide x=y", "there is no option --overide of `reid search`; "
         "settings are written without it, as KEY=VALUE after the arguments"),
        ("save a b --overwite", "there is no option --overwite; did you mean --overwrite?"),
        ("embed a b c --overwrite", "there is no option --overwrite; `reid embed --help` shows what there is"),
        ("calibrate a people/ evaluation.flip=true", "`reid calibrate` needs images of known people, and then a folder for "
         "the saved model."),
        ("save a b evaluation.flip=true", "`reid save` takes no settings, and evaluation.flip=true was given: leave it out"),
        ("embed a b", "Missing argument 'output'; `reid embed --help` shows what there is"),
    ],
)  # fmt: skip
def test_a_slip_names_the_nearest_in_one_sentence(monkeypatch, capsys, line, said):
    monkeypatch.setattr(sys, "argv", ["reid", *line.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"error: {said}\n"


def test_settings_stand_after_the_files_and_are_told_from_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("seed=1").touch()
    paths, settings = apart(["a.jpg", "seed=1", "seed=2", "+a.b=[1,2]", "~tasks.x=", "b=c.jpg/d"], ["late=1"])
    assert paths == [Path("a.jpg"), Path("seed=1")]
    assert settings == ["seed=2", "+a.b=[1,2]", "~tasks.x=", "b=c.jpg/d", "late=1"]
