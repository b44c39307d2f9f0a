"""The fault suite: what strangers' files, full disks, kills and slips do to the program.

Each case carries `@pytest.mark.fault(GROUP, FAULT)`; cases of one fault are counted together. `pytest tests/faults -m slow
--record-faults` writes the table of docs/reliability.md from what happened (see `fault_record.py`). All are slow tests.
"""

from pathlib import Path

import pytest
from forked import Commands

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in Path(item.path).parents:
            item.add_marker(pytest.mark.slow)
            marker = item.get_closest_marker("fault")
            if marker is not None:
                item.user_properties.append(("fault", list(marker.args)))


@pytest.fixture
def seen(record_property):
    """Return a function that records what the user sees of a fault, for the table."""
    return lambda text: record_property("seen", " ".join(str(text).split()))


@pytest.fixture(scope="session")
def commands(tmp_path_factory):
    """Return what starts `train.py` and `reid` in forked processes, which share the imports."""
    return Commands(tmp_path_factory.mktemp("output"))
