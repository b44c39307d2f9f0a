"""What the API answers, held against the model and the gallery used directly."""

import io
import json
import threading

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from served import LOCAL, PEOPLE, client, filled_gallery, pixels, png, small_model
from starlette.testclient import TestClient

from reid_lightning.errors import InputError
from reid_lightning.inference.serve import gate
from reid_lightning.inference.serve.app import create_app
from reid_lightning.inference.serve.service import Service
from reid_lightning.inference.serve.settings import Settings

TOKEN = "a-token-of-this-test"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return small_model(tmp_path_factory.mktemp("model"), "attributes=market12")


@pytest.fixture(scope="module")
def plain_model(tmp_path_factory):
    return small_model(tmp_path_factory.mktemp("plain"))


@pytest.fixture
def gallery(tmp_path, model):
    return filled_gallery(tmp_path / "people", model)


@pytest.fixture
def api(model, gallery):
    with client(model, gallery.folder) as opened:
        yield opened


def picture(seed=5, **more):
    return {"picture": ("../../etc/passwd", png(seed, **more), "text/html")}


def refused(answer, status, said):
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]
    assert said in answer.json()["error"]
    assert answer.json()["error"].endswith((".", "?"))


def test_a_search_is_that_of_the_gallery(api, model, gallery):
    answer = api.post(
        "/search", files=picture(5), data={"k": 4, "where": "camera = c1 or height < 1.53"}
    ).json()
    vectors, looks = model.embed_with_attributes(pixels(5))
    hits = gallery.search(vectors, 4, "camera = c1 or height < 1.53")
    assert [hit["id"] for hit in answer["found"]] == hits.ids[0].tolist()
    assert answer["found"][0]["id"] == 5
    assert [hit["distance"] for hit in answer["found"]] == pytest.approx(hits.distances[0].tolist(), abs=1e-6)
    rows = gallery.rows(hits.ids[0])
    assert [hit["known"]["camera_id"] for hit in answer["found"]] == rows["camera_id"].tolist()
    assert [hit["known"]["height"] for hit in answer["found"]] == rows["height"].tolist()
    assert all("path" not in hit["known"] for hit in answer["found"])
    assert (answer["images"], answer["search"], answer["threshold"]) == (12, "exact", None)
    assert [hit["probability"] for hit in answer["found"]] == [None] * 4
    for place, attribute in zip(model.schema.slices, model.schema, strict=True):
        assert answer["looks"][attribute.name]["class"] == attribute.classes[int(looks[0, place].argmax())]


def test_a_search_by_words_alone_and_with_a_picture(api, model, gallery):
    words = "female, no hat"
    answer = api.post("/search", data={"like": words, "k": 3, "explain": "true"}).json()
    hits = gallery.search(None, 3, like=words)
    assert [hit["id"] for hit in answer["found"]] == hits.ids[0].tolist()
    assert answer["looks"] is None
    wish = gallery.wish(words)
    told = wish.told(gallery.looks(hits.ids[0]))
    assert [(hit["agrees"], hit["differs"]) for hit in answer["found"]] == told
    answer = api.post("/search", files=picture(2), data={"like": words, "k": 3}).json()
    hits = gallery.search(model.embed(pixels(2)), 3, like=words)
    assert [hit["id"] for hit in answer["found"]] == hits.ids[0].tolist()
    assert [hit["agrees"] for hit in answer["found"]] == [None] * 3


def test_a_comparison_and_a_description_are_those_of_the_model(api, model):
    answer = api.post("/compare", files={"first": png(1), "second": png(2)}).json()
    assert answer["distance"] == pytest.approx(float(model.compare(pixels(1), pixels(2)).distance), abs=1e-6)
    assert (answer["probability"], answer["same"], answer["prior"]) == (None, None, 0.5)
    refused(
        api.post("/compare", files={"first": png(1), "second": png(2)}, data={"false_accepts": 0.1}),
        422,
        "needs a calibration",
    )
    assert api.post("/describe", files=picture(3)).json() == model.describe(pixels(3)).rows()[0]


@pytest.mark.slow
def test_a_calibrated_model_states_probabilities_and_verdicts(trained, tmp_path):
    import reid_lightning

    model = reid_lightning.load(trained)
    gallery = filled_gallery(tmp_path / "people", model)
    with client(model, gallery.folder) as api:
        assert api.get("/info").json()["calibrated"] is True
        answer = api.post("/search", files=picture(5)).json()
        compared = api.post("/compare", files={"first": png(1), "second": png(2)}, data={"prior": 0.1}).json()
    assert answer["threshold"] == pytest.approx(model.calibration.threshold(0.01))
    distances = np.array([hit["distance"] for hit in answer["found"]])
    assert [hit["probability"] for hit in answer["found"]] == pytest.approx(
        model.calibration.probability(distances)
    )
    assert [hit["same"] for hit in answer["found"]] == (distances <= answer["threshold"]).tolist()
    direct = model.compare(pixels(1), pixels(2), prior=0.1)
    assert compared["probability"] == pytest.approx(float(direct.probability))
    assert (compared["same"], compared["false_accepts"], compared["prior"]) == (bool(direct.same), 0.01, 0.1)


@pytest.mark.slow
def test_an_exported_model_serves_the_gallery_of_its_checkpoint(exported, export_checkpoint, tmp_path):
    import reid_lightning

    original = reid_lightning.load(export_checkpoint)
    gallery = filled_gallery(tmp_path / "people", original)
    with client(reid_lightning.load(exported.path), gallery.folder) as api:
        answer = api.post("/search", files=picture(5), data={"k": 3}).json()
        described = api.post("/describe", files=picture(5)).json()
    hits = gallery.search(original.embed(pixels(5)), 3)
    assert [hit["id"] for hit in answer["found"]] == hits.ids[0].tolist()
    assert [hit["distance"] for hit in answer["found"]] == pytest.approx(hits.distances[0].tolist(), abs=1e-4)
    direct = original.describe(pixels(5)).rows()[0]
    assert {name: each["class"] for name, each in described["attributes"].items()} == {
        name: each["class"] for name, each in direct["attributes"].items()
    }


def test_who_is_enrolled_is_found_and_who_is_forgotten_is_gone(api, model, gallery):
    known = {"person_id": " Eve ", "camera_id": "c7", "frame_id": "12", "time": "2026-11-01T10:00:00+01:00"}
    answer = api.post("/enrol", files=picture(77, size=(60, 31)), data=known | {"more": '{"height": 1.8}'})
    assert answer.json() == {"id": 12, "person_id": "Eve", "already": False}
    gallery.refresh()
    row = gallery.rows([12]).iloc[0]
    assert (row["person_id"], row["camera_id"], row["frame_id"], row["height"]) == ("Eve", "c7", 12, 1.8)
    assert row["time"] == pd.Timestamp("2026-11-01T09:00Z")
    vectors, looks = model.embed_with_attributes(pixels(77, (60, 31)))
    assert gallery.vectors([12])[0] == pytest.approx(vectors[0].numpy(), abs=1e-6)
    stored = gallery.looks([12])["attribute_probabilities"].to_pylist()[0]
    assert stored == pytest.approx(looks[0].tolist(), abs=1e-6)
    kept = gallery.folder / "pictures"
    assert str(kept) in row["path"]
    assert np.array_equal(np.asarray(Image.open(row["path"])), pixels(77, (60, 31)))
    assert api.post("/search", files=picture(77, size=(60, 31)), data={"k": 1}).json()["found"][0]["id"] == 12
    again = api.post("/enrol", files=picture(77, size=(60, 31)), data={"person_id": "Eve"})
    assert again.json() == {"id": 12, "person_id": "Eve", "already": True}
    refused(
        api.post("/enrol", files=picture(77, size=(60, 31)), data={"person_id": "Mallory"}), 409, "(id 12)"
    )
    assert api.post("/forget", json={"person_id": "Eve"}).json() == {"removed": 1}
    assert not list(kept.glob("*.png"))
    refused(api.post("/forget", json={"person_id": "Eve"}), 404, "no image of Eve")
    assert api.post("/forget", json={"id": 3}).json() == {"removed": 1}
    refused(api.get("/thumbnails/3"), 404, "no image with the id 3")
    assert api.get("/info").json()["images"] == 11
    gallery.refresh()
    gallery.check()
    assert (gallery.folder.parent / "people-images" / "3.png").exists(), "the user's own files stay"


def test_names_are_values_and_never_conditions(api):
    name = 'O"Neil\\ or id >= 0'
    assert api.post("/enrol", files=picture(50), data={"person_id": name}).status_code == 200
    assert api.post("/forget", json={"person_id": name}).json() == {"removed": 1}
    refused(api.post("/forget", json={"person_id": '" or id >= 0 or person_id = "'}), 404, "no image of")
    assert api.get("/info").json()["images"] == 12


def test_many_enrol_at_once_and_each_gets_its_own_row(model, gallery):
    with client(model, gallery.folder) as api:
        answers = {}

        def enrol(seed):
            answers[seed] = api.post(
                "/enrol", files=picture(seed), data={"person_id": f"p{seed // 2}"}
            ).json()

        threads = [threading.Thread(target=enrol, args=(seed,)) for seed in range(100, 116)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    gallery.refresh()
    rows = gallery.table("id >= 12").set_index("id")
    assert sorted(answer["id"] for answer in answers.values()) == list(range(12, 28))
    for seed, answer in answers.items():
        assert rows["person_id"][answer["id"]] == f"p{seed // 2}"
        direct = model.embed(pixels(seed)).numpy()
        assert np.abs(gallery.vectors([answer["id"]]) - direct).max() < 1e-5


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"person_id": "-1"}, "must name a person"),
        ({"person_id": "   "}, "person_id: it must not be blank"),
        ({"person_id": ""}, "person_id"),
        ({}, "person_id: field required"),
        ({"person_id": "a", "frame_id": "x"}, "frame_id"),
        ({"person_id": "a", "time": "yesterday"}, "time"),
        ({"person_id": "a", "time": "9999-12-31T23:59:59-23:00"}, "time is not within the years"),
        ({"person_id": "a", "time": "0001-01-01T00:00:00+23:00"}, "time is not within the years"),
        ({"person_id": "a", "more": "[1]"}, "more must be a JSON object"),
        ({"person_id": "a", "more": '{"height": NaN}'}, "more must be a JSON object"),
        ({"person_id": "a", "more": '{"height": "tall"}'}, "height holds numbers"),
        ({"person_id": "a", "more": '{"shoes": 1}'}, "shoes is not a column"),
        ({"person_id": "a", "more": '{"path": "/etc/passwd"}'}, "path is not a column"),
        ({"person_id": "a", "more": '{"id": 1}'}, "id is not a column"),
    ],
)
def test_what_cannot_be_known_of_a_person_is_one_sentence(api, fields, said):
    refused(api.post("/enrol", files=picture(), data=fields), 422, said)
    assert api.get("/info").json()["images"] == 12


@pytest.mark.parametrize(
    ("address", "sent", "status", "said"),
    [
        ("/search", {}, 422, "Nothing is searched for"),
        ("/search", {"data": {"like": "purple hair and wings"}}, 422, "names no attribute"),
        ("/search", {"files": picture(), "data": {"where": "camra = 1"}}, 422, "where: camra at character 1"),
        ("/search", {"files": picture(), "data": {"where": "path = x"}}, 422, "path at character 1 is not a column"),
        ("/search", {"files": picture(), "data": {"k": 0}}, 422, "k: input should be greater"),
        ("/search", {"files": {"picture": b"words"}}, 422, "not an image file"),
        ("/search", {"files": {"picture": b""}}, 422, "an empty file"),
        ("/search", {"data": {"picture": "text"}}, 422, "picture"),
        ("/compare", {"files": {"first": png(1)}}, 422, "second: field required"),
        ("/compare", {"files": {"first": png(1), "second": b"x"}}, 422, "The second picture is not"),
        ("/forget", {"json": {}}, 422, "field required"),
        ("/forget", {"json": {"person_id": "a", "id": 1}}, 422, "extra inputs"),
        ("/forget", {"json": {"id": True}}, 422, "id: input should be a valid integer"),
        ("/forget", {"json": {"id": 2**62}}, 422, "id: input should be less than"),
        ("/forget", {"json": {"person_id": ""}}, 422, "person_id: string should have at least 1 character"),
        ("/forget", {"json": [1]}, 422, "Input should be a valid dictionary"),
        ("/enrol", {"files": picture(), "data": {"person_id": "Ada\nEve"}}, 422, "person_id must be one line"),
        ("/enrol", {"files": picture(), "data": {"person_id": "Ada\0"}}, 422, "person_id must be one line"),
        ("/forget", {"content": b"{", "headers": {"content-type": "application/json"}}, 422, "The body is not JSON."),
        ("/nowhere", {}, 404, "no such address"),
        ("/info", {}, 405, "does not take that method"),
    ],
)  # fmt: skip
def test_every_error_is_one_sentence_of_json(api, address, sent, status, said):
    refused(api.post(address, **sent), status, said)


def test_a_model_without_attributes_says_so(plain_model, tmp_path):
    gallery = filled_gallery(tmp_path / "people", plain_model)
    with client(plain_model, gallery.folder) as api:
        refused(api.post("/describe", files=picture()), 409, "neither attributes nor traits")
        refused(api.post("/search", data={"like": "hat"}), 422, "holds no attributes")
        answer = api.post("/search", files=picture(5), data={"k": 1}).json()
        assert (answer["looks"], answer["found"][0]["id"]) == (None, 5)
        info = api.get("/info").json()
        assert (info["attributes"], info["describes"], info["calibrated"]) == ({}, False, False)
        assert api.post("/enrol", files=picture(60), data={"person_id": "Eve"}).json()["id"] == 12


def test_people_are_listed_a_page_at_a_time(api):
    assert api.get("/people").json() == {
        "people": [{"person_id": name, "images": 3} for name in PEOPLE],
        "more": False,
    }
    assert api.get("/people", params={"limit": 2}).json()["more"] is True
    after = api.get("/people", params={"after": "Bo"}).json()
    assert [person["person_id"] for person in after["people"]] == ["Zoë"]


def test_thumbnails_are_of_the_gallerys_rows_alone(api, model, gallery):
    shown = api.get("/thumbnails/5")
    assert shown.headers["content-type"] == "image/jpeg"
    assert np.asarray(Image.open(io.BytesIO(shown.content))).shape == (32, 16, 3)
    for wrong in ("99", str(2**62 - 1)):
        refused(api.get(f"/thumbnails/{wrong}"), 404, "no image with the id")
    refused(api.get("/thumbnails/..%2f..%2fetc%2fpasswd"), 404, "no such address")
    refused(api.get("/thumbnails/-1"), 422, "id")
    with client(model, gallery.folder, thumbnails=False) as closed:
        refused(closed.get("/thumbnails/5"), 404, "--no-thumbnails")


def test_a_server_may_be_read_only_or_keep_no_pictures(model, gallery):
    with client(model, gallery.folder, read_only=True) as api:
        refused(api.post("/enrol", files=picture(), data={"person_id": "a"}), 403, "--read-only")
        refused(api.post("/forget", json={"id": 0}), 403, "--read-only")
    with client(model, gallery.folder, keep_pictures=False) as api:
        assert api.post("/enrol", files=picture(80), data={"person_id": "Eve"}).json()["id"] == 12
        assert api.post("/search", files=picture(80), data={"k": 1}).json()["found"][0]["id"] == 12
        refused(api.get("/thumbnails/12"), 404, "no image")
    assert not (gallery.folder / "pictures").exists()


def test_what_others_change_is_seen_and_another_model_is_refused(api, model, gallery, tmp_path):
    gallery.remove(person="Bo")
    assert api.get("/info").json()["images"] == 9
    manifest = json.loads((gallery.folder / "gallery.json").read_text())
    (gallery.folder / "gallery.json").write_text(json.dumps(manifest | {"fingerprint": "0" * 64}))
    for answer in (api.get("/info"), api.get("/health"), api.post("/search", files=picture())):
        refused(answer, 503, "another model")
        assert answer.headers["retry-after"] == "10"
        assert str(tmp_path) not in answer.text
    with pytest.raises(InputError, match="another model"):
        Service(model, gallery.folder, Settings())


def test_pictures_that_a_killed_server_left_without_a_row_are_removed(model, gallery):
    with client(model, gallery.folder) as api:
        assert api.post("/enrol", files=picture(80), data={"person_id": "Eve"}).status_code == 200
    kept = [*(gallery.folder / "pictures").glob("*.png")]
    orphan = gallery.folder / "pictures" / f"{'0' * 64}.png"
    orphan.write_bytes(png(81))
    with client(model, gallery.folder, read_only=True):
        assert orphan.exists(), "a server that is read-only touches nothing"
    with client(model, gallery.folder):
        assert [*(gallery.folder / "pictures").glob("*.png")] == kept


def test_a_token_guards_everything_but_the_empty_page(model, gallery):
    with client(model, gallery.folder, token=TOKEN, host="0.0.0.0") as api:
        for address in ("/", "/health", "/openapi.json"):
            assert api.get(address).status_code == 200
        wrong = (
            {},
            *(
                {"authorization": text}
                for text in ("Bearer wrong", f"Basic {TOKEN}", TOKEN, "Bearer", "\xe4")
            ),
        )
        for headers in wrong:
            headers = {name: value.encode("latin-1") for name, value in headers.items()}
            answer = api.get("/info", headers=headers)
            refused(answer, 401, "A token is needed")
            assert answer.headers["www-authenticate"] == "Bearer"
            for address in ("/metrics", "/people", "/thumbnails/1", "/nowhere"):
                assert api.get(address, headers=headers).status_code == 401
            refused(api.post("/search", files=picture(), headers=headers), 401, "A token is needed")
        right = {
            "authorization": f"bearer {TOKEN}",
            "host": "people.example",
            "origin": "https://people.example",
        }
        assert api.get("/info", headers=right).status_code == 200


def test_without_a_token_pages_of_other_sites_are_refused(api):
    for headers in (
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:9999"},
        {"host": "evil.example"},
        {"host": "127.0.0.1.evil.example:8000"},
    ):
        assert api.get("/info", headers=headers).status_code == 403, headers
        assert api.post("/forget", json={"id": 1}, headers=headers).status_code == 403
    for headers in ({"origin": LOCAL}, {"host": "localhost:8000"}, {"host": "[::1]:8000"}):
        assert api.get("/info", headers=headers).status_code == 200, headers


def test_bodies_are_limited_whether_they_tell_their_size_or_not(model, gallery):
    with client(model, gallery.folder, max_megabytes=0.02) as api:
        refused(api.post("/search", files={"picture": 30_000 * b"x"}), 413, "more than 0.02 MB")
        told = api.post(
            "/search",
            content=iter([9000 * b"x"] * 4),
            headers={"content-type": "multipart/form-data; boundary=b"},
        )
        refused(told, 413, "more than 0.02 MB")
        told = api.post(
            "/forget", content=iter([9000 * b" "] * 4), headers={"content-type": "application/json"}
        )
        refused(told, 413, "more than 0.02 MB")
        assert api.post("/search", files=picture()).status_code == 200


def test_pictures_are_limited_by_their_header(model, gallery):
    with client(model, gallery.folder, max_megapixels=0.01) as api:
        refused(api.post("/search", files=picture(1, size=(200, 100))), 413, "100 x 200 pixels")
        assert api.post("/search", files=picture(1, size=(100, 100))).status_code == 200


def test_too_many_requests_of_a_client_wait(model, gallery):
    with client(model, gallery.folder, per_minute=3) as api:
        assert [api.get("/info").status_code for _ in range(4)] == [200, 200, 200, 429]
        answer = api.get("/info")
        refused(answer, 429, "More than 3 requests a minute")
        assert 1 <= int(answer.headers["retry-after"]) <= 20
        assert api.get("/health").status_code == 200


def test_a_full_queue_is_refused_and_what_waits_is_answered(model, gallery, monkeypatch):
    begun, go = threading.Event(), threading.Event()
    embed = model.embed_with_attributes

    def slow(images):
        begun.set()
        assert go.wait(20)
        return embed(images)

    answers = []
    with client(model, gallery.folder, queue=1) as api:
        monkeypatch.setattr(model, "embed_with_attributes", slow)
        asking = threading.Thread(
            target=lambda: answers.append(api.post("/search", files=picture(5), data={"k": 1}))
        )
        asking.start()
        assert begun.wait(20)
        answer = api.post("/search", files=picture(5))
        refused(answer, 503, "Too many pictures wait")
        assert answer.headers["retry-after"] == "1"
        refused(
            api.post("/compare", files={"first": png(1), "second": png(2)}), 503, "Too many pictures wait"
        )
        assert api.get("/info").status_code == 200, "the event loop is not blocked"
        go.set()
        asking.join()
    assert answers[0].json()["found"][0]["id"] == 5


def test_large_pictures_that_are_kept_take_more_places(model, gallery):
    sent = {"files": picture(7, size=(700, 600)), "data": {"person_id": "Eve"}}  # 1.3 MB
    for queue in (1, 2):
        with client(model, gallery.folder, queue=queue) as api:
            assert api.post("/enrol", **sent).status_code == 200
            assert "reid_pictures_at_work 0.0" in api.get("/metrics").text
    service = Service(model, gallery.folder, Settings(queue=2))
    with TestClient(create_app(service), base_url=LOCAL) as api, service.places(1):
        refused(api.post("/enrol", **sent), 503, "Too many pictures wait")
        assert api.post("/search", files=picture(7, size=(700, 600))).status_code == 200


def test_a_request_that_takes_too_long_is_answered_and_the_server_goes_on(model, gallery, monkeypatch):
    go = threading.Event()
    embed = model.embed_with_attributes

    def slow(images):
        assert go.wait(20)
        return embed(images)

    with client(model, gallery.folder, timeout=0.2) as api:
        monkeypatch.setattr(model, "embed_with_attributes", slow)
        answer = api.post("/search", files=picture(5))
        go.set()
        refused(answer, 503, "not get it done in time")
        assert "retry-after" in answer.headers
    monkeypatch.undo()
    with client(model, gallery.folder) as api:
        assert api.post("/search", files=picture(5)).status_code == 200


def test_a_failure_is_a_sentence_and_not_a_trace(model, gallery, monkeypatch):
    with client(model, gallery.folder) as api:
        monkeypatch.setattr(model, "embed_with_attributes", lambda images: 1 / 0)
        refused(api.post("/search", files=picture()), 500, "The server failed: its log says why")
        monkeypatch.undo()
        assert api.post("/search", files=picture()).status_code == 200


def test_a_full_disk_is_a_sentence_and_nothing_is_enrolled(model, gallery, monkeypatch):
    import reid_lightning.files as files

    def full(path):
        raise OSError(28, "No space left on device", str(path))

    with client(model, gallery.folder) as api:
        monkeypatch.setattr(files, "_to_disk", full)
        answer = api.post("/enrol", files=picture(90), data={"person_id": "Eve"})
        refused(answer, 503, "is full")
        assert str(gallery.folder) not in answer.text
        monkeypatch.undo()
        assert api.get("/info").json()["images"] == 12
        assert api.post("/enrol", files=picture(90), data={"person_id": "Eve"}).json()["id"] == 12


def test_the_page_is_one_document_that_the_browser_keeps_to_this_server(api):
    answer = api.get("/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http://" not in answer.text.replace("http://www.w3.org", "")
    assert "https://" not in answer.text
    assert " style=" not in answer.text
    for name, value in gate.HEADERS.items():
        assert answer.headers[name] == value


def test_metrics_count_requests_and_batches(api):
    api.post("/search", files=picture())
    api.get("/nowhere/at/all")
    api.get("/thumbnails/3")
    text = api.get("/metrics").text
    for line in (
        'reid_requests_total{route="/search",status="200"} 1.0',
        'reid_requests_total{route="other",status="404"} 1.0',
        'reid_requests_total{route="/thumbnails/{id}",status="200"} 1.0',
        'reid_batch_size_count{work="model"} 1.0',
        "reid_gallery_images 12.0",
        "reid_pictures_at_work 0.0",
    ):
        assert f"{line}\n" in text
