"""Pages that are generated while the site is built: every command of `reid`, and every setting with its comment."""

import html
import subprocess
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

from reid_lightning.config.options import groups, options
from reid_lightning.config.resolve import CONF

_COMMANDS = """# Commands

`reid` is the command of an installed package; in a clone it is `uv run reid`. `reid COMMAND --help` shows the same text.
A mistake of the user ends with one sentence and exit status 2, an interruption with 130, a failure inside with 1.

"""
_SETTINGS = """# Settings

Every option of every group, as its file states it. The comment beside a setting says what it does, with its unit and its
other values. On the command line, `GROUP=OPTION` chooses an option and `GROUP.SETTING=VALUE` changes a setting in it (of
losses `loss.OPTION.SETTING=VALUE`). `reid list` shows groups and options in a terminal.

"""


def commands() -> str:
    """Return the page of commands, as typer writes it."""
    call = [sys.executable, "-m", "typer", "reid_lightning.cli.main", "utils", "docs", "--name", "reid"]
    written = subprocess.run(call, check=True, capture_output=True, text=True).stdout
    first = written.index("\n## ")  # before it typer repeats the help of `reid` itself
    return _COMMANDS + html.unescape(written[first:])


def settings() -> str:
    """Return the page of settings: the YAML files of `conf/`."""
    parts = [_SETTINGS, "## The run\n\n", _yaml(CONF / "config.yaml", "conf/config.yaml")]
    for group, says in groups().items():
        parts.append(f"## {group}\n\n{says[0].upper()}{says[1:]}.\n\n".replace("..\n", ".\n"))
        for option in options(group):
            parts.append(f"### {group}={option.name}\n\n{option.says}\n\n")
            parts.append(_yaml(CONF / group / f"{option.name}.yaml", f"conf/{group}/{option.name}.yaml"))
    return "".join(parts)


def _yaml(file: Path, title: str) -> str:
    return f'```yaml title="{title}"\n{file.read_text(encoding="utf-8").rstrip()}\n```\n\n'


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages, as MkDocs asks its hooks to."""
    for name, write in (("commands.md", commands), ("settings.md", settings)):
        files.append(File.generated(config, name, content=write()))
    return files
