"""Draw the packages and the direction of their imports: `python docs/imports.py` writes docs/images/imports.svg."""

import ast
import html
import textwrap
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "reid_lightning"
PICTURE = ROOT / "docs" / "images" / "imports.svg"

COLUMNS = {  # where a package stands in its layer, from the left
    "cli": 1, "inference": 0, "sweeps": 2, "experiments": 1, "results": 1, "engine": 1, "systems": 1, "mining": 1,
    "runtime": 0, "retrieval": 1, "losses": 2, "data": 0, "models": 1, "reporting": 3, "distributed": 2, "config": 1,
}  # fmt: skip
BASE = "single modules"  # those of the lowest layers, drawn as one box
WIDTH, HEIGHT, ACROSS, DOWN, MARGIN = (
    196,
    72,
    222,
    102,
    24,
)  # of a box, from box to box, and around all, in pixels


def layers() -> list[list[str]]:
    """Return the packages of each layer of the import contract, top first; the modules of one file are one box."""
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    contract = next(row for row in tools["importlinter"]["contracts"] if row["type"] == "layers")
    rows = [[name for name in row.split(" | ") if (PACKAGE / name).is_dir()] for row in contract["layers"]]
    return [row for row in rows if row] + [[BASE]]


def modules() -> list[str]:
    """Return the names of the modules that belong to no package."""
    return sorted(file.stem for file in PACKAGE.glob("*.py") if file.stem != "__init__")


def imports() -> set[tuple[str, str]]:
    """Return the pairs (package, package that it imports), imports inside of functions included."""
    found = set()
    for file in PACKAGE.rglob("*.py"):
        source = box(file.relative_to(PACKAGE).with_suffix("").parts[0])
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            parts = [name.split(".") for name in names if name.startswith("reid_lightning.")]
            found |= {(source, box(part[1])) for part in parts}
    return {(source, target) for source, target in found if source != target and "" not in (source, target)}


def box(name: str) -> str:
    """Return the box of a module's first name: its package or the one of single modules; empty: neither."""
    if (PACKAGE / name).is_dir():
        return name
    return BASE if name in modules() else ""


def direct(edges: set[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the imports that do not follow from a chain of others."""

    def reached(source: str, left_out: tuple[str, str]) -> set[str]:
        seen: set[str] = set()
        waiting = [source]
        while waiting:
            name = waiting.pop()
            further = {end for start, end in edges if start == name and (start, end) != left_out} - seen
            seen |= further
            waiting += further
        return seen

    return sorted(edge for edge in edges if edge[1] not in reached(edge[0], edge))


def draw() -> str:
    """Return the picture as SVG."""
    rows = layers()
    places = {name: (COLUMNS.get(name, 0), row) for row, names in enumerate(rows) for name in names}
    width = 2 * MARGIN + 3 * ACROSS + WIDTH
    height = 2 * MARGIN + (len(rows) - 1) * DOWN + HEIGHT
    arrows = direct(imports())
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="system-ui, sans-serif">',
        "<title>The packages of reid_lightning in layers, with arrows to the packages that they import</title>",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="#37474f"/></marker></defs>',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        *(f'<path d="{path}" fill="none" stroke="#37474f" stroke-width="1.5" marker-end="url(#head)"/>'
          for path in paths(arrows, places)),
        *(_box(name, *places[name], len(rows) - 1) for names in rows for name in names),
        *_note(width),
        "</svg>",
    ]  # fmt: skip
    return "\n".join(parts) + "\n"


def paths(arrows: list[tuple[str, str]], places: dict[str, tuple[int, int]]) -> list[str]:
    """Return the line of each arrow. It runs down in a column or beside one where no box is in its way.

    Raises:
        ValueError: Every way is blocked: give the package another column.
    """
    taken = {place for name, place in places.items() if name != BASE}
    shown, sides = [], 0
    for source, target in arrows:
        start, top = places[source]
        end, bottom = places[target]
        end = start if target == BASE else end
        between = range(top + 1, bottom)
        lanes = (start, end, end + 0.5, end - 0.5)
        lane = next((lane for lane in lanes if not any((lane, row) in taken for row in between)), None)
        if lane is None:
            raise ValueError(
                f"no free way from {source} to {target}: give one of them another column in {__file__}"
            )
        drop = MARGIN + bottom * DOWN
        down = f"V{drop - DOWN + HEIGHT}" if bottom - top > 1 else ""
        if lane == start:
            # Arrows to the left leave on the left, so that those of one box stay apart.
            shift = 24 * ((end > start) - (end < start))
            begin = f"M{_center(start) + shift:g} {MARGIN + top * DOWN + HEIGHT}"
        else:
            side = _center(start) + WIDTH / 2
            begin = (
                f"M{side:g} {MARGIN + top * DOWN + HEIGHT / 2 + 10 - 20 * (sides % 2):g}H{_center(lane):g}"
            )
            shift, sides = 0, sides + 1
        x, aim = _center(lane) + shift, _center(end) - 24 * ((end > lane) - (end < lane))
        middle = drop - (DOWN - HEIGHT) / 2
        curve = f"V{drop}" if x == aim else f"C{x:g} {middle + 8:g} {aim:g} {middle - 8:g} {aim:g} {drop}"
        shown.append(begin + down + curve)
    return shown


def _center(column: float) -> float:
    return MARGIN + column * ACROSS + WIDTH / 2


def _box(name: str, column: int, row: int, last: int) -> str:
    x, y = MARGIN + column * ACROSS, MARGIN + row * DOWN
    if name == BASE:
        width, title, lines = 3 * ACROSS + WIDTH, f"{last - row} · {BASE}", [", ".join(modules())]
    else:
        width, title = WIDTH, f"{last - row} · {name}"
        says = (
            ast.get_docstring(ast.parse((PACKAGE / name / "__init__.py").read_text("utf-8"))) or ""
        ).split("\n")[0]
        lines = textwrap.wrap(says, 31)
    texts = [f'<text x="{x + 10}" y="{y + 19}" font-size="14" font-weight="600" fill="#111">{title}</text>']
    texts += [
        f'<text x="{x + 10}" y="{y + 36 + 14 * place}" font-size="11" fill="#37474f">{html.escape(line)}</text>'
        for place, line in enumerate(lines)
    ]
    fill = "#e8f5e9" if name != BASE else "#eceff1"
    frame = f'<rect x="{x}" y="{y}" width="{width}" height="{HEIGHT}" rx="6" fill="{fill}" stroke="#90a4ae"/>'
    return frame + "".join(texts)


def _note(width: int) -> list[str]:
    lines = ["An arrow means: imports.", "Arrows that follow from a", "chain of others are left out."]
    style = 'font-size="12" text-anchor="end" fill="#37474f"'
    return [
        f'<text x="{width - MARGIN}" y="{MARGIN + 14 + 16 * place}" {style}>{line}</text>'
        for place, line in enumerate(lines)
    ]


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
