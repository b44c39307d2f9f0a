"""Messages that docs/troubleshooting.md explains are messages of the program."""

import re
from pathlib import Path

import pytest

from reid_lightning.config.resolve import CONF

REPOSITORY = Path(__file__).resolve().parents[1]
PAGE = (REPOSITORY / "docs" / "troubleshooting.md").read_text()
ROWS = [line.split(" | ")[0].removeprefix("| ") for line in PAGE.splitlines() if line.startswith("| `")]
MESSAGES = [row.strip("`") for row in ROWS]
FOREIGN = {"operator torchvision::nms does not exist"}


@pytest.fixture(scope="module")
def said() -> str:
    """The source as one text: strings that follow each other joined, what is filled in shown as dots."""
    files = [
        REPOSITORY / "reid_lightning" / name for name in sorted((REPOSITORY / "reid_lightning").rglob("*.py"))
    ]
    joined = re.sub(r'"\s*\n\s*f?"', "", "\n".join(file.read_text() for file in files))
    return re.sub(r"\{[^{}]*\}", "...", joined)


@pytest.mark.parametrize("message", [message for message in MESSAGES if message not in FOREIGN])
def test_a_message_of_the_page_is_one_of_the_program(said, message):
    parts = [part.strip() for part in message.split("...") if part.strip(" :=")]
    for part in parts:
        assert part.strip() in said, part


def test_settings_of_the_page_exist():
    keys = "\n".join(file.read_text() for file in CONF.rglob("*.yaml"))
    for group, key in re.findall(r"`(data|sampler|trainer|optimizer|backbone)\.(\w+)=", PAGE):
        assert re.search(rf"^\s*{key}:", keys, re.MULTILINE), f"{group}.{key}"
