"""`reid list`: every option says in a sentence what it is."""

import re
import subprocess
import sys

import pytest

from reid_lightning.config.options import (
    CONF,
    groups,
    help_text,
    listing,
    matching,
    options,
    run_help,
    sentence_of,
    settings_text,
)
from reid_lightning.config.suggest import hints
from reid_lightning.errors import InputError

FILES = sorted(CONF.rglob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(CONF)))
def test_every_file_begins_with_a_sentence(file):
    says = sentence_of(file)
    assert re.fullmatch(r"[\w\"`].{4,208}\.", says), (
        f"let {file} begin with a comment: what it is, and its source"
    )
    assert "train.py --multirun" not in says


def test_a_sentence_ends_where_it_ends(tmp_path):
    file = tmp_path / "option.yaml"
    file.write_text(
        "# @package _global_\n# MILDNet (Vishvakarma et al. 2019), of 1.0\n# widths. loss=x goes with it.\nkey: 1\n"
    )
    assert sentence_of(file) == "MILDNet (Vishvakarma et al. 2019), of 1.0 widths."
    file.write_text("key: 1  # something else.\n# Another thing.\n")
    assert sentence_of(file) == ""


def test_groups_are_listed_with_a_sentence():
    shown = listing()
    for group in groups():
        assert f"  {group}: " in shown
    assert help_text() in shown


def test_options_are_listed_with_nested_ones():
    assert {option.name for option in options("pooling")} == {"avg", "gem", "max", "token"}
    assert "kiel/mildnet" in {option.name for option in options("experiment")}
    assert "mildnet" in {option.name for option in options("experiment/kiel/network")}
    assert "  gem    Generalized mean (Radenovic et al. 2018)." in listing("pooling").splitlines()


def test_the_default_of_a_group_is_marked():
    assert "  miner: " in help_text()
    assert all(
        f", default {name})" in help_text() for name in ("resnet10_light", "batch_hard", "pedestrians")
    )
    marked = {line.split()[0] for line in listing("backbone").splitlines() if line.endswith(" (default)")}
    assert marked == {"resnet10_light"}


def test_the_help_of_a_run_says_its_settings_and_how_it_was_called():
    assert "  seed=1: all randomness of the run follows from it" in run_help().splitlines()
    assert "output_dir" not in settings_text()
    assert "reid train --multirun" in run_help("reid train")
    assert "python" not in run_help("reid train")
    assert "docs/guide.md" in run_help()


def test_a_pattern_filters_as_in_a_shell():
    assert [option.name for option in options("backbone", "resnet50*")] == [
        "resnet50", "resnet50_ibn_a", "resnet50_narrow",
    ]  # fmt: skip
    assert {option.name for option in matching("*circle*")} == {"classifier=circle", "loss=circle"}
    assert len(listing("*circle*").splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("bakbone",), "there is no group bakbone; did you mean backbone?"),
        (("zzzz",), "there is no group zzzz. `reid list` shows all groups."),
        (("backbone", "resnet51"), "backbone has no option resnet51; did you mean resnet"),
        (("backbone", "*zzzz*"), "backbone has no option *zzzz*. `reid list backbone` shows"),
        (("*zzzz*",), "no option of any group is like *zzzz*"),
        (("timm", "*no_such_model_zz*"), "timm has no model like"),
    ],
)
def test_what_is_not_there_is_said_with_the_nearest(arguments, message):
    with pytest.raises(InputError, match=re.escape(message)):
        listing(*arguments)


def test_models_of_timm_are_listed_too():
    assert "timm" in listing("backbone")
    shown = listing("timm", "vit*dino*").splitlines()
    assert shown
    assert all("dino" in name for name in shown)


def test_the_command_answers_without_the_heavy_libraries():
    heavy = "{'torch', 'lightning', 'timm', 'pandas', 'hydra'}"
    code = (
        "import sys; from reid_lightning.cli.main import app\n"
        "sys.argv = ['reid', 'list', 'backbone', '*ibn*']\n"
        "try: app()\n"
        "except SystemExit: pass\n"
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    lines = shown.stdout.splitlines()
    assert any("resnet50_ibn_a" in line for line in lines)
    assert lines[-1] == "[]"


def test_an_unknown_option_names_the_command_that_lists_them():
    assert hints(["loss=zzzz"]) == ["there is no option loss=zzzz; `reid list loss` shows all"]
    assert hints(["--config-dir=mine", "loss=zzzz"]) == []
    assert hints(["miner@loss.triplet.miner=semi_har"]) == [
        "there is no option miner@loss.triplet.miner=semi_har; did you mean miner@loss.triplet.miner=semi_hard? "
        "(`reid list miner` shows all)"
    ]
    assert hints(["loss=choice(triplet,circle)", "experiment/small=glob(*)", "logger=null"]) == []
