"""The model card: Markdown with YAML in front, as Hugging Face reads it.

Every text that comes from a file (names of data sets, attributes, options) stands in a code span, in which Markdown and HTML
have no meaning.
"""

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from reid_lightning.errors import printable
from reid_lightning.results.card_facts import CardFacts

_LONGEST = 200  # characters of a name
_STAGES = ("test", "validation")
_SCORE = re.compile(r"mAP|mINP|rank\d+")


def card_text(
    facts: CardFacts,
    config: Mapping[str, Any],
    feed: Mapping[str, Any],
    model: str,
    license: str | None = None,
) -> str:
    """Return the card of a model.

    Args:
        facts: What is known beyond the config.
        config: Of its run, plain containers.
        feed: How images come in: `mean`, `std` and `interpolation`.
        model: Path of the model as seen from the card: the checkpoint's name, or "." for a folder.
        license: Identifier as Hugging Face has it, such as "cc-by-nc-4.0"; None: not stated.
    """
    sources = sorted({str(row.get("source")) for row in facts.data} or set(config["data"]["sources"]))
    name = _short(config["backbone"])
    body = (
        f"# {_code(name)} for person re-identification, trained on {_codes(sources)}",
        _summary(config, name),
        "## Results",
        *_results(facts, bool(config.get("refit"))),
        "## Use",
        *_use(model),
        "## Limits",
        _LIMITS,
        "## Training",
        *_training(facts, config, model, name),
        "## Data",
        _table(
            ("source", "split", "images", "people", "cameras"),
            [
                (_code(row.get("source")), _code(row.get("split")), *map(_count, _sizes(row)))
                for row in facts.data
            ],
        )
        or f"Trained on {_codes(sources)}.",
        "## Preprocessing",
        _preprocessing(config, feed),
        "## Cost and versions",
        _cost(facts),
    )
    header = _header(facts, name, sources, license)
    return str(ModelCard(f"---\n{header}\n---\n\n" + "\n\n".join(part for part in body if part) + "\n"))


def _header(facts: CardFacts, name: str, sources: Sequence[str], license: str | None) -> str:
    results = []
    for stage, numbers in (("test", facts.test), ("validation", facts.validation)):
        for key, value in numbers.items():
            if _SCORE.fullmatch(key):
                results.append(
                    EvalResult(
                        task_type="image-feature-extraction",
                        task_name="Person re-identification",
                        dataset_type=", ".join(map(_identifier, sources)),
                        dataset_name=", ".join(map(printable, sources)),
                        dataset_split=stage,
                        metric_type="map" if key == "mAP" else key,
                        metric_name=f"{_title(key)} (percent)",
                        metric_value=round(100 * value, 2),
                    )
                )
    data = ModelCardData(
        license=license,
        library_name="reid-lightning",
        pipeline_tag="image-feature-extraction",
        tags=["person-re-identification", "image-retrieval", "metric-learning"],
        datasets=[_identifier(source) for source in sources],
        metrics=["map"],
        model_name=printable(name),
        eval_results=results or None,
    )
    return data.to_yaml(line_break="\n")


def _summary(config: Mapping[str, Any], name: str) -> str:
    height, width = config["data"]["image_size"]
    heads = ", with heads for attributes" if config.get("attributes") else ""
    return (
        f"This model maps the image of a person, cut out by a detector, to a vector{heads}. Vectors of the same person lie "
        f"near each other. The backbone is {_code(name)}; images have {height} x {width} pixels (height x width)."
    )


def _results(facts: CardFacts, refit: bool) -> list[str]:
    stages = {stage: numbers for stage in _STAGES if (numbers := getattr(facts, stage))}
    if not stages and not facts.finished:
        return ["There are no numbers yet."]
    names = [key for key in next(iter(stages.values()), ()) if _SCORE.fullmatch(key)]
    rows = [
        (
            stage if facts.finished or stage == "test" else f"{stage} so far",
            *(f"{100 * numbers[key]:.1f}" if key in numbers else "" for key in names),
            _interval(facts.intervals.get(stage)),
        )
        for stage, numbers in stages.items()
    ]
    head = ("percent", *map(_title, names), "95 % interval of mAP over people")
    said = [_table(head, rows) if stages else "Nothing was scored."]
    if not facts.finished:
        said.append(
            "These are the numbers of the best validation. The weights that are tested are trained again on all people; "
            "they lie in `refit/checkpoints`, with a card of their own."
            if refit
            else "The run has not ended: these are the numbers of the best validation so far, and no test."
        )
    if facts.protocol:
        said.append(f"Protocol: {_code(facts.protocol, 2000)}")
    for line in facts.lines:
        title, _, numbers = line.partition(": ")
        said.append(f"{_code(title)}: {_code(numbers, 2000)}")
    said += [_parts(name, scores) for name, scores in facts.reports.items()]
    return said


def _parts(name: str, scores: Mapping[str, float]) -> str:
    """Return the numbers of what a report looks at one by one, such as each attribute, as a table; empty for others."""
    keys = [key.split("/") for key in scores if key.count("/") == 1]
    parts, numbers = (
        list(dict.fromkeys(part for part, _ in keys)),
        list(dict.fromkeys(key for _, key in keys)),
    )
    rows = [
        (_code(part), *(f"{scores[key]:.3g}" if (key := f"{part}/{n}") in scores else "" for n in numbers))
        for part in parts
    ]
    return _table((_code(name), *map(_code, numbers)), rows)


def _use(model: str) -> list[str]:
    here = repr(model)
    shown = shlex.quote(printable(model))
    return [
        "In the folder of this card, with images of people beside it:",
        f"```python\nimport reid_lightning\nimport torch\n\nmodel = reid_lightning.load({here})\n"
        'vectors = model.embed(["query.jpg", "gallery.jpg"])  # (2, D)\n'
        'print("cosine similarity:", float(torch.cosine_similarity(vectors[0], vectors[1], dim=0)))\n```',
        "On the command line: vectors of a folder of images, and the numbers on other data.",
        f"```sh\nreid embed {shown} IMAGES vectors.npz\nreid evaluate {shown} data=market1501 data.root=DIR --output "
        "evaluation\n```",
        "The checkpoint runs no code when it is loaded: only settings that reid-lightning knows are built.",
    ]


_LIMITS = (
    "The numbers hold for the cameras, the season and the people of the data below. **On another network of cameras they "
    "are far lower**, often by half or more: measure on labeled images of your own cameras before you rely on a match. "
    "The model compares clothes and build more than faces, and it knows a similarity and no identity. Do not use it to "
    "make decisions about people, nor to search for people who have not agreed to it; see `docs/responsible-use.md` of "
    "reid-lightning."
)


def _training(facts: CardFacts, config: Mapping[str, Any], model: str, name: str) -> list[str]:
    said = []
    if facts.command:
        line = " ".join(shlex.quote(printable(item)) for item in facts.command)
        said += ["It was trained with:", f"```sh\npython train.py {line}\n```"]
    if facts.choices:
        said.append(
            _table(("group", "choice"), [(_code(k), _code(v)) for k, v in sorted(facts.choices.items())])
        )
    weights = model if model != "." else "FOLDER"
    backbone = facts.choices.get("backbone", "NAME")
    chosen = backbone if re.fullmatch(r"\w+", backbone) else "NAME"
    said += [
        f"Seed: {config['seed']}. To start another training from its backbone:",
        f"```sh\npython train.py backbone={chosen} backbone.weights={shlex.quote(printable(weights))} data=market1501 "
        "data.root=DIR\n```",
    ]
    return said


def _preprocessing(config: Mapping[str, Any], feed: Mapping[str, Any]) -> str:
    height, width = config["data"]["image_size"]
    mean, std = (", ".join(f"{value:.6g}" for value in feed[name]) for name in ("mean", "std"))
    return (
        f"RGB images are resized to {height} x {width} pixels without keeping their aspect ratio (interpolation: "
        f"{_code(feed['interpolation'])}), scaled to [0, 1], and normalized with mean {mean} and standard deviation {std}. "
        "`reid_lightning.load` does all of it."
    )


def _cost(facts: CardFacts) -> str:
    cost, said = facts.cost, []
    if "parameters" in cost:
        said.append(f"{cost['parameters'] / 1e6:.2f} M parameters")
    if "gflops" in cost:
        said.append(f"{cost['gflops']:.3g} GFLOPs per image")
    if cost.get("images_per_second"):
        said.append(f"training {cost['images_per_second']:.0f} images/s")
    said += [f"{_code(stage)} {value:.0f} s" for stage, value in (cost.get("seconds") or {}).items()]
    said += [f"{_code(package)} {_code(version)}" for package, version in facts.versions.items()]
    return "; ".join(said) + "." if said else ""


def _sizes(row: Mapping[str, Any]) -> list[Any]:
    return [row.get(name) for name in ("images", "identities", "cameras")]


def _count(value: Any) -> str:
    return f"{value:,}" if type(value) is int else ""


def _interval(pair: Sequence[float] | None) -> str:
    return f"{100 * pair[0]:.1f} to {100 * pair[1]:.1f}" if pair else ""


def _title(key: str) -> str:
    return key.replace("rank", "Rank-")


def _short(node: Mapping[str, Any]) -> str:
    return str(node.get("name") or str(node["_target_"]).rsplit(".", 1)[-1])


def _identifier(text: str) -> str:
    """Return a name as Hugging Face allows it.

    Examples:
        >>> _identifier("my set: <b>")
        'my-set-b'
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)[:90].strip("-.") or "unnamed"


def _codes(names: Iterable[str]) -> str:
    return ", ".join(map(_code, names))


def _code(text: object, longest: int = _LONGEST) -> str:
    """Return text as a code span that also stands in a table.

    Examples:
        >>> _code("a`b|c"), _code("")
        ("`a'b/c`", '` `')
    """
    shown = printable(text).replace("`", "'").replace("|", "/")
    shown = shown if len(shown) <= longest else f"{shown[: longest - 4]} ..."
    return f"`{shown.strip() or ' '}`"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown; empty without rows."""
    if not rows:
        return ""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
