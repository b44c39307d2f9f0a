"""`reid embed`: vectors of any number of images into one file, in parts that outlive a kill."""

import json
import os
import signal

import cv2
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from helpers import command, run_forked, start_forked, wait_until
from untrained import write_small_checkpoint

import reid_lightning
from reid_lightning.errors import InputError
from reid_lightning.files import file_lock
from reid_lightning.inference.embedding import command as command_module
from reid_lightning.inference.embedding import parts as parts_module
from reid_lightning.inference.embedding import workers as workers_module
from reid_lightning.inference.embedding.command import embed, part_of
from reid_lightning.inference.embedding.parts import Parts
from reid_lightning.inference.embedding.writers import to_arrow
from reid_lightning.retrieval.embeddings import Embeddings

IMAGES = 11


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_small_checkpoint(tmp_path_factory.mktemp("model") / "model.ckpt")


@pytest.fixture
def table(tmp_path):
    """A table of eleven images with further columns."""
    (tmp_path / "images").mkdir()
    noise = np.random.default_rng(0)
    for number in range(IMAGES):
        coarse = noise.integers(0, 256, (6, 3, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / "images" / f"{number:02}.png"), cv2.resize(coarse, (20, 40)))
    rows = {
        "path": [f"images/{number:02}.png" for number in range(IMAGES)],
        "person_id": ["0001", "-1", *["0002"] * (IMAGES - 2)],
        "camera_id": [f"c{number % 3}" for number in range(IMAGES)],
        "note": ["", "'=1", *["x"] * (IMAGES - 2)],
    }
    pd.DataFrame(rows).to_csv(tmp_path / "table.csv", index=False)
    return tmp_path / "table.csv"


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(parts_module, "CHUNK", 3)


def paths_of(table):
    return [str(table.parent / "images" / f"{number:02}.png") for number in range(IMAGES)]


def stop_after(monkeypatch, chunks):
    """Let the next command end as if it were interrupted when it has written so many chunks."""
    write, written = Parts.write, []

    def counted(self, *arguments):
        if len(written) == chunks:
            raise KeyboardInterrupt
        written.append(arguments[0])
        return write(self, *arguments)

    monkeypatch.setattr(Parts, "write", counted)
    return lambda: monkeypatch.setattr(Parts, "write", write)


def test_an_npz_file_is_what_embeddings_load(checkpoint, table, tmp_path):
    embed(checkpoint, table, tmp_path / "v.npz")
    found = Embeddings.load(tmp_path / "v.npz")
    expected = reid_lightning.load(checkpoint).embed(paths_of(table))
    np.testing.assert_allclose(found.vectors, expected, rtol=0, atol=1e-6)
    assert found.paths.tolist() == paths_of(table)
    assert found.people.tolist() == ["0001", "", *["0002"] * (IMAGES - 2)]
    assert found.cameras.tolist() == [f"c{number % 3}" for number in range(IMAGES)]
    assert not found.is_query.any()
    assert not found.distractor.any()
    assert found.distance == "cosine"
    assert sorted(os.listdir(tmp_path)) == ["images", "table.csv", "v.npz"]
    found.save(tmp_path / "again.npz")  # numpy's own writer
    with np.load(tmp_path / "v.npz") as ours, np.load(tmp_path / "again.npz") as numpys:
        assert ours.files == numpys.files
        assert all((ours[name] == numpys[name]).all() for name in ours.files)
        assert all(ours[name].dtype == numpys[name].dtype for name in ours.files)


def test_a_parquet_file_carries_every_column(checkpoint, table, tmp_path):
    embed(checkpoint, table, tmp_path / "v.parquet")
    read = pq.read_table(tmp_path / "v.parquet")
    model = reid_lightning.load(checkpoint)
    assert read.schema.field("vector").type.list_size == model.vector_size
    assert str(read.schema.field("vector").type.value_type) == "float"
    vectors = np.stack(read["vector"].to_numpy(zero_copy_only=False))
    np.testing.assert_allclose(vectors, model.embed(paths_of(table)), rtol=0, atol=1e-6)
    assert read.column_names == ["path", "person_id", "camera_id", "note", "vector"]
    assert read["path"].to_pylist() == paths_of(table)
    assert read["person_id"].to_pylist()[:3] == ["0001", None, "0002"]
    assert read["note"].to_pylist()[:3] == [None, "=1", "x"]
    facts = json.loads(read.schema.metadata[b"reid_lightning"])
    assert facts["model"] == model.fingerprint
    assert facts["distance"] == "cosine"
    assert pd.read_parquet(tmp_path / "v.parquet")["vector"][0].dtype == np.float32


@pytest.mark.parametrize("ending", ["npz", "parquet"])
def test_half_precision_is_within_its_rounding(checkpoint, table, tmp_path, ending):
    output = tmp_path / f"v.{ending}"
    assert command("embed", checkpoint, table, output, "--dtype", "float16").exit_code == 0
    if ending == "npz":
        vectors = np.load(output)["vectors"]
        assert str(Embeddings.load(output).vectors.dtype) == "torch.float32"
    else:
        vectors = np.stack(pq.read_table(output)["vector"].to_numpy(zero_copy_only=False))
    assert vectors.dtype == np.float16
    expected = reid_lightning.load(checkpoint).embed(paths_of(table))
    np.testing.assert_allclose(vectors, expected, rtol=2**-10, atol=1e-6)


@pytest.mark.parametrize("ending", ["npz", "parquet"])
def test_an_interrupted_command_continues_to_the_same_bytes(checkpoint, table, tmp_path, monkeypatch, ending):
    whole, output = tmp_path / f"whole.{ending}", tmp_path / f"v.{ending}"
    embed(checkpoint, table, whole)
    resume = stop_after(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        embed(checkpoint, table, output)
    resume()
    assert Parts(output, IMAGES).done() == [0, 1]
    written = []
    monkeypatch.setattr(Parts, "write", _noted(written))
    embed(checkpoint, table, output)
    assert written == [2, 3]
    assert output.read_bytes() == whole.read_bytes()
    assert not (tmp_path / f"v.{ending}.parts").exists()


def _noted(written, write=Parts.write):
    def noted(self, chunk, *arguments):
        written.append(chunk)
        return write(self, chunk, *arguments)

    return noted


def test_parts_of_other_work_are_refused(checkpoint, table, tmp_path, monkeypatch):
    output = tmp_path / "v.npz"
    resume = stop_after(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        embed(checkpoint, table, output)
    resume()
    other = write_small_checkpoint(tmp_path / "other.ckpt", seed=1)
    for said, call in (
        ("another model", lambda: embed(other, table, output)),
        (
            "another preprocessing or protocol",
            lambda: embed(checkpoint, table, output, ["evaluation.flip=true"]),
        ),
        ("another distance", lambda: embed(checkpoint, table, output, ["evaluation.distance=euclidean"])),
        ("another --dtype", lambda: embed(checkpoint, table, output, dtype="float16")),
        ("another list of images", lambda: embed(checkpoint, table.parent / "images", output)),
    ):
        with pytest.raises(
            InputError, match=rf"v.npz.parts holds vectors of an unfinished command with {said}"
        ):
            call()
    assert Parts(output, IMAGES).done() == [0, 1]


def test_a_damaged_image_is_an_error_or_left_out_and_named(checkpoint, table, tmp_path, capsys):
    paths = paths_of(table)
    damaged = [4, 9, 10]
    for row in damaged[:2]:
        with open(paths[row], "wb") as file:
            file.write(b"no image")
    os.remove(paths[10])
    output = tmp_path / "v.parquet"
    with pytest.raises(InputError, match=r"04.png is corrupt"):
        embed(checkpoint, table, output)
    assert Parts(output, IMAGES).done() == [0]
    embed(checkpoint, table, output, skip_damaged=True)
    said = capsys.readouterr().err
    assert all(f"{row:02}.png" in said for row in damaged)
    read = pq.read_table(output)
    kept = [path for row, path in enumerate(paths) if row not in damaged]
    assert read["path"].to_pylist() == kept
    vectors = np.stack(read["vector"].to_numpy(zero_copy_only=False))
    np.testing.assert_allclose(vectors, reid_lightning.load(checkpoint).embed(kept), rtol=0, atol=1e-6)
    assert read["note"].to_pylist() == [None, "=1", *["x"] * 6]
    named = pd.read_csv(tmp_path / "v.parquet.damaged.csv")
    assert named["path"].tolist() == [paths[row] for row in damaged]
    assert named["reason"].str.contains("corrupt|cannot be read").all()


def test_what_was_left_out_is_not_taken_for_done_without_the_option(checkpoint, table, tmp_path, monkeypatch):
    with open(paths_of(table)[1], "wb") as file:
        file.write(b"no image")
    output = tmp_path / "v.npz"
    resume = stop_after(monkeypatch, 3)
    with pytest.raises(KeyboardInterrupt):
        embed(checkpoint, table, output, skip_damaged=True)
    resume()
    with pytest.raises(InputError, match=r"01.png is corrupt.*; 1 images were left out before"):
        embed(checkpoint, table, output)
    embed(checkpoint, table, output, skip_damaged=True)
    assert len(Embeddings.load(output).paths) == IMAGES - 1


def test_images_of_which_none_can_be_read_give_no_file(checkpoint, tmp_path):
    (tmp_path / "images").mkdir()
    for number in range(4):
        (tmp_path / "images" / f"{number}.png").write_bytes(b"no image")
    with pytest.raises(InputError, match="None of 4 images can be read"):
        embed(checkpoint, tmp_path / "images", tmp_path / "v.npz", skip_damaged=True)
    with pytest.raises(InputError, match=r"0.png is corrupt"):
        embed(checkpoint, tmp_path / "images", tmp_path / "v.npz")
    assert os.listdir(tmp_path) == ["images"]


def test_machines_share_the_work_and_the_last_one_joins(checkpoint, table, tmp_path, capsys):
    embed(checkpoint, table, tmp_path / "whole.npz")
    output = tmp_path / "v.npz"
    for part in ("3/3", "1/3"):
        embed(checkpoint, table, output, part=part)
        assert not output.exists()
    assert "the others have 1 of 4 pieces to do" in capsys.readouterr().err
    embed(checkpoint, table, output, part="2/3")
    assert output.read_bytes() == (tmp_path / "whole.npz").read_bytes()
    with pytest.raises(InputError, match="is there already, with all parts"):
        embed(checkpoint, table, output, part="2/3")
    assert not Parts(output, IMAGES).folder.exists()


def test_two_commands_do_not_write_one_output(checkpoint, table, tmp_path):
    output = tmp_path / "v.npz"
    with (
        file_lock(tmp_path / "v.npz.parts" / ".1-of-1.lock"),
        pytest.raises(InputError, match=r"another process is working on .*v.npz"),
    ):
        embed(checkpoint, table, output)


def test_a_damaged_part_is_made_anew(checkpoint, table, tmp_path, monkeypatch):
    output = tmp_path / "v.npz"
    resume = stop_after(monkeypatch, 3)
    with pytest.raises(KeyboardInterrupt):
        embed(checkpoint, table, output)
    resume()
    part = tmp_path / "v.npz.parts" / "0000001.npy"
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(InputError, match=r"0000001.npy was damaged and is removed"):
        embed(checkpoint, table, output)
    embed(checkpoint, table, output)
    assert len(Embeddings.load(output).paths) == IMAGES


@pytest.mark.parametrize("harm", ["other size", "other type", "not finite", "folder", "huge"])
def test_a_part_that_is_not_what_was_written_is_made_anew(checkpoint, table, tmp_path, monkeypatch, harm):
    output = tmp_path / "v.npz"
    resume = stop_after(monkeypatch, 3)
    with pytest.raises(KeyboardInterrupt):
        embed(checkpoint, table, output)
    resume()
    part = tmp_path / "v.npz.parts" / "0000001.npy"
    vectors = np.load(part)
    if harm == "other size":
        np.save(part, vectors[:, :5])
    elif harm == "other type":
        np.save(part, vectors.astype(np.float64))
    elif harm == "not finite":
        np.save(part, vectors * np.nan)
    elif harm == "folder":
        part.unlink()
        part.mkdir()
    else:
        header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': (3, {2**60}), }}"
        part.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode())
    with pytest.raises(InputError, match=r"0000001.npy was damaged and is removed"):
        embed(checkpoint, table, output)
    assert not output.exists()
    embed(checkpoint, table, output)
    assert torch.isfinite(Embeddings.load(output).vectors).all()


@pytest.mark.parametrize("content", ["[" * 100_000, "[]", '{"9": "x"}', '{"-1": "x"}', "{}", "x"])
def test_a_damaged_list_of_damaged_images_is_made_anew(checkpoint, table, tmp_path, monkeypatch, content):
    output = tmp_path / "v.npz"
    (tmp_path / "images" / "01.png").write_bytes(b"")
    resume = stop_after(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        embed(checkpoint, table, output, skip_damaged=True)
    resume()
    (tmp_path / "v.npz.parts" / "0000000.damaged.json").write_text(content)
    with pytest.raises(InputError, match=r"0000000.damaged.json was damaged and is removed"):
        embed(checkpoint, table, output, skip_damaged=True)
    embed(checkpoint, table, output, skip_damaged=True)
    assert len(Embeddings.load(output).paths) == IMAGES - 1


def test_vectors_that_no_command_would_read_are_not_written(checkpoint, table, tmp_path, monkeypatch):
    load, value = workers_module.embedded, 1e6

    def grown(*arguments):
        for rows, vectors in load(*arguments):
            yield rows, np.full_like(vectors, value)

    monkeypatch.setattr(workers_module, "embedded", grown)
    with pytest.raises(
        InputError, match=r"00.png is not finite; it is too large for float16: give --dtype float32"
    ):
        embed(checkpoint, table, tmp_path / "v.npz", dtype="float16")
    embed(checkpoint, table, tmp_path / "v.npz")
    value = np.inf
    with pytest.raises(InputError, match=r"00.png is not finite; the model has diverged"):
        embed(checkpoint, table, tmp_path / "w.npz")
    assert not list(tmp_path.glob("w.npz*"))


@pytest.mark.parametrize("wrong", ["0/3", "4/3", "1", "a/b", "1/0", "-1/3", "1/3/4"])
def test_what_is_no_part_is_refused(wrong):
    with pytest.raises(InputError, match="is not a part of a whole"):
        part_of(wrong)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("v.txt", {}, "must end in one of .npz, .parquet"),
        ("v.npz", {"dtype": "float8"}, "--dtype float8 is unknown"),
        ("v.npz", {"processes": 0}, "--processes must be 1 or more, got 0"),
    ],
)
def test_options_are_checked_first(tmp_path, name, options, said):
    with pytest.raises(InputError, match=said):
        embed(tmp_path / "nowhere.ckpt", tmp_path, tmp_path / name, **options)


def test_columns_that_parquet_cannot_hold_are_refused_first(tmp_path, table):
    pd.DataFrame({"path": ["images/00.png"], "vector": [1]}).to_csv(tmp_path / "own.csv", index=False)
    with pytest.raises(InputError, match="has a column vector"):
        embed(tmp_path / "nowhere.ckpt", tmp_path / "own.csv", tmp_path / "v.parquet")
    for column, values, said in (
        ("path", [os.fsdecode(b"a\xff.png")], "write an .npz file"),
        ("note", ["a", 1], "correct or remove the column"),
    ):
        with pytest.raises(InputError, match=rf"cannot hold the column {column} .* {said}"):
            to_arrow(pd.DataFrame({column: pd.Series(values, dtype=object)}), tmp_path / "v.parquet")


def test_progress_is_said(checkpoint, table, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command_module, "QUIET", 0.0)
    embed(checkpoint, table, tmp_path / "v.npz")
    said = capsys.readouterr().err
    assert "3 of 11 images (" in said
    assert "9 of 11 images (" in said
    assert said.endswith("v.npz: vectors of 11 images\n")


@pytest.mark.slow
def test_processes_share_the_work(checkpoint, table, tmp_path):
    embed(checkpoint, table, tmp_path / "whole.npz")
    embed(checkpoint, table, tmp_path / "v.npz", processes=2)
    ours, whole = Embeddings.load(tmp_path / "v.npz"), Embeddings.load(tmp_path / "whole.npz")
    assert ours.paths.tolist() == whole.paths.tolist()
    np.testing.assert_allclose(ours.vectors, whole.vectors, rtol=0, atol=1e-6)
    with open(paths_of(table)[4], "wb") as file:
        file.write(b"no image")
    with pytest.raises(InputError, match=r"04.png is corrupt"):
        embed(checkpoint, table, tmp_path / "other.npz", processes=2)


SLOWED = """
import sys, time
from pathlib import Path
from reid_lightning.inference.embedding import parts
from reid_lightning.inference.embedding.command import embed
parts.CHUNK, write = 3, parts.Parts.write
def slow(self, *arguments):
    write(self, *arguments)
    time.sleep(0.3)
if __name__ == "__main__":
    parts.Parts.write = slow
    checkpoint, table, output, processes = sys.argv[1:]
    embed(Path(checkpoint), Path(table), Path(output), processes=int(processes))
"""


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["npz", "parquet"])
@pytest.mark.parametrize("processes", [1, 2])
def test_a_killed_command_continues_to_the_same_bytes(checkpoint, table, tmp_path, ending, processes):
    (tmp_path / "slowed.py").write_text(SLOWED)
    whole, output = tmp_path / f"whole.{ending}", tmp_path / f"v.{ending}"
    arguments = (tmp_path / "slowed.py", checkpoint, table)
    run_forked(*arguments, whole, processes)
    parts = Parts(output, IMAGES)
    for wanted in (1, 3):
        process = start_forked(*arguments, output, processes)
        wait_until(lambda wanted=wanted: len(parts.done()) >= wanted or output.exists(), process)
        os.kill(process.process.pid, signal.SIGKILL)
        process.wait()
    run_forked(*arguments, output, processes)
    assert output.read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("v.")) == [f"v.{ending}"]
