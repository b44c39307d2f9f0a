"""The command line `reid`: thin, and quick to answer because heavy imports wait for the work."""

import sys
from typing import Any, NoReturn

import typer

from reid_lightning.cli import choices, data, model, report
from reid_lightning.config.resolve import CONF
from reid_lightning.errors import InputError
from reid_lightning.experiments.malloc import keep_freed_memory
from reid_lightning.streams import own_streams, require_current_folder

HELP = "Train person re-identification models, evaluate them, and put them to work."
OWN_HELP = {"ignore_unknown_options": True, "help_option_names": []}  # Hydra's


def _group(text: str | None) -> typer.Typer:
    return typer.Typer(no_args_is_help=True, help=text)


app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=HELP)
app.command("train", context_settings=OWN_HELP)(choices.train)
app.command("list")(choices.list_options)
for command in (
    model.evaluate,
    model.embed,
    model.fuse,
    model.enrol,
    model.forget,
    model.identify,
    model.save,
):
    app.command(command.__name__)(command)
app.command("import")(model.import_model)
data_app, report_app = _group("Look at data sets before training."), _group("Look at finished runs.")
data_app.command("check")(data.check)
data_app.command("sheet")(data.sheet)
report_app.command("map")(report.embedding_map)
report_app.command("sweep")(report.sweep)
app.add_typer(data_app, name="data")
app.add_typer(report_app, name="report")


def main() -> None:
    """Run the command line; a user's error is one sentence and exit code 2."""
    keep_freed_memory()
    require_current_folder()
    try:
        with own_streams():
            code = app(prog_name="reid", standalone_mode=False)
    except InputError as error:
        _refuse(str(error))
    except typer.Abort:
        print("Interrupted.", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if not hasattr(
            error, "format_message"
        ):  # of typer, for what the command line lacks or has too much of
            raise
        _refuse(_sentence(error))
    if code:
        sys.exit(code)


def _refuse(sentence: str) -> NoReturn:
    if sentence:
        print(f"error: {sentence}", file=sys.stderr)
    sys.exit(2)


def _sentence(error: Any) -> str:
    """Return what typer refuses with the way out; empty where it has shown the help already."""
    said = " ".join(error.format_message().split()).rstrip(".")
    option = str(getattr(error, "option_name", "")).lstrip("-")
    if not said or said.endswith("?"):  # did you mean ...?
        return said
    if "." in option or (option and (CONF / option).is_dir()):
        return f"{said}; settings are written without dashes, as {option}=VALUE"
    return f"{said}; `{error.ctx.command_path if error.ctx else 'reid'} --help` shows what there is"
