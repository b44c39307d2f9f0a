"""Folders that are written again, by processes that are killed, by two at once, and where the system cannot swap."""

import errno
import os
import signal
import threading
import time

import pytest

from reid_lightning import folders
from reid_lightning.errors import InputError
from reid_lightning.files import writing
from reid_lightning.folders import replaced


def write(folder, text, files=20):
    with replaced(folder, "0") as part:
        for number in range(files):
            (part / f"{number}").write_text(text)


def content(folder):
    """Return what the files say, which must be one thing in all of them."""
    files = sorted(folder.iterdir())
    assert len(files) == 20
    said = {file.read_text() for file in files}
    assert len(said) == 1
    return said.pop()


def in_a_child(work):
    child = os.fork()
    if child:
        return child
    try:
        work()
    finally:
        os._exit(0)


def test_a_kill_at_any_moment_leaves_the_old_folder_or_the_new_one(tmp_path):
    folder = tmp_path / "report"
    write(folder, "first")

    def for_ever():
        for number in range(10**6):
            write(folder, str(number))

    for moment in range(30):
        child = in_a_child(for_ever)
        time.sleep(0.004 + 0.0007 * moment)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert content(folder).isdigit() or content(folder) == "first"
    write(folder, "last")
    assert content(folder) == "last"
    assert [file.name for file in tmp_path.iterdir()] == ["report"]  # what the killed have left is removed


def test_of_two_processes_each_writes_a_whole_folder(tmp_path):
    folder = tmp_path / "report"

    def often(text):
        for _ in range(25):
            write(folder, text)

    children = [in_a_child(lambda text=text: often(text)) for text in ("one", "two")]
    for child in children:
        assert os.waitpid(child, 0)[1] == 0
    assert content(folder) in ("one", "two")
    assert [file.name for file in tmp_path.iterdir()] == ["report"]


def test_where_the_system_cannot_swap(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "swapped", lambda first, second: False)
    folder = tmp_path / "report"
    for text in ("old", "new"):
        write(folder, text)
    assert content(folder) == "new"
    assert [file.name for file in tmp_path.iterdir()] == ["report"]


def test_a_link_is_replaced_and_what_it_leads_to_is_left_alone(tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("mine")
    (tmp_path / "report").symlink_to(tmp_path / "precious")
    write(tmp_path / "report", "new")
    assert content(tmp_path / "report") == "new"
    assert not (tmp_path / "report").is_symlink()
    assert (tmp_path / "precious" / "file").read_text() == "mine"
    assert {file.name for file in tmp_path.iterdir()} == {"report", "precious"}


def test_a_full_disk_leaves_the_old_folder(tmp_path):
    write(tmp_path / "report", "old")

    def fill():
        with replaced(tmp_path / "report", "0") as part:
            (part / "0").write_text("new")
            raise OSError(errno.ENOSPC, "No space left on device")

    def fill_deeper():
        with replaced(tmp_path / "report", "0") as part, writing(part / "0"):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(InputError, match=r"disk of .* is full"):
        fill()
    with pytest.raises(
        InputError, match=r"/report/0 cannot be written because the disk of \S*/report is full"
    ):
        fill_deeper()
    assert content(tmp_path / "report") == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["report"]


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "report").write_text("mine")
    with pytest.raises(InputError, match="report is a file and not a folder"):
        write(tmp_path / "report", "new")
    assert (tmp_path / "report").read_text() == "mine"


def test_a_folder_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match="holds other files than a page"):
        write(tmp_path / "report", "new")
    assert (tmp_path / "report" / "thesis.tex").read_text() == "mine"
    (tmp_path / "report" / "thesis.tex").unlink()
    write(tmp_path / "report", "new")
    assert content(tmp_path / "report") == "new"


def test_threads_do_not_meet(tmp_path):
    threads = [threading.Thread(target=write, args=(tmp_path / "report", text)) for text in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert content(tmp_path / "report") in "abcd"
