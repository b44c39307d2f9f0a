"""The picture of docs/architecture.md shows the imports of the code."""

import importlib.util

import pytest
from helpers import REPOSITORY


@pytest.fixture(scope="module")
def picture():
    spec = importlib.util.spec_from_file_location("imports_picture", REPOSITORY / "docs" / "imports.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_picture_is_up_to_date(picture):
    assert picture.PICTURE.read_text() == picture.draw(), "run: python docs/imports.py"


def test_every_package_has_a_column(picture):
    packages = {file.parent.name for file in picture.PACKAGE.glob("*/__init__.py")}
    assert set(picture.COLUMNS) == packages
    drawn = [name for names in picture.layers() for name in names]
    assert sorted(drawn) == sorted([*packages, picture.BASE])


def test_all_imports_go_to_lower_layers(picture):
    layer = {name: row for row, names in enumerate(picture.layers()) for name in names}
    edges = picture.imports()
    assert ("engine", "systems") in edges
    assert ("losses", picture.BASE) in edges
    assert all(layer[source] < layer[target] for source, target in edges)


def test_an_import_that_follows_from_others_gets_no_arrow(picture):
    edges = {("a", "b"), ("b", "c"), ("a", "c"), ("a", "d")}
    assert picture.direct(edges) == [("a", "b"), ("a", "d"), ("b", "c")]


def test_a_package_without_a_free_way_is_named(picture):
    places = {"a": (1, 0), "b": (1, 2)} | {f"other{column}": (column, 1) for column in (0.5, 1, 1.5)}
    with pytest.raises(ValueError, match="no free way from a to b"):
        picture.paths([("a", "b")], places)
