"""The fault suite: what strangers' files, full disks, kills and slips do to the program.

Each case carries `@pytest.mark.fault(GROUP, FAULT)`; cases of one fault are counted together. `pytest tests/faults -m slow
--record-faults` writes the table of docs/reliability.md from what happened. All cases are slow tests.
"""

from datetime import date
from pathlib import Path

import pytest
from forked import Commands

from reid_lightning.config.resolve import PACKAGE

HERE = Path(__file__).parent
PAGE = PACKAGE.parent / "docs" / "reliability.md"
BEGIN, END = "<!-- fault suite: begin -->", "<!-- fault suite: end -->"
_results: dict[tuple[str, str], dict[str, object]] = {}


def pytest_addoption(parser):
    parser.addoption("--record-faults", action="store_true", help="write the table of docs/reliability.md")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in Path(item.path).parents:
            item.add_marker(pytest.mark.slow)
            marker = item.get_closest_marker("fault")
            if marker is not None:
                item.user_properties.append(("fault", list(marker.args)))


def pytest_runtest_logreport(report):
    facts = dict(report.user_properties)
    if "fault" not in facts or (report.when != "call" and not report.failed):
        return
    row = _results.setdefault(tuple(facts["fault"]), {"tried": 0, "survived": 0, "seen": ""})
    if report.skipped:
        return
    row["tried"] += 1
    row["survived"] += report.passed
    row["seen"] = row["seen"] or facts.get("seen", "")


def pytest_sessionfinish(session):
    if not session.config.getoption("--record-faults") or hasattr(session.config, "workerinput"):
        return
    lines, group = [f"Written by `pytest tests/faults -m slow --record-faults` on {date.today()}."], None
    for (of, fault), row in sorted(_results.items(), key=lambda item: item[0]):
        if of != group:
            lines += [
                "",
                f"### {of}",
                "",
                "| Fault | Tried | Survived | What the user sees |",
                "|---|---|---|---|",
            ]
            group = of
        seen = str(row["seen"]).replace("|", "\\|").replace("<", "&lt;")
        lines.append(f"| {fault} | {row['tried']} | {row['survived']} | {seen} |")
    text = PAGE.read_text(encoding="utf-8")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{after}", encoding="utf-8")


@pytest.fixture
def seen(record_property):
    """Return a function that records what the user sees of a fault, for the table."""
    return lambda text: record_property("seen", " ".join(str(text).split()))


@pytest.fixture(scope="session")
def commands(tmp_path_factory):
    """Return what starts `train.py` and `reid` in forked processes, which share the imports."""
    return Commands(tmp_path_factory.mktemp("output"))
