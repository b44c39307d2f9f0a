"""Arguments of another type than wanted are refused in a sentence that names them."""

import re
from pathlib import Path

import numpy as np
import pytest

from reid_lightning import arguments
from reid_lightning.errors import InputError


@pytest.mark.parametrize("value", [2, 2.0, np.float32(2), np.int8(2)])
def test_numbers_of_any_kind_are_numbers(value):
    found = arguments.as_number(value, "x")
    assert (type(found), found) == (float, 2.0)


@pytest.mark.parametrize("value", [3, np.uint8(3), np.int64(3)])
def test_whole_numbers_of_any_kind_are_whole(value):
    found = arguments.as_whole(value, "x", 1)
    assert (type(found), found) == (int, 3)


def test_what_fits_comes_back(tmp_path):
    assert arguments.as_path(str(tmp_path), "x") == arguments.as_path(tmp_path, "x") == Path(tmp_path)
    assert arguments.as_texts((name for name in "ab"), "x") == arguments.as_texts(np.array(["a", "b"]), "x")
    assert arguments.as_flag(np.bool_(True), "x") is True
    assert arguments.as_choice("b", "x", ("a", "b")) == "b"


@pytest.mark.parametrize(
    ("check", "value", "said"),
    [
        (arguments.as_number, "a", "x must be a number, got 'a'."),
        (arguments.as_number, True, "x must be a number, got True."),
        (arguments.as_number, 1j, "x must be a number, got 1j."),
        (arguments.as_number, 10**400, "x must be a number, got 1000"),
        (arguments.as_number, np.zeros(2), "x must be a number, got a ndarray."),
        (lambda *of: arguments.as_whole(*of, 1), 1.0, "x must be a whole number, 1 or more, got 1.0."),
        (lambda *of: arguments.as_whole(*of, 1), 0, "x must be a whole number, 1 or more, got 0."),
        (lambda *of: arguments.as_whole(*of, 1), True, "x must be a whole number, 1 or more, got True."),
        (lambda *of: arguments.as_whole(*of, 1), 2**63, "x must be a whole number, 1 or more, got 9223"),
        (arguments.as_text, b"a", "x must be text, got b'a'."),
        (arguments.as_texts, "ab", "x must be several texts, such as a list, got 'ab'."),
        (arguments.as_texts, ["a", 1], "x[1] must be text, got 1."),
        (arguments.as_texts, np.array("a"), "x must be several texts, such as a list, got a ndarray."),
        (arguments.as_flag, 1, "x must be True or False, got 1."),
        (arguments.as_path, "", "x must be a path, got ''."),
        (arguments.as_path, b"a", "x must be a path, got b'a'."),
        (arguments.as_path, "a\0b", "x must be a path, got 'a"),
        (lambda *of: arguments.as_choice(*of, ("a", "b")), "c", "x c is unknown; choose one of a, b."),
        (lambda *of: arguments.as_choice(*of, ("a", "b")), [], "x a list is unknown; choose one of a, b."),
    ],
)
def test_what_does_not_fit_is_a_sentence(check, value, said):
    with pytest.raises(InputError, match=f"^{re.escape(said)}"):
        check(value, "x")


def test_a_number_of_more_digits_than_python_writes_is_named():
    with pytest.raises(InputError, match=r"^x must be a number, got a huge number\.$"):
        arguments.as_number(10**5000, "x")
