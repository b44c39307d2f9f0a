"""The arguments of `reid evaluate`: which are checkpoints, which data sets, and which settings."""

import re
from pathlib import Path

import pytest

from reid_lightning.errors import InputError
from reid_lightning.experiments.data_sets import OWN, DataSet, data_sets, names_of, take_apart
from reid_lightning.experiments.matrix import Comparison, folders_of


def test_one_model_and_one_set_stay_what_they_were(tmp_path):
    for arguments in (
        [],
        ["data=market1501", "data.root=/d"],
        ["data=[market1501,table]"],
        ["evaluation.ranks=[1,5]"],
    ):
        assert take_apart("a.ckpt", arguments) == ([Path("a.ckpt")], [DataSet(OWN)], arguments)


def test_files_are_models_whatever_their_names_hold(tmp_path):
    odd = tmp_path / "lr=1e-3" / "best.ckpt"
    odd.parent.mkdir()
    odd.touch()
    saved = tmp_path / "saved"
    saved.mkdir()
    found = take_apart("a.ckpt", [str(odd), "seed=1", str(saved), "missing.ckpt"])
    assert found == ([Path("a.ckpt"), odd, saved, Path("missing.ckpt")], [DataSet(OWN)], ["seed=1"])


def test_sets_have_their_places_and_names_that_tell_them_apart():
    one, two, three = data_sets("table:/a/x, y.csv,table:/b/z=1.csv,market1501:~/m")
    assert one.overrides == ("data=table", "data.root='/a/x, y.csv'")
    assert two.overrides == ("data=table", "data.root='/b/z=1.csv'")
    assert three == DataSet("market1501", ("data=market1501", "data.root=~/m"))
    assert [one.name, two.name] == ["table:x, y.csv", "table:z=1.csv"]
    same = data_sets("table:/a/x.csv,table:/b/x.csv")
    assert [each.name for each in same] == ["table:x.csv (1)", "table:x.csv (2)"]
    assert data_sets("table:/a/x.csv") == [DataSet("table", ("data=table", "data.root=/a/x.csv"))]
    assert data_sets("cuhk03_classic:/c,cuhk03:/d")[1].name == "cuhk03"
    assert data_sets("nonsense:/a") == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data=table:/a,table:/a"], "names a data set twice"),
        (["data=table:,faces"], "the place of table is missing after the colon"),
        (["data=table:/a,market1501", "data.root=/b"], "data.root is that of one data set"),
    ],
)
def test_what_cannot_be_meant_is_said(arguments, message):
    with pytest.raises(InputError, match=message):
        take_apart("a.ckpt", arguments)


def test_names_are_as_short_as_they_can_be():
    paths = [Path("x/run/checkpoints/best.ckpt"), Path("y/run/checkpoints/best.ckpt"), Path("z.ckpt")]
    assert names_of(paths) == [str(paths[0]), str(paths[1]), "z"]


def test_long_settings_are_no_files(tmp_path):
    long = f"data.columns={{{'x:y,' * 200}}}"
    assert take_apart("a.ckpt", [long, ""]) == ([Path("a.ckpt")], [DataSet(OWN)], [long, ""])


def test_every_pair_has_a_folder_of_its_own_inside_the_comparison():
    models = [
        Path(name)
        for name in ("日本.ckpt", "中国.ckpt", "a b.ckpt", "a_b.ckpt", "A_B.ckpt", "..ckpt", "x" * 240)
    ]
    sets = data_sets("table:/d/../../etc,table:/e/<b>,table:/f/_b_")
    found = folders_of(Comparison(models, sets))
    assert len(found) == len({folder.lower() for folder in found.values()}) == len(models) * len(sets)
    assert all(
        re.fullmatch(r"\w[\w.-]*", folder, re.ASCII) and len(folder) < 255 for folder in found.values()
    )
