"""Train and export here; embed and search in an environment that holds neither torch nor Lightning.

`python examples/without_torch.py 100 3` trains on 100 people for 3 epochs. uv builds the wheel and makes the environment.
"""

import json
import subprocess
import sys
from pathlib import Path

from reid_lightning import Gallery, load, run
from reid_lightning.data.pedestrians.dataset import read_pedestrians
from reid_lightning.inference.export.export import export

PEOPLE, EPOCHS = map(int, sys.argv[1:] or (300, 16))
PACKAGES = ["onnxruntime", "numpy", "opencv-python-headless", "pyarrow"]
REPOSITORY = Path(__file__).resolve().parents[1]

# Train, export, and build a gallery of test people with the checkpoint.
run(
    f"data.sources.pedestrians.train_identities={PEOPLE}", f"trainer.max_epochs={EPOCHS}", "attributes=market12",
    output_dir="run",
)  # fmt: skip
checkpoint = Path("run/checkpoints/best.ckpt")
export(checkpoint, Path("model.onnx"), attributes=True)
people = read_pedestrians(train_identities=PEOPLE)
shown, asked = (people[people["split"] == split].reset_index(drop=True) for split in ("gallery", "query"))
model = load(checkpoint)
gallery = Gallery.for_model("gallery", model)
gallery.add(model.embed(shown["path"].tolist()), shown[["path", "person_id", "camera_id"]])
hits = gallery.search(model.embed(asked["path"].tolist()), top=5)
asked[["path"]].to_csv("queries.csv", index=False, header=False)

# An environment of onnxruntime, numpy, OpenCV and pyarrow, and this package without what it depends on.
INSTALL = ["uv", "pip", "install", "--quiet", "--python", "small/bin/python"]
subprocess.run(["uv", "build", "--quiet", "--wheel", "--out-dir", "wheel", str(REPOSITORY)], check=True)
subprocess.run(["uv", "venv", "--quiet", "small", "--python", sys.executable], check=True)
subprocess.run([*INSTALL, *PACKAGES], check=True)
subprocess.run([*INSTALL, "--no-deps", *map(str, Path("wheel").glob("*.whl"))], check=True)

THERE = """
import json, sys
from reid_lightning import runtime

model = runtime.load("model.onnx")
gallery = runtime.VectorGallery("gallery", model=model)
queries = open("queries.csv").read().split()
found = gallery.search(model.embed(queries), top=5)
heavy = sorted({"torch", "lightning", "pandas", "PIL", "scipy"} & set(sys.modules))
print(json.dumps({
    "ids": [[row["id"] for row in rows] for rows in found.rows],
    "distances": found.distances.round(5).tolist(),
    "looks": model.describe(queries[0])[0]["gender"]["class"],
    "heavy": heavy,
}))
"""
done = subprocess.run(["small/bin/python", "-I", "-c", THERE], check=True, capture_output=True, text=True)
there = json.loads(done.stdout)
same = sum(ours == theirs for ours, theirs in zip(hits.ids.tolist(), there["ids"], strict=True))
print(
    json.dumps(
        {
            "queries": len(asked),
            "same_lists": same,
            "largest_difference": float(abs(hits.distances - there["distances"]).max()),
            "looks": there["looks"],
            "imported": there["heavy"],
        },
        indent=1,
    )
)
