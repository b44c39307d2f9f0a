import os
import shutil
import sys
from types import SimpleNamespace

import dev_group
import pytest
from dev_group import missing_packages, start_again_with_dev

PROJECT = """[dependency-groups]
test = ["pytest"]
dev = [{include-group = "test"}, "pytest>=8", "no-such-package>=1", "windows-only; sys_platform == 'win32'"]
"""


@pytest.fixture
def config(monkeypatch):
    """A pytest that finds one package missing and was started as `pytest -q tests`."""
    monkeypatch.delenv("REID_LIGHTNING_DEV_GROUP", raising=False)
    monkeypatch.setattr(dev_group, "missing_packages", lambda: ["no-such-package"])
    plugins = SimpleNamespace(getplugin=lambda name: None)
    return SimpleNamespace(pluginmanager=plugins, invocation_params=SimpleNamespace(args=("-q", "tests")))


def test_packages_that_are_not_installed_are_named(tmp_path):
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    assert missing_packages(tmp_path / "pyproject.toml") == ["no-such-package"]


def test_the_suite_starts_again_with_the_group(config, monkeypatch, capsys):
    started = []
    monkeypatch.setenv("UV", "/bin/uv")
    monkeypatch.setattr(os, "execvpe", lambda *call: started.append(call))
    start_again_with_dev(config)
    program, command, environment = started[0]
    assert program == "/bin/uv"
    assert command == ["uv", "run", "--group", "dev", "python", "-m", "pytest", "-q", "tests"]
    assert "1 packages" in capsys.readouterr().out
    monkeypatch.setattr(os, "environ", environment)
    start_again_with_dev(config)  # a package that cannot be had does not start it forever
    assert len(started) == 1


def test_without_uv_one_sentence_says_what_to_install(config, monkeypatch):
    monkeypatch.delenv("UV", raising=False)
    monkeypatch.setattr(sys, "prefix", "/usr")
    with pytest.raises(pytest.UsageError, match="pip install --group dev"):
        start_again_with_dev(config)


def test_a_worker_of_the_suite_starts_nothing(config, monkeypatch):
    monkeypatch.setattr(os, "execvpe", lambda *call: pytest.fail("started again"))
    config.workerinput = {}
    start_again_with_dev(config)


def test_the_environment_that_uv_made_is_completed_without_it(config, monkeypatch):
    started = []
    monkeypatch.delenv("UV", raising=False)
    monkeypatch.setattr(sys, "prefix", str(dev_group._PROJECT.parent / ".venv"))
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(os, "execvpe", lambda *call: started.append(call))
    start_again_with_dev(config)
    assert started[0][0] == "/usr/bin/uv"
