"""Files of enrolled people: changed by several commands at once, killed, damaged, and foreign."""

import functools
import io
import os
import pickle
import struct
import time
import zipfile
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from helpers import command
from people_writer import enrol_for_ever
from small_model import write_checkpoint, write_person

from reid_lightning.errors import InputError
from reid_lightning.inference.embed import Embedder
from reid_lightning.inference.enrol import enrol, forget
from reid_lightning.retrieval.embeddings import Embeddings
from reid_lightning.retrieval.identification import Enrolment

GROUP = "People and vectors"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("model") / "model.ckpt")


@pytest.fixture
def people(tmp_path):
    """A file with p0 and p1 enrolled, of no model's vectors."""
    enrolment = Enrolment()
    enrolment.add(torch.eye(4), ["p0", "p0", "p1", "p1"], ["a", "b", "c", "d"])
    enrolment.save(tmp_path / "people.npz")
    return tmp_path / "people.npz"


# Several at once


@pytest.mark.fault(GROUP, "several `reid enrol` at once into one file")
@pytest.mark.parametrize("exists", [False, True])
def test_all_people_of_commands_at_once_are_enrolled(commands, model, tmp_path, seen, exists):
    file = tmp_path / "new" / "people.npz"
    folders = [write_person(tmp_path / f"p{number}", number) for number in range(4)]
    if exists:
        enrol(model, folders[3], file, name="p3")
    started = [
        commands.start("reid", "enrol", model, folder, file, "--name", folder.name) for folder in folders[:3]
    ]
    ended = [one.wait() for one in started]
    assert [one.code for one in ended] == [0, 0, 0], ended
    assert set(Enrolment.load(file).people) == {"p0", "p1", "p2"} | ({"p3"} if exists else set())
    seen("all people are enrolled; the later commands wait for the lock")


@pytest.mark.fault(GROUP, "`reid forget` while `reid enrol` runs")
def test_a_person_who_is_removed_while_others_are_enrolled_stays_removed(commands, model, tmp_path, seen):
    file = tmp_path / "people.npz"
    for number in range(3):
        enrol(model, write_person(tmp_path / f"p{number}", number), file, name=f"p{number}")
    started = [
        commands.start(
            "reid", "enrol", model, write_person(tmp_path / f"q{n}", 100 + n), file, "--name", f"q{n}"
        )
        for n in range(2)
    ] + [commands.start("reid", "forget", file, f"p{number}") for number in range(2)]
    assert [one.wait().code for one in started] == [0] * 4
    assert set(Enrolment.load(file).people) == {"p2", "q0", "q1"}
    seen("the person stays removed")


@pytest.mark.fault(GROUP, "`reid forget` while `reid enrol` runs")
@pytest.mark.parametrize("enrolled", ["p0", "p2"])
def test_removed_between_embedding_and_writing(model, tmp_path, monkeypatch, enrolled):
    """The later of two changes holds: the images that the removal took away never come back."""
    file = tmp_path / "people.npz"
    for number in range(2):
        enrol(model, write_person(tmp_path / f"p{number}", number), file, name=f"p{number}")
    embed = Embedder.__call__

    def forgotten_meanwhile(self, paths):
        forget(file, "p0")
        return embed(self, paths)

    monkeypatch.setattr(Embedder, "__call__", forgotten_meanwhile)
    enrol(model, write_person(tmp_path / "more", 7, images=3), file, name=enrolled)
    found = Enrolment.load(file)
    assert found.names == ["p1"] * 2 + [enrolled] * 3
    assert not any("/p0/" in image for image in found.images)


@pytest.mark.fault(GROUP, "the people file is deleted, or becomes another model's, while `reid enrol` runs")
def test_the_file_changes_while_images_are_embedded(model, tmp_path, monkeypatch, people, seen):
    file = tmp_path / "own.npz"
    enrol(model, write_person(tmp_path / "p0", 0), file, name="p0")
    embed = Embedder.__call__
    for change, left in ((file.unlink, {"p5"}), (lambda: os.replace(people, file), {"p0", "p1"})):
        monkeypatch.setattr(
            Embedder, "__call__", lambda self, paths, act=change: (act(), embed(self, paths))[1]
        )
        refused = (
            pytest.raises(InputError, match=r"own\.npz was written with another checkpoint")
            if left == {"p0", "p1"}
            else nullcontext()
        )
        with refused as error:
            enrol(model, write_person(tmp_path / "p5", 5), file, name="p5")
        seen(error.value if error else "")
        assert set(Enrolment.load(file).people) == left


@pytest.mark.fault(GROUP, "SIGKILL while a people file is written")
@pytest.mark.parametrize("seed", range(20))
def test_killed_at_any_moment_the_file_is_whole(commands, people, seed, seen):
    random = np.random.default_rng(seed)
    size = 0
    for part in range(3):
        process = commands._context.Process(target=enrol_for_ever, args=(str(people), 10 * seed + part))
        process.start()
        before = people.stat().st_mtime_ns
        while people.stat().st_mtime_ns == before:
            assert process.is_alive()
            time.sleep(0.001)
        time.sleep(random.uniform(0, 0.02))
        process.kill()
        process.join()
        found = Enrolment.load(people)
        assert found.people[:2] == ("p0", "p1")
        assert all(found.names.count(name) == 3 for name in found.people[2:])
        assert len(found) > size
        size = len(found)
    forget(people, "p0")
    assert sorted(os.listdir(people.parent)) == [".people.npz.lock", "people.npz"]
    seen("the old file or the new one; leftovers go with the next command")


def test_a_file_behind_a_link_is_changed_where_it_lies(people, tmp_path):
    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / "people.npz"
    link.symlink_to(people)
    forget(link, "p0")
    assert link.is_symlink()
    assert Enrolment.load(people).people == ("p1",)


def test_a_file_that_is_not_there_leaves_nothing(tmp_path):
    with pytest.raises(InputError, match="There is no file"):
        forget(tmp_path / "none" / "people.npz", "p0")
    assert os.listdir(tmp_path) == []


# Damaged and foreign files


class Trap:
    """Runs as soon as it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("executed",)


def archive(**members):
    """Return a zip file of members, arrays in numpy's form."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as file:
        for name, content in members.items():
            if not isinstance(content, bytes):
                array = io.BytesIO()
                np.save(array, content)
                content = array.getvalue()
            file.writestr(f"{name}.npy", content)
    return target.getvalue()


def header(text):
    """Return an array of numpy's form with a header that says what it likes, and no content."""
    padded = text.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(padded)) + padded


def arrays(kind, **changes):
    """Return the arrays of a file of people or of embeddings, some of them changed or, where None, left out."""
    texts = np.array(["a", "b", "c", "d"])
    good = {"vectors": np.eye(4, dtype=np.float32), "distance": np.array("cosine")}
    if kind == "people":
        good |= {"names": texts, "images": texts, "model": np.array("m")}
    else:
        good |= {"paths": texts, "people": texts, "cameras": texts}
        good |= {"is_query": np.array([True, False] * 2), "distractor": np.zeros(4, bool)}
    if "of_names" in changes:
        changes["names" if kind == "people" else "paths"] = changes.pop("of_names")
    return {name: value for name, value in (good | changes).items() if value is not None}


def compressed(**content):
    target = io.BytesIO()
    np.savez_compressed(target, **content)
    return target.getvalue()


@functools.cache
def damaged(kind):
    whole = archive(**arrays(kind))
    nan = np.eye(4, dtype=np.float32)
    nan[2, 1] = np.nan
    objects = np.array([Trap()] * 4, dtype=object)
    encrypted = bytearray(whole)
    encrypted[encrypted.index(b"PK\x01\x02") + 8] |= 1  # the first member's flag in the directory
    return {
        "empty": b"",
        "text": b"path,person_id\na.jpg,1\n",
        "a zip of nothing": archive(),
        "zeros": bytes(4096),
        "truncated": whole[: len(whole) // 2],
        "without its end": whole[:-10],
        "a damaged member": whole.replace(b"\x93NUMPY", b"\x93NUMPX", 1),
        "flipped bits": whole[:300] + bytes(byte ^ 0xFF for byte in whole[300:340]) + whole[340:],
        "encrypted": bytes(encrypted),
        "a pickle": pickle.dumps(Trap()),
        "pickled arrays": archive(**arrays(kind, of_names=objects)),
        "pickled vectors": archive(**arrays(kind, vectors=objects)),
        "a pickle as a member": archive(**arrays(kind, vectors=pickle.dumps(Trap()))),
        "no vectors": archive(**arrays(kind, vectors=None)),
        "no names": archive(**arrays(kind, of_names=None)),
        "vectors of one dimension": archive(**arrays(kind, vectors=np.ones(4, np.float32))),
        "vectors of three dimensions": archive(**arrays(kind, vectors=np.ones((4, 2, 2), np.float32))),
        "vectors of text": archive(**arrays(kind, vectors=np.full((4, 4), "x"))),
        "complex vectors": archive(**arrays(kind, vectors=np.eye(4, dtype=complex))),
        "structured vectors": archive(**arrays(kind, vectors=np.zeros((4, 4), [("a", "f4")]))),
        "not finite": archive(**arrays(kind, vectors=nan)),
        "too few names": archive(**arrays(kind, of_names=np.array(["a"]))),
        "names of numbers": archive(**arrays(kind, of_names=np.arange(4))),
        "a table of names": archive(**arrays(kind, of_names=np.array([["a", "b"]] * 4))),
        "two distances": archive(**arrays(kind, distance=np.array(["cosine", "cosine"]))),
        "an unknown distance": archive(**arrays(kind, distance=np.array("manhattan"))),
        "a header of a petabyte": archive(
            **arrays(
                kind,
                vectors=header("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000, 250000)}"),
            )
        ),
        "a header of code": archive(
            **arrays(kind, vectors=header("{'descr': __import__('os').mkdir('executed'), 'shape': (4, 4)}"))
        ),
        "a negative shape": archive(
            **arrays(
                kind,
                vectors=header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, -9)}") + bytes(36),
            )
        ),
        "a zip bomb": compressed(**arrays(kind, vectors=np.zeros((5000, 5000), np.float32))),
    }


KINDS = [(kind, fault) for kind in ("people", "embeddings") for fault in damaged(kind)]


def commands_of(kind, file, folder):
    """Return the commands that read a file, as arguments."""
    if kind == "people":
        image = write_person(folder / "asked", 3)
        return [
            ("forget", file, "a"),
            ("enrol", "model.ckpt", image, file, "--name", "Ada"),
            ("identify", "model.ckpt", file, image),
        ]
    good = folder / "good.npz"
    np.savez(good, **arrays("embeddings"))
    return [
        ("fuse", file, good, "--camera-policy", "allow"),
        ("fuse", good, file, "--camera-policy", "allow"),
        ("report", "map", file, folder / "map.png"),
    ]


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        pytest.param(*one, marks=pytest.mark.fault(GROUP, f"file of {one[0]}: damaged or foreign"))
        for one in KINDS
    ],
)
def test_a_damaged_file_is_one_sentence_and_stays(kind, fault, tmp_path, monkeypatch, seen):
    monkeypatch.chdir(tmp_path)
    file, content = tmp_path / "file.npz", damaged(kind)[fault]
    file.write_bytes(content)
    for arguments in commands_of(kind, file, tmp_path):
        with pytest.raises(InputError, match=r"file\.npz") as refused:
            command(*arguments)
        message = str(refused.value)
        assert "\n" not in message
        assert len(message) < 600
        seen(message)
    assert file.read_bytes() == content
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("kind", ["people", "embeddings"])
@pytest.mark.fault(GROUP, "a folder, a pipe, a device or a dead link in place of a file")
def test_what_is_no_file_is_one_sentence(kind, tmp_path, seen):
    places = {name: tmp_path / name for name in ("folder", "pipe", "link", "loop")}
    places["folder"].mkdir()
    os.mkfifo(places["pipe"])
    places["link"].symlink_to(tmp_path / "gone")
    places["loop"].symlink_to(places["loop"])
    for place in (*places.values(), "/dev/zero"):
        for number, arguments in enumerate(commands_of(kind, place, tmp_path)):
            if number == 1 and kind == "people" and place == places["link"]:
                continue  # enrol makes what the link leads to
            with pytest.raises(InputError, match=f"{place}|gone") as refused:
                command(*arguments)
            seen(refused.value)


@pytest.mark.fault(GROUP, "a people file of another model, or the vectors of another command")
def test_files_of_another_kind_are_refused(model, people, tmp_path, seen):
    asked = write_person(tmp_path / "asked", 3)
    for arguments in (("enrol", model, asked, people, "--name", "a"), ("identify", model, people, asked)):
        with pytest.raises(InputError, match=r"people\.npz was written with another checkpoint") as refused:
            command(*arguments)
    seen(refused.value)
    np.savez(tmp_path / "vectors.npz", **arrays("embeddings"))
    with pytest.raises(
        InputError, match=r"vectors\.npz is not a file of enrolled people \(it has no array names\)"
    ):
        command("forget", tmp_path / "vectors.npz", "a")
    with pytest.raises(
        InputError, match=r"people\.npz is not a file of embeddings \(it has no array paths\)"
    ):
        command("report", "map", people, tmp_path / "map.png")


def test_files_of_other_writers_that_are_sound_are_read(tmp_path):
    """Compressed, of another byte order or precision, column by column, of one person, and of nobody."""
    for name, content in {
        "compressed": compressed(**arrays("embeddings")),
        "big": archive(**arrays("embeddings", vectors=np.eye(4, dtype=">f4"))),
        "double": archive(**arrays("embeddings", vectors=np.eye(4))),
        "half": archive(**arrays("embeddings", vectors=np.eye(4, dtype=np.float16))),
        "columns": archive(**arrays("embeddings", vectors=np.asfortranarray(np.eye(4, dtype=np.float32)))),
    }.items():
        (tmp_path / f"{name}.npz").write_bytes(content)
        found = Embeddings.load(tmp_path / f"{name}.npz")
        assert torch.equal(found.vectors.float(), torch.eye(4)), name
        assert found.people.tolist() == ["a", "b", "c", "d"]
    Enrolment().save(tmp_path / "nobody.npz")
    assert len(Enrolment.load(tmp_path / "nobody.npz")) == 0
    one = Enrolment()
    one.add([[1.0]], ["Zoë \udcff [red]=1\x1b[0m"], ["a\udcff.jpg"])
    one.save(tmp_path / "one.npz")
    again = Enrolment.load(tmp_path / "one.npz")
    assert (again.names, again.images) == (one.names, one.images)
