"""Pages opened by a real browser: what it complains of, and what it asks for, is kept."""

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium")
WIDE, NARROW = 1280, 390
"""Widths in pixels that every page fits."""


def wait_until(page: Any, expression: str, seconds: float = 30) -> None:
    """Wait until JavaScript is true. Playwright's own wait has the page run a text, which our pages forbid."""
    ends = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < ends, f"not within {seconds} s: {expression}"
        time.sleep(0.02)


@dataclass
class Opened:
    """A page in the browser.

    Attributes:
        page: Of Playwright.
        home: What the addresses begin with that it may ask for.
        complaints: Errors and warnings of its console.
        asked: Every address that it has asked for.
    """

    page: Any
    home: str
    complaints: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def outside(self) -> list[str]:
        """Return what was asked for outside of the page's folder or server."""
        return [url for url in self.asked if not url.startswith((self.home, "data:", "blob:"))]

    def until(self, expression: str) -> None:
        """Wait until JavaScript is true on the page."""
        wait_until(self.page, expression)

    def overflow(self) -> int:
        """Return by how many pixels the page is wider than the window."""
        return self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )


class Browser:
    """Opens pages from disk or of a server."""

    def __init__(self, chromium: Any) -> None:
        self._chromium = chromium

    def open(self, path: Path, width: int = WIDE, dark: bool = False, height: int = 900) -> Opened:
        """Open a page from disk in a window of its own."""
        return self.visit(path.resolve().as_uri(), path.parent.resolve().as_uri(), width, dark, height)

    def visit(self, url: str, home: str, width: int = WIDE, dark: bool = False, height: int = 900) -> Opened:
        """Open an address in a window of its own; it may ask for what begins with `home`."""
        context = self._chromium.new_context(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light"
        )
        page = context.new_page()
        opened = Opened(page, home)
        page.on(
            "console",
            lambda said: opened.complaints.append(said.text) if said.type in ("error", "warning") else None,
        )
        page.on("pageerror", lambda error: opened.complaints.append(str(error)))
        page.on("request", lambda request: opened.asked.append(request.url))
        page.goto(url)
        return opened


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium without a window; tests are skipped where it is not installed."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield Browser(chromium)
        chromium.close()
