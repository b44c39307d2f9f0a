"""What the benchmarks of training measure and say, on a handful of generated people."""

import json
import sys
from pathlib import Path

import pytest
import torch

from reid_lightning.losses.triplet import TripletLoss
from reid_lightning.mining.batch_hard import BatchHardMiner

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
SMALL = (
    "data.sources.pedestrians.train_identities=12",
    "data.image_size=[32,16]",
    "sampler.identities=2",
    "sampler.images_per_identity=2",
)


@pytest.fixture
def script(monkeypatch):
    """Return a function from a benchmark's name to its module."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    names = ("train", "training_peers", "gpu", "input", "measure")
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield __import__
    for name in names:
        sys.modules.pop(name, None)


def run(module, monkeypatch, file, *arguments):
    """Return the rows that a script writes."""
    monkeypatch.setattr(sys, "argv", ["script.py", "--json", str(file), *arguments, *SMALL])
    module.main()
    return json.loads(file.read_text())["rows"]


def test_the_plain_triplet_loss_is_ours(script):
    vectors, labels = torch.randn(12, 5, dtype=torch.float64), torch.arange(12) % 4
    ours = TripletLoss(margin=0.3)(vectors, labels, BatchHardMiner()(vectors, labels))
    torch.testing.assert_close(script("training_peers").batch_hard(vectors, labels), ours)


def test_the_first_batch_is_not_timed_and_short_loaders_start_again(script, monkeypatch):
    peers, clock = script("training_peers"), iter([5.0])
    monkeypatch.setattr(peers, "now", lambda: next(clock))
    batches = peers.Steady(["a", "b"], steps=4)
    assert list(batches) == ["a", "b", "a", "b", "a"]
    assert batches.start == 5.0
    assert len(batches) == 5


def test_the_rate_of_a_run_leaves_its_first_epoch_out(script, monkeypatch, tmp_path):
    train = script("train")

    def run_job(config):  # 40 images an epoch: 4 s, then 1 s each; the log holds the means until then
        Path(config["output_dir"]).mkdir()
        lines = ["epoch,train/loss,train/images_per_second", "0,1,", "0,,10", "1,1,", "1,,16", "2,,20"]
        (tmp_path / "run" / "metrics.csv").write_text("\n".join(lines))

    monkeypatch.setattr(train, "run_job", run_job)
    config = {"output_dir": tmp_path / "run", "trainer": {"limit_train_batches": 5}}
    assert train.run_rate(config, batch_size=8) == pytest.approx(40.0)


def test_what_bounds_a_run_is_the_slower_of_two_at_once_and_both_of_two_in_turns(script):
    bound = script("train").bound
    row = {name: {"median": value} for name, value in (("run", 90.0), ("loader", 300.0), ("step", 100.0))}
    said = bound(row | {"workers": 4})
    assert said.startswith("the step bounds the run, which reaches 90%")
    assert "3.0 times" in said
    assert "loading is 25% of the time; the run reaches 120%" in bound(row | {"workers": 0})


@pytest.mark.slow
def test_every_loader_is_taken_from_and_the_first_run_told_apart(script, monkeypatch, tmp_path):
    options = ["--workers", "0", "--repeats", "1", "--batches", "3", "data.validation=none"]
    rows = run(script("input"), monkeypatch, tmp_path / "rows.json", *options, "data.image_size=[32,16]")
    assert rows[0]["images"] > 0
    assert rows[0]["first_run_seconds"] > 0
    assert [row["loader"] for row in rows[1:3]] == ["ours", "decoding each time"]
    assert rows[1]["ours_is_faster"] == 1


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:.*LeafSpec", "ignore:.*GPU available"
)
def test_the_peers_train_the_same_network_beside_the_run(script, monkeypatch, tmp_path, capsys):
    train = script("train")
    scripts, made = [], train.PlainScript

    def remembered(*arguments):
        scripts.append(made(*arguments))
        return scripts[-1]

    monkeypatch.setattr(train, "PlainScript", remembered)
    arguments = ("--steps", "2", "--epochs", "2", "--repeats", "2", "--peers", "--peer-workers", "0")
    rows = run(train, monkeypatch, tmp_path / "rows.json", *arguments, "--backbones", "resnet10,osnet_x0_25")
    assert [row["overrides"][-1] for row in rows] == ["backbone=resnet10", "backbone=osnet_x0_25"]
    for row in rows:
        assert row["batch"] == 4
        for part in ("run", "bare", "loader", "step", "plain script"):
            assert 0 < row[part]["slowest"] <= row[part]["median"] <= row[part]["fastest"], part
    said = capsys.readouterr().out
    assert said.count("run over bare loop") == 2
    assert all(len(peer.log) == 2 * 3 for peer in scripts)  # repeats x steps, the first one included
    peer = scripts[0]
    assert peer.log[0] != peer.log[-1]
    images = torch.randint(256, (3, 3, 32, 16), dtype=torch.uint8)
    ours = peer.bare.module.network.eval()
    peer.model.network.load_state_dict(ours.state_dict(), strict=False)
    with torch.no_grad():
        logits, vectors = peer.model.eval()(ours.normalize(images))
        features = ours(images)
    torch.testing.assert_close(vectors, features.before_neck)
    torch.testing.assert_close(logits, ours.classify(features))


@pytest.mark.slow
def test_torchreid_trains_the_same_batches(script, monkeypatch):
    pytest.importorskip("torchreid", exc_type=ImportError)
    peers, train = script("training_peers"), script("train")
    bare = train.Bare(train.composed([*SMALL, "backbone=resnet10"], "unused", 2, 2))
    engine = peers.Torchreid(bare, workers=0)
    before = [parameter.clone() for parameter in engine.engine.model.parameters()]
    assert engine.rate(2) > 0
    after = engine.engine.model.parameters()
    assert any(not torch.equal(*pair) for pair in zip(before, after, strict=True))


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:.*LeafSpec", "ignore:.*GPU available"
)
def test_operations_are_counted_and_set_against_the_limit(script, monkeypatch, tmp_path, capsys):
    gpu = script("gpu")
    monkeypatch.setattr(gpu, "rank_on", lambda device, size, repeats: f"{device} {size} {repeats}\n")
    arguments = ("--device", "cpu", "--steps", "2", "--epochs", "2", "--repeats", "1", "--matrix", "64")
    limit, row, evaluation = run(
        gpu, monkeypatch, tmp_path / "rows.json", *arguments, "--backbones", "resnet10"
    )
    share = row["share_of_peak"]["step"]
    assert share == pytest.approx(row["step"]["median"] * row["flops_per_image"] / limit["peak_flops"])
    assert evaluation["said"] == ["cpu market500k 1"]
    assert f"{share:.1%}" in capsys.readouterr().out

    train = script("train")
    config = train.composed([*SMALL, "backbone=resnet10"], "unused", 2, 2)
    macs = []
    bare = train.Bare(config)
    for module in bare.module.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda m, _, out: macs.append(out[0].numel() * m.weight[0].numel()))
    with torch.no_grad():
        bare.module.network(next(bare.batches(1))["images"])
    # Forward and both gradients; the images' own gradient is not asked for, and products outside the convolutions are few.
    assert gpu.step_flops(config) == pytest.approx(6 * sum(macs), rel=0.15)
