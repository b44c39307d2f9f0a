"""What is written: where it cannot be, for spreadsheets, terminals and browsers, and pictures of odd images."""

import csv
import json
import os
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from helpers import command
from PIL import Image
from small_model import write_checkpoint, write_person

from reid_lightning.errors import InputError
from reid_lightning.inference.embed import Embedder
from reid_lightning.inference.enrol import enrol
from reid_lightning.reporting.contact_sheet import contact_sheet
from reid_lightning.reporting.embedding_map import embedding_map
from reid_lightning.reporting.page import Picture, write_report
from reid_lightning.reporting.pictures import read_picture, read_pictures
from reid_lightning.reporting.ranked_lists import RankedImage, RankedList, ranked_lists
from reid_lightning.retrieval.embeddings import Embeddings
from reid_lightning.retrieval.identification import Enrolment

GROUP = "Outputs"
HOSTILE = ("=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\uff1d1", "'=1")
MARKUP = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "[red]x[/red]", "[link=http://a]b[/link]",
          "\x1b[2J\x1b]0;title\x07", "$\\frac{1}$", "_hidden", "[/]", "a\udcffb", "\x9b31m", "\u202egnp.exe")  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("model") / "model.ckpt")


@pytest.fixture
def people(model, tmp_path, monkeypatch):
    """A file of two people; whatever embeds images after that fails."""
    file = tmp_path / "people.npz"
    for number in range(2):
        enrol(model, write_person(tmp_path / f"p{number}", number), file, name=f"p{number}")
    monkeypatch.setattr(Embedder, "__init__", lambda *_: pytest.fail("the work has begun"))
    return file


@pytest.fixture
def vectors(tmp_path):
    write_vectors(tmp_path / "vectors.npz", [f"p{number}" for number in range(4)], ["a.jpg"] * 8)
    return tmp_path / "vectors.npz"


def write_vectors(file, names, paths):
    names = np.array([f"s/{name}" for name in names for _ in range(2)])
    vectors = torch.from_numpy(np.random.default_rng(0).normal(size=(len(names), 8))).float()
    asked = np.arange(len(names)) % 2 == 0
    paths = (
        [f"{number}{path}" for number, path in enumerate(paths)] if len(set(paths)) < len(paths) else paths
    )
    Embeddings(vectors, np.array(paths), names, np.full(len(names), ""), asked, ~asked & False).save(file)


@pytest.fixture
def read_only(tmp_path):
    """A folder that nobody can write to, root neither."""
    folder = tmp_path / "read-only"
    folder.mkdir()
    if os.geteuid() == 0:
        if subprocess.run(["chattr", "+i", folder], capture_output=True, check=False).returncode:
            pytest.skip("root writes everywhere on this file system")
    else:
        folder.chmod(0o500)
    yield folder
    if os.geteuid() == 0:
        subprocess.run(["chattr", "-i", folder], check=False)
    folder.chmod(0o700)


def writers(model, people, vectors, output):
    """Return the commands that write a file, by what they write."""
    asked = people.parent / "p0"
    return {
        "embed": ("embed", model, asked, output / "x.npz"),
        "enrol": ("enrol", model, asked, output / "x.npz", "--name", "a"),
        "identify": ("identify", model, people, asked, "--output", output / "x.csv"),
        "sheet": ("identify", model, people, asked, "--sheet", output / "x.png"),
        "map": ("report", "map", vectors, output / "x.png"),
        "data sheet": ("data", "sheet", output / "x.png", "data=market1501", "data.root=nowhere"),
        "fuse": ("fuse", vectors, vectors, "--output", output / "x.json"),
        "evaluate": ("evaluate", "none.ckpt", "--output", output / "x"),
        "embeddings": (
            "evaluate",
            "none.ckpt",
            "--output",
            people.parent / "x",
            "--embeddings",
            output / "x.npz",
        ),
    }


WRITERS = list(writers(*[Path()] * 4))


@pytest.mark.parametrize("writer", WRITERS)
class TestWhereItCannotBe:
    @pytest.mark.fault(GROUP, "a folder without write permission")
    def test_read_only(self, writer, model, people, vectors, read_only, seen):
        with pytest.raises(
            InputError, match=r"cannot be written because .*read-only(/x)? is read-only"
        ) as refused:
            command(*writers(model, people, vectors, read_only)[writer])
        seen(refused.value)

    @pytest.mark.fault(GROUP, "a file where the output's folder should be")
    def test_below_a_file(self, writer, model, people, vectors, seen):
        with pytest.raises(
            InputError, match=r"cannot be written because .*people\.npz.* is a file"
        ) as refused:
            command(*writers(model, people, vectors, people)[writer])
        seen(refused.value)

    @pytest.mark.fault(GROUP, "a folder, a pipe or a device in place of the output")
    def test_in_place(self, writer, model, people, vectors, tmp_path, seen):
        for make in (os.mkdir, os.mkfifo):
            output = tmp_path / make.__name__
            output.mkdir()
            arguments = writers(model, people, vectors, output)[writer]
            place = next(part for part in arguments if str(part).startswith(f"{output}/"))
            make(place)
            if writer == "evaluate" and make is os.mkdir:
                continue
            with pytest.raises(
                InputError, match=r"is a folder; name a file|is a device or a pipe|is not a file of|is a file"
            ) as refused:
                command(*arguments)
            seen(refused.value)
            assert place.is_dir() if make is os.mkdir else place.is_fifo()

    @pytest.mark.fault(GROUP, "an output with the wrong ending")
    def test_ending(self, writer, model, people, vectors, tmp_path, seen):
        if writer in ("identify", "fuse", "evaluate"):
            pytest.skip("takes any name")
        arguments = [
            part.with_suffix(".txt") if part == tmp_path / "x.npz" or str(part).endswith("x.png") else part
            for part in writers(model, people, vectors, tmp_path)[writer]
        ]
        with pytest.raises(InputError, match=r"x\.txt") as refused:
            command(*arguments)
        seen(refused.value)

    @pytest.mark.fault(GROUP, "an output whose name is too long")
    def test_long(self, writer, model, people, vectors, tmp_path, seen):
        with pytest.raises(InputError, match="name is too long") as refused:
            command(*writers(model, people, vectors, tmp_path / ("n" * 300))[writer])
        seen(refused.value.args[0].replace("n" * 300, "n..."))


@pytest.mark.fault(GROUP, "a folder that is not there yet")
def test_missing_folders_are_made(model, tmp_path):
    new = tmp_path / "a" / "b"
    command("enrol", model, write_person(tmp_path / "p0", 0), new / "people.npz", "--name", "p0")
    asked = ("identify", model, new / "people.npz", tmp_path / "p0")
    command(*asked, "--output", new / "c" / "x.csv", "--sheet", new / "d" / "x.png")
    command("embed", model, tmp_path / "p0", new / "e" / "x.npz")
    assert (new / "c/x.csv").is_file()
    assert (new / "d/x.png").is_file()
    assert (new / "e/x.npz").is_file()


@pytest.mark.fault(GROUP, "an option of `reid` out of range")
@pytest.mark.parametrize(
    ("of", "option", "value"),
    [("identify", "--threshold", value) for value in ("nan", "inf", "-1", "-inf")]
    + [("identify", "--k", value) for value in (0, -3)]
    + [("identify", "--search", value) for value in ("fais", "", "EXACT")]
    + [("enrol", "--name", value) for value in ("", "  ")]
    + [("fuse", "--weight", value) for value in ("nan", 2, -0.1, "inf")]
    + [("fuse", option, "som") for option in ("--rule", "--key", "--normalization", "--camera-policy")]
    + [("map", option, value) for option in ("--people", "--images") for value in (0, -1)]
    + [("map", "--perplexity", value) for value in ("nan", 0, -1, "inf")]
    + [("map", "--seed", -1), ("data sheet", "--people", 0), ("data sheet", "--people", -1)],
)
def test_options(of, option, value, model, people, vectors, tmp_path, seen):
    with pytest.raises(InputError, match=f"^{option} ") as refused:
        command(*writers(model, people, vectors, tmp_path)[of], option, value)
    seen(refused.value)


def test_more_neighbours_than_there_are_are_all(model, tmp_path):
    command("enrol", model, write_person(tmp_path / "p0", 0), tmp_path / "people.npz", "--name", "p0")
    for k in (1000, 10**12):
        for search in ("exact", "faiss"):
            asked = (
                "identify",
                model,
                tmp_path / "people.npz",
                tmp_path / "p0",
                "--k",
                k,
                "--search",
                search,
            )
            answers = [json.loads(line) for line in command(*asked).stdout.splitlines()]
            assert [answer["name"] for answer in answers] == ["p0", "p0"]


# Names


@pytest.mark.fault(GROUP, "names that a spreadsheet, a terminal or a browser would run")
def test_hostile_names_are_shown_as_they_are(model, tmp_path, capfd):
    """People and their folders bear the names; a slash cannot be in a folder's, and it must be UTF-8."""
    names = [name.replace("/", "|") for name in (*HOSTILE, *MARKUP) if "\udcff" not in name]
    for number, name in enumerate(names):
        write_person(tmp_path / "in" / name, number, images=1)
    people, output = tmp_path / "people.npz", tmp_path / "out.csv"
    command("enrol", model, tmp_path / "in", people)
    asked = ("identify", model, people, tmp_path / "in", "--k", 1)
    printed = command(*asked).stdout
    answers = {answer["name"]: answer for answer in map(json.loads, printed.splitlines())}
    assert set(answers) == set(names)
    for name in names:
        assert (
            answers[name]["image"] == answers[name]["candidates"][0]["image"] == f"{tmp_path}/in/{name}/0.png"
        )
    command(*asked, "--output", output, "--sheet", tmp_path / "sheet.png")
    with output.open(encoding="utf-8", newline="") as file:
        cells = {row["name"] for row in csv.DictReader(file)}
    escaped = {f"'{name}" if place < len(HOSTILE) else name for place, name in enumerate(names)}
    assert cells == {name.encode("utf-8", "backslashreplace").decode() for name in escaped}
    said = []
    for name in names:
        command("forget", "--", people, name)
        with pytest.raises(InputError) as refused:
            command("forget", "--", people, name)
        said.append(str(refused.value))
    shown = printed + "".join(said) + "".join(capfd.readouterr())
    assert not set(shown) & set("\x1b\x07\r\t\x9b\u202e\udcff")


@pytest.mark.fault(GROUP, "names that a spreadsheet, a terminal or a browser would run")
def test_hostile_names_on_pictures_and_pages(tmp_path):
    names = [*HOSTILE, *MARKUP]
    write_vectors(tmp_path / "v.npz", names, [f"{place}{name}.jpg" for place, name in enumerate(names * 2)])
    command("report", "map", tmp_path / "v.npz", tmp_path / "map.png", "--people", len(names))
    command("fuse", tmp_path / "v.npz", tmp_path / "v.npz", "--key", "path", "--camera-policy", "allow")
    gone = RankedImage(tmp_path / "gone.png", None, 0.1, "")
    ranked_lists(
        [
            RankedList(gone.path, name, None, (RankedImage(gone.path, True, 0.1, name),), name[:8])
            for name in names
        ],
        tmp_path / "lists.png",
    )
    text = "\n".join(names)
    page = write_report(
        tmp_path,
        title=text,
        protocol=text,
        scores={text: dict.fromkeys(names, 0.5)},
        facts=dict.fromkeys(names, text),
        pictures=[Picture(text, tmp_path / "map.png", text)],
        config=text,
    ).read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert page.count("&lt;script&gt;") > 10


@pytest.mark.fault(GROUP, "names that a spreadsheet, a terminal or a browser would run")
def test_hostile_names_in_the_commands_own_process(commands, model, tmp_path, seen):
    folder = write_person(tmp_path / "in\x1b[2J", 5)
    people = tmp_path / "people[red].npz"
    for arguments in (
        ("enrol", model, folder, people, "--name", "[red]\udcff"),
        ("identify", model, people, folder),
        ("embed", model, folder, tmp_path / "[bold].npz"),
        ("forget", people, "[red]\udcff"),
    ):
        ended = commands.run("reid", *arguments, PYTHONUTF8="1")
        assert ended.code == 0, ended.err
        assert "\x1b" not in ended.out + ended.err
        assert "[" in ended.out + ended.err
    ended = commands.run("reid", "forget", people, "x\x1b[2J\udcff")
    assert ended.sentence.startswith(r"x\x1b[2J\udcff is not enrolled")
    seen(ended.sentence)


def test_a_table_is_read_back(model, tmp_path):
    """Of a run's own files: paths that begin with a sign are found again."""
    folder = write_person(tmp_path / "p0", 0)
    (folder / "0.png").rename(tmp_path / "=0.png")
    pd.DataFrame({"path": ["'=0.png"], "person_id": ["'@a"]}).to_csv(tmp_path / "queries.csv", index=False)
    command("enrol", model, tmp_path / "queries.csv", tmp_path / "people.npz")
    found = Enrolment.load(tmp_path / "people.npz")
    assert (found.names, found.images) == (["@a"], [f"{tmp_path}/=0.png"])


# Pictures


def save_kinds(folder):
    """Write an image that is red above and blue below, in kinds that the model reads; return what stays upright."""
    folder.mkdir()
    rgb = np.zeros((60, 30, 3), np.uint8)
    rgb[:30, :, 0], rgb[30:, :, 2] = 255, 255
    image = Image.fromarray(rgb)
    image.save(folder / "plain.png")
    image.convert("P").save(folder / "palette.png")
    image.convert("CMYK").save(folder / "cmyk.jpg", quality=100)
    image.convert("RGBA").save(folder / "alpha.png")
    cv2.imwrite(str(folder / "sixteen.png"), rgb[..., ::-1].astype(np.uint16) * 257)
    turns = {3: 180, 6: 90, 8: -90}
    for orientation, degrees in turns.items():
        exif = Image.Exif()
        exif[274] = orientation
        image.rotate(degrees, expand=True).save(folder / f"turned{orientation}.jpg", exif=exif, quality=100)
    return sorted(folder.iterdir())


@pytest.mark.fault("Images", "odd and rotated images in pictures")
def test_pictures_show_what_the_model_sees(tmp_path):
    for path in save_kinds(tmp_path / "kinds"):
        picture = read_picture(path).astype(int)
        assert picture.shape == (60, 30, 3), path
        assert picture[10, 15, 0] > 200 > 100 > picture[10, 15, 2], path
        assert picture[50, 15, 2] > 130 > 100 > picture[50, 15, 0], path
    grey = np.full((60, 30), 70, np.uint8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    assert (read_picture(tmp_path / "grey.png") == 70).all()


@pytest.mark.fault("Images", "odd and rotated images in pictures")
def test_every_picture_is_upright(tmp_path):
    turned = [path for path in save_kinds(tmp_path / "kinds") if "turned" in path.name]
    rows = {"path": [str(path) for path in turned], "person_id": "1", "camera_id": None, "distractor": False}
    contact_sheet(pd.DataFrame(rows), tmp_path / "sheet.png")
    lists = [RankedList(path, "", None, (RankedImage(path, None, 0.0, ""),)) for path in turned]
    ranked_lists(lists, tmp_path / "lists.png")
    positions = np.random.default_rng(0).normal(size=(len(turned), 2))
    embedding_map(positions, np.array(["a"] * len(turned)), ["a"], tmp_path / "map.png", turned)
    for name in ("sheet", "lists", "map"):
        pixels = np.asarray(Image.open(tmp_path / f"{name}.png").convert("RGB")).astype(int)
        red = (pixels[..., 0] > 230) & (pixels[..., 1:].max(axis=2) < 60)
        blue = (pixels[..., 2] > 230) & (pixels[..., :2].max(axis=2) < 60)
        assert red.sum() > 300, name
        below = sum((red[:-distance] & blue[distance:]).sum() for distance in (4, 8, 12))
        above = sum((blue[:-distance] & red[distance:]).sum() for distance in (4, 8, 12))
        beside = sum((red[:, :-distance] & blue[:, distance:]).sum() for distance in (4, 8, 12))
        assert below > 3 * max(above, beside), name


@pytest.mark.fault("Images", "a picture's image that is huge, gone, damaged or a pipe")
def test_what_cannot_be_drawn_is_a_grey_tile(tmp_path, caplog, seen):
    for name, content in {"empty.jpg": b"", "text.jpg": b"text", "folder": None, "loop": None}.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    whole = write_person(tmp_path / "p", 0) / "0.png"
    (tmp_path / "cut.png").write_bytes(whole.read_bytes()[:60])
    names = ("empty.jpg", "text.jpg", "folder", "loop", "pipe.jpg", "cut.png", "gone.jpg", "x" * 300)
    paths = [tmp_path / name for name in names]
    pictures = read_pictures([*paths, whole, "/dev/zero"])
    assert all((pictures[str(path)] == 200).all() for path in paths)
    assert pictures[str(whole)].std() > 0
    assert "gray tiles: 9" in caplog.text
    ranked_lists([RankedList(path, "", None, ()) for path in paths], tmp_path / "lists.png")
    contents = {"path": [str(paths[0])], "person_id": "1", "camera_id": None, "distractor": False}
    with pytest.raises(InputError, match=r"empty\.jpg cannot be read as an image"):
        contact_sheet(pd.DataFrame(contents), tmp_path / "sheet.png")
    seen("the report, with gray tiles, and a warning")


@pytest.mark.fault("Images", "a picture's image that is huge, gone, damaged or a pipe")
def test_an_image_that_pillow_refuses_is_drawn(tmp_path):
    path = tmp_path / "large.jpg"
    cv2.imwrite(str(path), np.full((15000, 12500), 90, np.uint8))
    picture = read_picture(path)
    assert picture.shape == (512, 427, 3)
    assert abs(picture.astype(int) - 90).max() <= 2


# Images that are named


@pytest.mark.fault("Images", "what is named in place of images")
def test_what_holds_no_images(tmp_path, seen, model):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").touch()
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    (tmp_path / "empty.jpg").touch()
    write_person(tmp_path / "p", 0, images=40)
    (tmp_path / "p" / "damaged.png").write_bytes((tmp_path / "p" / "0.png").read_bytes()[:60])
    for name, message in {
        "empty": "empty holds no images",
        "text": "text holds no images",
        "pipe.jpg": r"pipe\.jpg is neither a file nor a folder",
        "loop.jpg": r"loop\.jpg is neither a file nor a folder",
        "empty.jpg": r"empty\.jpg",
        "p": r"damaged\.png",
        "/dev/zero": "/dev/zero is neither a file nor a folder",
    }.items():
        with pytest.raises(InputError, match=message) as refused:
            command("embed", model, tmp_path / name, tmp_path / "x.npz")
        seen(refused.value)
        assert not (tmp_path / "x.npz").exists()
