"""`reid serve` as a process: killed, stopped, flooded, and fuzzed."""

import concurrent.futures
import random
import signal
import socket
import threading
import time

import httpx
import numpy as np
import pytest
from helpers import command, wait_until
from served import filled_gallery, pixels, png, server
from untrained import write_small_checkpoint

import reid_lightning
from reid_lightning import Gallery
from reid_lightning.errors import InputError
from reid_lightning.inference.images import as_array
from reid_lightning.inference.serve import command as serve_command

KILLS = 5


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_small_checkpoint(tmp_path_factory.mktemp("model") / "model.ckpt")


@pytest.fixture(scope="module")
def model(checkpoint):
    return reid_lightning.load(checkpoint)


@pytest.fixture
def gallery(tmp_path, model):
    return filled_gallery(tmp_path / "people", model)


def enrol(url, seed):
    answer = httpx.post(
        f"{url}/enrol", files={"picture": png(seed)}, data={"person_id": f"p{seed}"}, timeout=60
    )
    return answer.json()["id"] if answer.status_code == 200 else None


@pytest.mark.slow
def test_kills_while_people_are_enrolled_lose_nothing_that_was_answered(gallery, checkpoint, model):
    draw, answered, seed = random.Random(0), {}, 1000
    for _ in range(KILLS):
        with server(gallery.folder, checkpoint) as running:
            stop = threading.Event()

            def client(first, url=running.url, stop=stop):
                for number in range(first, first + 10_000):
                    if stop.is_set():
                        return
                    try:
                        answered[number] = enrol(url, number)
                    except httpx.HTTPError:
                        return

            threads = [threading.Thread(target=client, args=(seed + 20_000 * part,)) for part in range(4)]
            for thread in threads:
                thread.start()
            enough = len(answered) + draw.randint(5, 25)
            wait_until(lambda enough=enough: len(answered) >= enough, running.process)
            time.sleep(draw.uniform(0, 0.1))
            assert running.end(signal.SIGKILL) == -signal.SIGKILL
            stop.set()
            for thread in threads:
                thread.join()
        seed += 100_000
        found = Gallery(gallery.folder)
        found.check()
    rows = found.table("id >= 12").set_index("id")
    assert len(answered) >= 5 * KILLS
    assert None not in answered.values()
    for number, image in answered.items():
        assert rows["person_id"][image] == f"p{number}"
        assert np.array_equal(as_array(rows["path"][image]), pixels(number))
    some = [*answered.items()][:: max(1, len(answered) // 20)]
    for number, image in some:
        assert np.abs(found.vectors([image]) - model.embed(pixels(number)).numpy()).max() < 1e-5
    # Every other row is whole, too: its picture is there.
    for path in rows["path"]:
        as_array(path)


def listens(url):
    try:
        return httpx.get(f"{url}/health", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stop_finishes_what_is_in_progress_and_refuses_new_requests(gallery, checkpoint, number, status):
    with server(gallery.folder, checkpoint, "--wait", 5000) as running:
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            asking = [pool.submit(enrol, running.url, seed) for seed in range(200, 204)]
            wait_until(lambda: "reid_pictures_at_work 4.0" in httpx.get(f"{running.url}/metrics").text)
            running.process.signal(number)
            wait_until(lambda: not listens(running.url))
            assert sorted(future.result() for future in asking) == list(range(12, 16))
        ended = running.process.wait(30)
        assert ended.code == status
        assert "Traceback" not in ended.err
    assert len(Gallery(gallery.folder)) == 16


@pytest.mark.slow
def test_large_bodies_and_slow_clients_are_answered(gallery, checkpoint):
    with server(gallery.folder, checkpoint, "--timeout", 1.5) as running:
        answer = httpx.post(f"{running.url}/search", files={"picture": bytes(100_000_000)}, timeout=60)
        assert answer.status_code == 413
        assert "more than 20 MB" in answer.json()["error"]
        host, port = running.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=20) as slow:
            slow.sendall(
                f"POST /search HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: multipart/form-data; boundary=b\r\n"
                "Content-Length: 5000\r\n\r\n--b\r\n".encode()
            )
            said = "".join(iter(lambda: slow.recv(65536).decode(), ""))
        assert said.startswith("HTTP/1.1 408")
        assert "did not arrive within 1.5 s" in said
        assert httpx.get(f"{running.url}/health").json() == {"status": "ok"}


@pytest.mark.slow
def test_a_thousand_requests_at_twenty_at_a_time_are_all_answered_rightly(gallery, checkpoint):
    with server(gallery.folder, checkpoint, "--per-minute", 0) as running:
        limits = httpx.Limits(max_connections=20)
        with httpx.Client(base_url=running.url, timeout=60, limits=limits) as shared:

            def ask(number):
                answer = shared.post("/search", files={"picture": png(number % 12)}, data={"k": 1})
                return answer.status_code, answer.json()["found"][0]["id"]

            with concurrent.futures.ThreadPoolExecutor(20) as pool:
                assert list(pool.map(ask, range(1000))) == [(200, number % 12) for number in range(1000)]
        text = httpx.get(f"{running.url}/metrics").text
    batches = next(
        line for line in text.splitlines() if line.startswith('reid_batch_size_count{work="model"}')
    )
    assert float(batches.split()[-1]) < 1000, "some were embedded together"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--host", "0.0.0.0"), "needs a token"),
        (("--token-file", "nowhere"), "cannot be read"),
        (("--max-megabytes", "nan"), "--max-megabytes"),
    ],
)
def test_impossible_options_are_one_sentence(gallery, checkpoint, options, said):
    with pytest.raises(InputError, match=said):
        command("serve", gallery.folder, "--model", checkpoint, *options)


def test_a_taken_port_a_wrong_gallery_and_a_missing_package_are_one_sentence(
    gallery, checkpoint, tmp_path, monkeypatch
):
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(InputError, match="another address or port"),
    ):
        command("serve", gallery.folder, "--model", checkpoint, "--port", taken.getsockname()[1])
    with pytest.raises(InputError, match="is not a gallery"):
        command("serve", tmp_path, "--model", checkpoint)
    monkeypatch.setattr(serve_command, "NEEDED", ("json", "no_such_package"))
    with pytest.raises(InputError, match=r"needs no_such_package: .*reid-lightning\[serve\]"):
        command("serve", gallery.folder, "--model", checkpoint)
