"""Attribute files of both public forms: read by name, joined by identity, written back, and refused where wrong."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.io
from helpers import write_plain_image

from reid_lightning.data.annotations import AttributeForm, join_attributes, read_attributes
from reid_lightning.data.attributes import MARKET12, Attribute, AttributeSchema, attribute_schema
from reid_lightning.data.readers.market1501 import read_market1501
from reid_lightning.data.readers.table_file import read_table_file
from reid_lightning.data.table import concatenate_tables, count_annotated, validate_table
from reid_lightning.errors import InputError

DIRECT = MARKET12.names[:10]
UPPER = [f"up{name}" for name in MARKET12.attributes[10].classes[1:]]
LOWER = [f"down{name}" for name in MARKET12.attributes[11].classes[1:]]
COLUMNS = [*DIRECT, *UPPER, *LOWER]
PUBLIC = os.environ.get("REID_MARKET_ATTRIBUTES")  # Lin et al.'s market_attribute.mat
IMAGES = os.environ.get("REID_MARKET1501")  # the folder Market-1501-v15.09.15


def random_codes(count, seed=0):
    generator = np.random.default_rng(seed)
    return np.stack([generator.integers(0, size, count) for size in MARKET12.sizes], axis=1)


def public_columns(codes):
    """The 27 columns as the public files code them, written out by hand."""
    columns = {name: codes[:, place] + 1 for place, name in enumerate(DIRECT)}
    columns |= {name: 1 + (codes[:, 10] == place + 1) for place, name in enumerate(UPPER)}
    return columns | {name: 1 + (codes[:, 11] == place + 1) for place, name in enumerate(LOWER)}


def write_mat(path, train, test, order=COLUMNS):
    structs = {}
    for part, (identities, codes), names in (("train", train, order), ("test", test, order[::-1])):
        columns = public_columns(codes)
        index = np.empty((1, len(identities)), object)
        index[0, :] = identities
        structs[part] = {name: columns[name].astype(np.uint8)[None] for name in names} | {
            "image_index": index
        }
    scipy.io.savemat(str(path), {"market_attribute": structs})


def write_csv(path, codes, identities=None, **changes):
    frame = pd.DataFrame(
        {"id": identities or [f"{n:04d}" for n in range(1, len(codes) + 1)]} | public_columns(codes)
    )
    for column, value in changes.items():
        frame[column] = frame[column].astype(object)
        frame.loc[2, column] = value
    frame.to_csv(path, index=False)
    return path


def album(identities):
    rows = [(f"{i}_{k}.jpg", i, "train") for i in identities for k in range(2)]
    return validate_table(pd.DataFrame(rows, columns=["path", "person_id", "split"]), "album")


def test_the_mat_file_is_read_by_field_name_whatever_the_order(tmp_path):
    train, test = random_codes(7), random_codes(5, seed=1)
    write_mat(tmp_path / "a.mat", (["0002", "0007", "0010", "0011", "0012", "0020", "1501"], train),
              (["0001", "0003", "0004", "0005", "0100"], test))  # fmt: skip
    file = read_attributes(tmp_path / "a.mat")
    assert file.codes.index.tolist()[:3] == ["2", "7", "10"]
    assert np.array_equal(file.codes.to_numpy(), np.concatenate([train, test]))
    assert file.form == AttributeForm(tuple(COLUMNS), 1, "image_index")


@pytest.mark.parametrize("first", [0, 1])
def test_twelve_columns_are_read_from_either_coding(tmp_path, first, caplog):
    codes = random_codes(40)
    frame = pd.DataFrame(codes + first, columns=MARKET12.names)
    frame.insert(3, "id", range(40))
    frame.to_csv(tmp_path / "a.csv", index=False)
    with caplog.at_level("INFO"):
        file = read_attributes(tmp_path / "a.csv")
    assert np.array_equal(file.codes.to_numpy(), codes)
    assert f"coded from {first}" in caplog.text


def test_predictions_written_in_a_files_form_read_back_as_they_were(tmp_path):
    codes = random_codes(30)
    for name, file in (
        ("27", read_attributes(write_csv(tmp_path / "27.csv", codes))),
        ("12", None),
    ):
        form = file.form if file else AttributeForm.of_schema(MARKET12)
        answers = random_codes(50, seed=2)
        written = form.write(answers, MARKET12)
        assert list(written.columns) == list(form.columns)
        written.insert(0, "id", range(50))
        written.to_csv(tmp_path / f"back{name}.csv", index=False)
        assert np.array_equal(read_attributes(tmp_path / f"back{name}.csv").codes.to_numpy(), answers)


def test_unknown_classes_stay_empty_and_are_read_as_unknown(tmp_path):
    codes = random_codes(4)
    codes[1, 3] = codes[2, 10] = -1
    written = AttributeForm(tuple(COLUMNS), 1).write(codes, MARKET12)
    written.insert(0, "id", ["a", "b", "c", "d"])
    written.to_csv(tmp_path / "a.csv", index=False)
    assert np.array_equal(read_attributes(tmp_path / "a.csv").codes.to_numpy(), codes)


def test_attributes_join_by_identity_with_or_without_zeros(tmp_path):
    codes = random_codes(3)
    path = write_csv(tmp_path / "a.csv", codes, ["2", "0007", "10"])
    table = validate_table(join_attributes(album(["0002", "0007", "0010", "0999"]), path))
    expected = np.repeat(codes, 2, axis=0)
    assert np.array_equal(table[list(MARKET12.names)].head(6).to_numpy(dtype=int), expected)
    assert table[list(MARKET12.names)].tail(2).isna().all(axis=None)
    assert set(table["attribute_file"]) == {str(path)}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"age": 5}, ["row 3", "column age", "5", "1..4"]),
        ({"gender": 0}, ["row 3", "column gender", "0 is not within 1..2"]),  # though 0 is a code elsewhere
        ({"hat": -1}, ["row 3", "column hat", "1..2"]),
        ({"bag": "inf"}, ["row 3", "column bag", "whole number"]),
        ({"id": ""}, ["row 3", "column id", "not an identity"]),
        ({"hat": "maybe"}, ["row 3", "column hat", "maybe", "whole number"]),
        ({"upblack": 2, "upred": 2}, ["row 3", "columns upblack and upred"]),
        ({"id": "0001"}, ["row 3", "column id", "0001", "second time"]),
    ],
)
def test_wrong_cells_are_named_by_row_and_column(tmp_path, changes, words):
    codes = random_codes(5)
    codes[2, 10] = 0
    path = write_csv(tmp_path / "a.csv", codes, **changes)
    with pytest.raises(InputError) as error:
        read_attributes(path)
    for word in [str(path), *words]:
        assert word in str(error.value)


@pytest.mark.parametrize("column", ["age", "upred", "downbrown", "id"])
def test_a_missing_column_is_named(tmp_path, column):
    path = write_csv(tmp_path / "a.csv", random_codes(3))
    pd.read_csv(path, dtype=str).drop(columns=column).to_csv(path, index=False)
    with pytest.raises(InputError, match=f"no column {column}"):
        read_attributes(path)


def test_an_identity_without_images_is_an_error_with_its_row(tmp_path):
    path = write_csv(tmp_path / "a.csv", random_codes(3), ["1", "2", "44"])
    with pytest.raises(InputError, match=r"row 3, column id: identity 44 has no image"):
        join_attributes(album(["1", "2", "3"]), path)


@pytest.mark.parametrize("name", ["a.mat", "a.csv"])
def test_a_file_that_is_none_is_an_error(tmp_path, name):
    with pytest.raises(InputError, match="there is no attribute file"):
        read_attributes(tmp_path / name)
    (tmp_path / name).write_bytes(b"\0\1\2nothing")
    with pytest.raises(InputError, match=name):
        read_attributes(tmp_path / name)


def test_schemas_come_from_a_config():
    schema = attribute_schema(
        "mine", {"hat": ["no", "yes"], "coat": ["a", "b", "c"]}, {"coat": "winter coat"}
    )
    assert (schema.sizes, schema.num_outputs, schema.slices[1]) == ((2, 3), 5, slice(2, 5))
    assert schema.attributes[1].title == "winter coat"
    with pytest.raises(
        ValueError, match=r"^attributes\.hat must have two or more different classes, got \['no'\]"
    ):
        attribute_schema("mine", {"hat": ["no"]})
    with pytest.raises(ValueError, match=r"^attributes must have different names, got hat twice"):
        AttributeSchema("mine", (Attribute("hat", "hat", ("a", "b")),) * 2)


@pytest.mark.skipif(not PUBLIC, reason="REID_MARKET_ATTRIBUTES names no market_attribute.mat")
def test_the_public_file_counts_as_a_direct_reading_does():
    content = scipy.io.loadmat(PUBLIC, squeeze_me=True, struct_as_record=False)["market_attribute"]
    codes = read_attributes(PUBLIC).codes
    parts = {"train": codes.iloc[:751], "test": codes.iloc[751:]}
    none = {"train": (78, 30), "test": (69, 44)}
    for part, found in parts.items():
        struct = getattr(content, part)
        assert len(found) == len(struct.image_index) == {"train": 751, "test": 750}[part]
        for attribute in MARKET12.attributes[:10]:
            counted = [
                int((getattr(struct, attribute.name) == k + 1).sum()) for k in range(len(attribute.classes))
            ]
            assert np.bincount(found[attribute.name], minlength=len(counted)).tolist() == counted
        for name, columns, nothing in (
            ("upper_color", UPPER, none[part][0]),
            ("lower_color", LOWER, none[part][1]),
        ):
            counted = [nothing, *(int((getattr(struct, column) == 2).sum()) for column in columns)]
            assert np.bincount(found[name], minlength=len(counted)).tolist() == counted


@pytest.mark.skipif(not (PUBLIC and IMAGES), reason="REID_MARKET1501 names no Market-1501 folder")
def test_the_public_file_joins_with_the_public_images():
    table = concatenate_tables({"market1501": read_market1501(IMAGES, PUBLIC)})
    names = list(MARKET12.names)
    for split, identities in {"train": 751, "query": 750, "gallery": 750}.items():
        rows = table[table["split"] == split]
        assert count_annotated(rows) == identities
        assert rows.loc[~rows["distractor"], names].notna().all(axis=None)
        assert rows.loc[rows["distractor"], names].isna().all(axis=None)


def test_a_market_tree_brings_its_attribute_file_along(tmp_path):

    for folder, name in (("bounding_box_train", "0002_c1s1_000001_00.jpg"), ("query", "0007_c1s1_000001_00.jpg"),
                         ("bounding_box_test", "0007_c2s1_000001_00.jpg")):  # fmt: skip
        (tmp_path / "market" / folder).mkdir(parents=True)
        write_plain_image(tmp_path / "market" / folder / name)
    codes = random_codes(2)
    assert "gender" not in read_market1501(tmp_path / "market").columns
    write_mat(tmp_path / "market_attribute.mat", (["0002"], codes[:1]), (["0007"], codes[1:]))
    table = concatenate_tables({"market": read_market1501(tmp_path / "market")})
    assert np.array_equal(table[list(MARKET12.names)].to_numpy(int), codes[[0, 1, 1]])
    own = write_csv(Path(tmp_path / "own.csv"), random_codes(2, seed=5), ["0002", "0007"])
    assert read_market1501(tmp_path / "market", own)["attribute_file"].unique().tolist() == [str(own)]


OWN = attribute_schema(
    "own", {"glasses": ["no", "yes"], "coat": ["none", "red", "blue"]}, prefixes={"coat": "coat_"}
)


def test_another_schema_reads_its_own_columns(tmp_path, caplog):
    (tmp_path / "own.csv").write_text("id,coat_blue,coat_red,glasses,shoes\n1,1,0,0,9\n2,0,0,1,9\n")
    table = album(["1", "2"]).assign(attribute_file=str(tmp_path / "own.csv"))
    both = concatenate_tables({"album": table, "other": album(["1"])}, OWN)
    assert both["coat"].dropna().tolist() == [2, 2, 0, 0]
    assert both["glasses"].dropna().tolist() == [0, 0, 1, 1]
    assert "shoes" not in both.columns
    assert count_annotated(both, OWN) == 2
    write_mat(tmp_path / "a.mat", (["1"], random_codes(1)), (["2"], random_codes(1)))
    passed_over = concatenate_tables({"album": table.assign(attribute_file=str(tmp_path / "a.mat"))}, OWN)
    assert count_annotated(passed_over, OWN) == 0
    assert "a.mat has no attribute of own" in caplog.text
    with pytest.raises(InputError, match=r"own\.csv has no column gender"):
        concatenate_tables({"album": table})


def test_a_tables_own_columns_are_checked_by_the_schema(tmp_path):
    rows = "path,person_id,split,glasses,coat,age\na.jpg,1,train,1,2,77\nb.jpg,1,train,,{},8\n"
    (tmp_path / "people.csv").write_text(rows.format(0))
    table = concatenate_tables({"own": read_table_file(tmp_path / "people.csv")}, OWN)
    assert table["glasses"].tolist() == [1, pd.NA]
    assert table["coat"].tolist() == [2, 0]
    (tmp_path / "people.csv").write_text(rows.format(3))
    with pytest.raises(
        InputError, match=r"people\.csv, row 2 \(.*b\.jpg\): coat is not within 0\.\.2 but '3'"
    ):
        concatenate_tables({"own": read_table_file(tmp_path / "people.csv")}, OWN)
    with pytest.raises(InputError, match=r"people\.csv, row 1 .*: age is not within 0\.\.3 but '77'"):
        concatenate_tables({"own": read_table_file(tmp_path / "people.csv")})
    with pytest.raises(InputError, match="own: split is another column"):
        concatenate_tables({"a": album(["1"])}, attribute_schema("own", {"split": ["a", "b"]}))


def test_one_attribute_file_a_source(tmp_path):
    table = album(["1"]).assign(attribute_file=["a.csv", "b.csv"])
    with pytest.raises(InputError, match="album names 2 attribute files"):
        concatenate_tables({"album": table})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "cannot be read as CSV"),
        ("id,hat\n", "holds no identities"),
        ("id,hat\n1,2,3\n", "row 1 has 3 cells, but its first line names 2 columns"),
    ],
)
def test_a_broken_csv_is_an_error(tmp_path, content, message):
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(InputError, match=message):
        read_attributes(tmp_path / "a.csv")


def test_a_broken_mat_is_an_error(tmp_path):
    path = tmp_path / "a.mat"
    scipy.io.savemat(str(path), {"other": {"train": np.ones(3)}})
    with pytest.raises(InputError, match="holds no struct of the structs train and test"):
        read_attributes(path)
    part = {"hat": np.ones(3), "image_index": np.ones(2)}
    scipy.io.savemat(str(path), {"market_attribute": {"train": part, "test": part}})
    with pytest.raises(InputError, match="struct train: the field image_index has another length"):
        read_attributes(path)
    write_mat(path, (["1", "2"], random_codes(2)), (["2", "3"], random_codes(2)))
    with pytest.raises(InputError, match="test column 1, column image_index: 2 stands there a second time"):
        read_attributes(path)


def test_yaml_words_for_no_and_yes_are_class_names():
    assert attribute_schema("mine", {"hat": [False, True]}).attributes[0].classes == ("no", "yes")
    with pytest.raises(ValueError, match=r"^attributes\.hat must be a list of class names, got no"):
        attribute_schema("mine", {"hat": "no"})
    with pytest.raises(ValueError, match=r"^prefixes names coat, which is not among hat"):
        attribute_schema("mine", {"hat": ["no", "yes"]}, prefixes={"coat": "coat_"})


def test_people_join_as_whole_numbers_with_gaps_and_unknown_ones_have_no_attributes(tmp_path):
    (tmp_path / "hats.csv").write_text("id;hat\n1.0;0\n2.0;1\n")
    own = attribute_schema("own", {"hat": ["no", "yes"]})
    rows = {"path": ["a.jpg", "b.jpg", "c.jpg"], "person_id": ["1", "2", None], "split": "train"}
    table = pd.DataFrame(rows).assign(attribute_file=str(tmp_path / "hats.csv"))
    assert concatenate_tables({"album": table}, own)["hat"].tolist() == [0, 1, pd.NA]
