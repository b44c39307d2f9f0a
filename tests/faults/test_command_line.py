"""Slips on the command line end in one sentence."""

import pytest

GROUP = "Misconfigurations"


@pytest.mark.fault(GROUP, "a checkpoint that is not there")
def test_no_checkpoint(commands, seen):
    seen(commands.run("reid", "evaluate", "nothing.ckpt").sentence)
