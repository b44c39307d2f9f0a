"""Folders of jobs that anybody has written: the sweep is reported without them, and nothing is endless."""

import json

import pytest

from reid_lightning.errors import InputError
from reid_lightning.sweeps.reader import read_sweep
from reid_lightning.sweeps.report import report_sweep

REFERENCES = "- &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"- &{chr(98 + level)} [{', '.join(['*' + chr(97 + level)] * 10)}]\n" for level in range(10)
)
WHOLE = {"score": 0.5, "validation": {"mAP": 0.5}, "test": {"mAP": 0.5}, "cost": {"seconds": {"fit": 1.0}}}
FILES = {
    "identity is a list": ("identity.json", "[1]"),
    "swept is a number": ("identity.json", '{"swept": 5}'),
    "config is a list": ("config.yaml", "[1, seed]"),
    "config is text": ("config.yaml", "seed"),
    "config is a number": ("config.yaml", "5"),
    "config without end": ("config.yaml", f"seed: 1\nloss:\n{REFERENCES}"),
    "config nested": ("config.yaml", "[" * 2000),
    "cost is a list": ("metrics.json", json.dumps(WHOLE | {"cost": [1]})),
    "seconds are text": ("metrics.json", json.dumps(WHOLE | {"cost": {"seconds": {"fit": "x"}}})),
    "numbers are infinite": (
        "metrics.json",
        json.dumps(WHOLE | {"test": {"mAP": float("nan")}, "validation": {"mAP": float("inf")}}),
    ),
    "seconds are too many": (
        "metrics.json",
        json.dumps(WHOLE | {"cost": {"seconds": {"a": 1e308, "b": 1e308}}}),
    ),
    "a number is too large": (
        "metrics.json",
        '{"validation": {"mAP": 1}, "test": {"mAP": ' + "9" * 400 + "}}",
    ),
    "protocol is a mapping": ("metrics.json", json.dumps(WHOLE | {"protocol": {"a": [1]}})),
    "metrics nested": ("metrics.json", "[" * 100_000),
    "failure in other bytes": ("failure.txt", b"\xff\xfe bad"),
}


def _write(folder, name, content):
    (folder / ".hydra").mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


@pytest.fixture
def sweep(tmp_path):
    for seed in (1, 2):
        job = tmp_path / f"job{seed}"
        _write(job, ".hydra/overrides.yaml", f"- seed={seed}\n")
        _write(job, "metrics.json", json.dumps(WHOLE))
        _write(job, "config.yaml", f"seed: {seed}\n")
    return tmp_path


@pytest.mark.timeout(60)
@pytest.mark.fault("Malformed folders", "a file of a sweep's job is damaged, endless or of another kind")
@pytest.mark.parametrize("fault", FILES)
def test_a_sweep_is_reported(sweep, fault, seen):
    name, content = FILES[fault]
    _write(sweep / "job2", name, content)

    report_sweep(sweep)

    jobs = read_sweep(sweep)
    assert jobs["test/mAP"][0] == 0.5
    assert (sweep / "sweep.json").is_file()
    seen("a job without what cannot be read")


@pytest.mark.fault("Malformed folders", "a file of a sweep's job is damaged, endless or of another kind")
def test_overrides_without_end_are_refused(sweep):
    _write(sweep / "job2", ".hydra/overrides.yaml", REFERENCES)
    with pytest.raises(InputError, match="holds no list of overrides"):
        read_sweep(sweep)
