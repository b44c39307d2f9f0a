"""The API as schemathesis sees it: nothing that is sent leads to a 5xx, and every answer is one that is declared."""

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from served import filled_gallery, server
from untrained import write_small_checkpoint

import reid_lightning
from reid_lightning import Gallery

pytest.importorskip("schemathesis")
pytestmark = pytest.mark.slow
EXAMPLES = 40
TOKEN = "a-token-of-this-test"
HOOKS = """
import schemathesis
from hypothesis import strategies
from served import png

pictures = strategies.sampled_from([*(png(seed) for seed in range(4)), png(9, (3, 50)), b"no picture"])
for kind in ("image/jpeg", "image/png", "image/webp", "image/bmp"):
    schemathesis.openapi.media_type(kind, pictures)


@schemathesis.hook
def map_body(context, body):
    for name, value in (("where", "camera != c3"), ("like", "female, no hat")):
        if isinstance(body, dict) and isinstance(body.get(name), str) and len(body[name]) % 4:
            body[name] = value  # random text is never one
    return body
"""
# What a picture shows, or a condition says, no schema can tell: valid requests may be refused.
NOT_CHECKED = "positive_data_acceptance"
# Fields of a form are text, also where a schema says otherwise: "null" is a name.
REACHED = {
    "--include-path-regex": ["/search", "/compare", "/describe", "/enrol"],
    "--exclude-path-regex": ["/forget", "/people", "/info", "/thumbnails/{id}", "/metrics", "/health", "/"],
}
FORMS = "^/(search|compare|describe|enrol)$"


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzzed")
    checkpoint = write_small_checkpoint(folder / "model.ckpt", "attributes=market12")
    gallery = filled_gallery(folder / "people", reid_lightning.load(checkpoint))
    (folder / "token").write_text(TOKEN)
    (folder / "pictures_of_fuzzing.py").write_text(HOOKS)
    options = ("--token-file", folder / "token", "--per-minute", 0, "--max-megabytes", 1)
    with server(gallery.folder, checkpoint, *options) as started:
        yield started, folder
        assert httpx.get(f"{started.url}/health").json() == {"status": "ok"}
        Gallery(gallery.folder).check()


@pytest.mark.parametrize(
    "options",
    [
        ("--include-path-regex", FORMS, "--exclude-checks", f"{NOT_CHECKED},negative_data_rejection"),
        ("--exclude-path-regex", FORMS, "--exclude-checks", NOT_CHECKED),
    ],
    ids=["forms", "others"],
)
def test_every_answer_is_declared_and_none_is_a_failure(running, options):
    started, folder = running
    here = Path(__file__).parent
    words = ("run", f"{started.url}/openapi.json", "--no-color", "--seed", 1, "-n", EXAMPLES, *options)
    done = subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"),
            *map(str, words),
            "-H",
            f"Authorization: Bearer {TOKEN}",
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        errors="replace",
        env=os.environ
        | {
            "SCHEMATHESIS_HOOKS": "pictures_of_fuzzing",
            "PYTHONPATH": os.pathsep.join(map(str, (folder, here, here.parents[1], here.parents[2]))),
        },
    )
    assert done.returncode == 0, done.stdout[-20_000:]
    headers = {"Authorization": f"Bearer {TOKEN}"}
    counted = httpx.get(f"{started.url}/metrics", headers=headers).text
    done_rightly = [path for path in REACHED[options[0]] if f'{{route="{path}",status="200"}}' in counted]
    assert done_rightly == REACHED[options[0]]
