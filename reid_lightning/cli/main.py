"""The command line `reid`: thin, and quick to answer because heavy imports wait for the work."""

import sys
from importlib.metadata import version
from typing import Annotated, NoReturn

import typer

from reid_lightning.cli import choices, data, gallery, label, model, people, report, serve, tracking
from reid_lightning.cli.slips import sentence
from reid_lightning.errors import InputError
from reid_lightning.experiments.malloc import keep_freed_memory
from reid_lightning.streams import own_streams, require_current_folder

DOCUMENTATION = (
    "The documentation begins with docs/guide.md; docs/troubleshooting.md explains error messages."
)
HELP = "Train, evaluate and use person re-identification models."
OWN_HELP = {"ignore_unknown_options": True, "help_option_names": []}  # Hydra's


def _group(text: str | None) -> typer.Typer:
    return typer.Typer(no_args_is_help=True, help=text)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"reid-lightning {version('reid-lightning')}")
        raise typer.Exit


app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help=HELP,
    epilog=DOCUMENTATION,
)


@app.callback()
def _reid(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
) -> None:
    pass


app.command("train", context_settings=OWN_HELP)(choices.train)
app.command("list")(choices.list_options)
for command in (
    model.evaluate,
    model.embed,
    model.fuse,
    people.enrol,
    people.forget,
    people.identify,
    model.calibrate,
    people.compare,
    people.cluster,
    people.describe,
    model.save,
    model.export,
    model.push,
):
    app.command(command.__name__)(command)
app.command("import")(model.import_model)
app.command("label")(label.label)
app.command("search")(gallery.search)
app.command("serve")(serve.serve)
app.command("track")(tracking.track)
data_app, report_app = _group("Look at data sets before training."), _group("Look at finished runs.")
data_app.command("check")(data.check)
data_app.command("sheet")(data.sheet)
data_app.command("people")(data.people)
data_app.command("show")(data.show)
data_app.command("scene")(data.scene)
report_app.command("map")(report.embedding_map)
report_app.command("sweep")(report.sweep)
report_app.command("run")(report.run)
report_app.command("compare")(report.compare)
report_app.command("wandb")(report.wandb)
gallery_app = _group("Keep vectors of images on disk, to search in them.")
for work in (gallery.build, gallery.add, gallery.remove, gallery.info, gallery.rebuild, gallery.index):
    gallery_app.command(work.__name__)(work)
app.add_typer(data_app, name="data")
app.add_typer(gallery_app, name="gallery")
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
        _refuse(sentence(error))
    if code:
        sys.exit(code)


def _refuse(sentence: str) -> NoReturn:
    if sentence:
        print(f"error: {sentence}", file=sys.stderr)
    sys.exit(2)
