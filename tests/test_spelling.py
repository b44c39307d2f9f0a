"""Prose is spelled as in American English: documents, comments, docstrings and messages, but not names."""

import io
import re
import tokenize
from pathlib import Path

import pytest

codespell = pytest.importorskip("codespell_lib", reason="codespell is not installed: pip install codespell")

ROOT = Path(__file__).parent.parent
FOLDERS = (".", "reid_lightning", "tests", "benchmarks", "examples", "docs", "conf")
LEFT_OUT = (
    "tests/golden/",
    "tests/experiments/earlier/",
    "tests/test_spelling.py",
)  # the first two hold what was written
QUOTED = re.compile(
    r"`[^`]*`|\S*[_/.=:{}\[\]()]\w\S*|^\s*(>>>|\.\.\.).*$|^\s+\w+: ", re.MULTILINE
)  # names and code

BANNED = (  # what readers have stumbled over, each with what is written instead
    ("is no probability", "is not a probability"),
    ("worth a look", "say why"),
    ("told right", "found correctly"),
    ("fits badly", "does not fit"),
    ("of what is looked for", "name it"),
    ("goes the whole way", "shows every step"),
    ("put the winner to work", "deploy the best"),
    ("knows chance from gain", "marks significant differences"),
    ("asks the network for nothing", "works without a network connection"),
    ("turns the direction round", "reverses the direction"),
    ("whole or not at all", "atomically"),
    ("as near are", "are as near"),
    ("by the clock", "wall time"),
    ("told apart", "distinguished"),
    ("does not serve", "has no effect on"),
)


def prose(file: Path) -> str:
    """Return what people read of a file, each word in its line; all else is blank."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".md":
        kept = re.sub(
            r"^```.*?^```", lambda block: "\n" * block[0].count("\n"), text, flags=re.MULTILINE | re.DOTALL
        )
    elif file.suffix == ".yaml":
        kept = "\n".join(line.partition("#")[2] for line in text.split("\n"))
    else:
        lines = [""] * (text.count("\n") + 2)
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            sentence = token.type == tokenize.STRING and " " in token.string
            if token.type == tokenize.COMMENT or sentence:
                for place, line in enumerate(token.string.split("\n"), token.start[0] - 1):
                    lines[place] += f" {line}"
        kept = "\n".join(lines)
    return QUOTED.sub(" ", kept)


def slips(files: dict[str, str], folder: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return codespell's findings in texts by name, with the project's settings."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    codespell.main("--toml", str(ROOT / "pyproject.toml"), "--quiet-level", "3", str(folder))
    return capsys.readouterr().out.replace(f"{folder}/", "").splitlines()


@pytest.mark.parametrize("folder", FOLDERS)
def test_prose_is_spelled_as_in_american_english(folder, tmp_path, capsys):
    found = (ROOT / folder).glob("*") if folder == "." else (ROOT / folder).rglob("*")
    files = {str(file.relative_to(ROOT)): file for file in found if file.suffix in (".md", ".py", ".yaml")}
    texts = {name: prose(file) for name, file in files.items() if not name.startswith(LEFT_OUT)}
    assert texts
    assert slips(texts, tmp_path, capsys) == []


def test_a_slip_is_found_in_prose_and_not_in_names(tmp_path, capsys):
    source = tmp_path / "source.py"
    source.write_text(
        '"""A colour of `colour`.\n\nArgs:\n    colour: One.\n"""\n\ncolour = "colour"  # the centre\n'
    )
    found = slips({"source.py": prose(source)}, tmp_path / "texts", capsys)
    assert found == ["source.py:1: colour ==> color", "source.py:7: centre ==> center"]


def test_phrases_that_readers_stumbled_over_do_not_return():
    files = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "reid_lightning").rglob("*.py")]
    texts = {file: " ".join(file.read_text(encoding="utf-8").split()) for file in files}
    found = [
        f"{file.relative_to(ROOT)}: {phrase!r}, write {instead!r}"
        for file, text in texts.items()
        for phrase, instead in BANNED
        if phrase in text
    ]
    assert found == []
