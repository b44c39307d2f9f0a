"""A compiled run: what is compiled, and that it trains what an eager run does."""

import pytest
import torch
from torch import nn

from reid_lightning.experiments.run import run_job
from reid_lightning.models.network import ReIDNetwork


@pytest.mark.slow
def test_training_is_compiled_once_and_the_test_not_at_all(compose, tiny, tmp_path, monkeypatch):
    graphs = []

    def compiled(graph, inputs):
        graphs.append(graph)
        return graph.forward

    # The graphs are traced and run without generating code for them, which takes a minute.
    monkeypatch.setattr(ReIDNetwork, "compile", lambda network: nn.Module.compile(network, backend=compiled))
    settings = (*tiny, "data.validation=none", "trainer.max_epochs=2")
    torch.compiler.reset()
    results = [
        run_job(compose(*settings, f"compile={on}", output_dir=tmp_path / on)) for on in ("true", "false")
    ]
    assert len(graphs) == 1
    assert results[0].test == pytest.approx(results[1].test, abs=1e-3)
