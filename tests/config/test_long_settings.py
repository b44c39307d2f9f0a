"""Settings longer than the name of a file may be."""

import pytest

from reid_lightning.config.command_line import _unreadable


@pytest.mark.parametrize("length", [255, 256, 10_000])
def test_a_long_word_is_no_setting_and_no_error_of_the_system(length):
    assert "is not a setting: write KEY=VALUE" in _unreadable("x" * length)
