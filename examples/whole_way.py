"""The whole way on generated people: train, then search, compare, describe, group and identify people never seen.

`python examples/whole_way.py 240 8` trains on 240 people for 8 epochs, which takes two minutes; what it prints is measured
on the people of the test.
"""

import json
import sys

import numpy as np
import pandas as pd

from reid_lightning import Enrolment, Gallery, evaluate, load, run
from reid_lightning.retrieval.clustering import cluster, cluster_scores
from reid_lightning.retrieval.embeddings import Embeddings
from reid_lightning.retrieval.prior import drawn_distances, estimated_prior, even_distance

PEOPLE, EPOCHS = map(int, sys.argv[1:] or (300, 16))
ENROLLED = 10
result = {}

# Train, with a third of the people for validation: they say what distances mean.
trained = run(
    f"data.sources.pedestrians.train_identities={PEOPLE}", "data.validation=0.35", f"trainer.max_epochs={EPOCHS}",
    "attributes=market12", output_dir="run",
)  # fmt: skip
checkpoint = "run/checkpoints/best.ckpt"
evaluate(checkpoint, "evaluated", embeddings="test.npz")
test = Embeddings.load("test.npz")
test = test.select(~test.distractor)
model = load(checkpoint)
result["mAP"] = trained.test["mAP"]

# A gallery: images, whom and where they show, and what people look like.
rows = pd.DataFrame({"path": test.paths, "person_id": test.people, "camera_id": test.cameras})
shown = rows[~test.is_query].reset_index(drop=True)
asked = rows[test.is_query].reset_index(drop=True)
vectors, looks = model.embed_with_attributes(shown["path"].tolist())
gallery = Gallery.for_model("gallery", model)
gallery.add(vectors, shown.assign(attribute_probabilities=list(looks.numpy())))

# Search: by an image, by a condition, by words.
queries = model.embed(asked["path"].tolist())
right = []
for query, person, camera in zip(queries, asked["person_id"], asked["camera_id"], strict=True):
    hits = gallery.search(query[None], top=1, where=f"camera != {camera}")
    right.append(gallery.rows(hits.ids[0])["person_id"].item() == person)
result["rank1_in_other_cameras"] = float(np.mean(right))
backpacks = gallery.search(None, top=10, like="backpack")
result["images_with_a_backpack"] = gallery.rows(backpacks.ids[0])["path"].tolist()

# Compare: who is the same, at a stated share of errors.
for rate in (0.1, 0.01):
    found = model.compare(asked["path"].tolist(), shown["path"].tolist(), false_accepts=rate)
    same = asked["person_id"].to_numpy()[:, None] == shown["person_id"].to_numpy()[None, :]
    result[f"false_accepts_at_{rate}"] = float(found.same[~same].mean())
    result[f"true_accepts_at_{rate}"] = float(found.same[same].mean())

# Describe.
result["first_person"] = model.describe(asked["path"][0]).rows()[0]["attributes"]

# Group, as if nobody were named.
curve = model.calibration.logistic
near = even_distance(curve, estimated_prior(curve, drawn_distances(vectors)))
result["groups"] = cluster_scores(cluster(vectors, near), shown["person_id"])

# Identify some people, and reject the others as strangers.
enrolled = sorted(shown["person_id"].unique())[:ENROLLED]
known = shown["person_id"].isin(enrolled)
people = Enrolment(model.protocol.distance, calibration=model.calibration)
people.add(vectors[np.flatnonzero(known)], shown["person_id"][known].tolist(), shown["path"][known].tolist())
stranger = ~asked["person_id"].isin(enrolled)
for rate in (0.2, 0.1):
    said = pd.Series(people.identify(queries, false_accepts=rate).names).fillna("")
    result[f"strangers_accepted_at_{rate}"] = float((said[stranger] != "").mean())
    result[f"identified_at_{rate}"] = float((said == asked["person_id"])[~stranger].mean())

print(json.dumps(result, indent=2))
