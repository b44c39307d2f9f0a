"""Standard output that is short of letters, readers or room, and a current folder that is gone."""

import os
import subprocess
import sys

import pytest

GROUP = "Outputs"
REID = [sys.executable, "-m", "reid_lightning.cli"]


def _shell(line, **environment):
    command = " ".join(REID)
    return subprocess.run(
        ["bash", "-c", line.replace("reid ", f"{command} ")],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | environment,
    )


@pytest.mark.fault(GROUP, "standard output is closed, full, or read no further")
@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        ("reid list loss | head -0; exit ${PIPESTATUS[0]}", (0, 1, 141), ""),
        ("reid train --help | head -1; exit ${PIPESTATUS[0]}", (0, 1, 141), ""),
        ("reid list loss >&-", (0,), ""),
        (
            "reid list loss >/dev/full",
            (1,),
            "error: standard output cannot be written: No space left on device\n",
        ),
        ("PYTHONIOENCODING=ascii reid list loss", (0,), ""),
    ],
)
def test_standard_output(line, code, says, seen):
    ended = _shell(line)
    assert ended.returncode in code, ended.stderr
    assert ended.stderr == says
    seen(says or "nothing")


@pytest.mark.fault(GROUP, "the current folder has been removed")
@pytest.mark.parametrize("command", ["reid list loss", "reid train seed=1"])
def test_no_current_folder(tmp_path, command, seen):
    ended = _shell(f"mkdir {tmp_path}/gone; cd {tmp_path}/gone; rmdir {tmp_path}/gone; {command}")
    assert ended.returncode == 2
    assert ended.stderr == "error: the current folder has been removed: cd to another one\n"
    seen(ended.stderr)


@pytest.mark.fault(GROUP, "standard output has no letters but ASCII")
def test_lines_that_ascii_lacks():
    code = "from reid_lightning.streams import own_streams\nwith own_streams(): print('a \\u2022')"
    ended = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        check=True,
    )
    assert ended.stdout == b"a ?\n"
