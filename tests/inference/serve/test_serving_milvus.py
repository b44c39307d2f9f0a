"""A server and the commands on a gallery in Milvus."""

import pytest
from helpers import command
from served import client, filled_gallery, png, small_model

from reid_lightning import InputError

pytest.importorskip("pymilvus", reason="needs the extra milvus")
pytest.importorskip("milvus_lite", reason="needs the extra milvus")


def picture(seed):
    return {"picture": ("a.png", png(seed), "image/png")}


@pytest.mark.slow
def test_search_enrol_forget_and_the_commands(tmp_path):
    model = small_model(tmp_path)
    gallery = filled_gallery(tmp_path / "people.db", model)
    with client(model, gallery.address, keep_pictures=False) as api:
        found = api.post("/search", files=picture(5), data={"k": 1, "where": "camera != c0"}).json()["found"]
        assert found[0]["id"] == 5
        assert found[0]["distance"] == pytest.approx(0, abs=1e-5)
        answer = api.post("/enrol", files=picture(77), data={"person_id": "Eve"}).json()
        assert answer == {"id": 12, "person_id": "Eve", "already": False}
        assert "Eve" in [person["person_id"] for person in api.get("/people").json()["people"]]
        assert api.post("/search", files=picture(77), data={"k": 1}).json()["found"][0]["id"] == 12
        assert api.post("/forget", json={"person_id": "Eve"}).json() == {"removed": 1}
        assert api.post("/forget", json={"id": 3}).json() == {"removed": 1}
        assert api.get("/info").json()["images"] == 11
        refused = api.post("/forget", json={"id": 3})
        assert (refused.status_code, "no image with the id 3" in refused.json()["error"]) == (404, True)
    assert "exact, in Milvus" in command("gallery", "info", gallery.address).stdout
    assert command("gallery", "remove", gallery.address, "--person", "Bo").exit_code == 0
    assert not len(gallery.table("person = Bo"))
    with pytest.raises(InputError, match="is in Milvus and is not embedded again"):
        command("gallery", "rebuild", gallery.address, "--model", tmp_path / "model.ckpt")
    images, checkpoint = tmp_path / "people.db-images", tmp_path / "model.ckpt"
    new = tmp_path / "new.db"
    assert command("gallery", "build", new, images, "--model", checkpoint).exit_code == 0
    again = command("gallery", "add", new, images, "--model", checkpoint)
    assert "12 were in it already" in again.stdout + again.stderr
    with pytest.raises(InputError, match="is a gallery already"):
        command("gallery", "build", new, images, "--model", checkpoint)
    answer = command("search", new, images / "5.png", "--model", checkpoint, "--top", 1)
    assert "5.png" in answer.stdout
