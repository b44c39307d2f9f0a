"""The table of docs/reliability.md, from what the fault suite has tried."""

import re
from datetime import date
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reliability.md"
BEGIN, END = "<!-- fault suite: begin -->", "<!-- fault suite: end -->"
HEAD = ("", "| Fault | Tried | Survived | What the user sees |", "|---|---|---|---|")
LONGEST = 300  # characters of what the user sees


class FaultRecord:
    """A plugin of pytest that counts the cases of each fault, in the process that all reports come to."""

    def __init__(self) -> None:
        self.faults: dict[tuple[str, str], list[tuple[bool, str]]] = {}

    def pytest_runtest_logreport(self, report):
        facts = dict(report.user_properties)
        if "fault" not in facts or report.skipped or (report.when != "call" and report.passed):
            return
        cases = self.faults.setdefault(tuple(facts["fault"]), [])
        cases.append((report.passed, facts.get("seen", "")))

    def pytest_sessionfinish(self, session):
        if self.faults and not hasattr(session.config, "workerinput"):
            text = PAGE.read_text(encoding="utf-8")
            before, after = text.split(BEGIN)[0], text.split(END)[1]
            PAGE.write_text(f"{before}{BEGIN}\n{table(self.faults)}\n{END}{after}", encoding="utf-8")


def table(faults) -> str:
    """Return Markdown: a heading for each group, and a row for each fault."""
    tried = sum(map(len, faults.values()))
    survived = sum(passed for cases in faults.values() for passed, _ in cases)
    lines = [
        f"{tried:,} cases, {survived:,} survived; written by `pytest tests/faults -m slow --record-faults` on "
        f"{date.today()}."
    ]
    group = None
    for (of, fault), cases in sorted(faults.items()):
        if of != group:
            lines += ["", f"### {of}", *HEAD]
            group = of
        said = next((seen for _, seen in cases if seen), "")
        lines.append(f"| {fault} | {len(cases)} | {sum(passed for passed, _ in cases)} | {_shown(said)} |")
    return "\n".join(lines)


def _shown(text: str) -> str:
    """Return what the user sees without the folders of the test's machine."""
    text = re.sub(r"/tmp/pytest-of-\S*?/pytest-\d+(/popen-gw\d+)?/[\w-]+", "DIR", text)
    text = text.replace(str(Path.home()), "~")
    text = text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."
    return text.replace("|", "\\|").replace("<", "&lt;").replace("[", "\\[")
