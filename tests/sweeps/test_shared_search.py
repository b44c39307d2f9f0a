"""Two commands, as on two machines, search in one study of a PostgreSQL server."""

import importlib.util
import json
import subprocess

import pytest
from helpers import environment, start_python, train, train_arguments
from local_postgres import local_postgres, why_not

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def storage():
    if why_not():
        pytest.skip(why_not())
    if importlib.util.find_spec("psycopg2") is None:
        pytest.skip("psycopg2 missing: pip install 'reid-lightning[postgresql]'")
    with local_postgres() as address:
        yield address


def test_two_commands_search_in_one_study(tiny, tmp_path, storage):
    import optuna

    search = (
        *tiny, "hydra/sweeper=optuna", f"hydra.sweeper.storage={storage}", "hydra.sweeper.n_trials=2",
        "optimizer.lr=tag(log,interval(1e-4,1e-2))", "trainer.max_epochs=1",
    )  # fmt: skip
    where = environment(OMP_NUM_THREADS="1")
    started = [
        start_python(
            *train_arguments(*search, folder=tmp_path / str(number), multirun=True),
            where=where, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        for number in range(2)
    ]  # fmt: skip
    for command in started:
        said, _ = command.communicate(timeout=400)
        assert command.returncode == 0, said[-3000:]
    (name,) = optuna.get_all_study_names(storage)
    study = optuna.load_study(study_name=name, storage=storage)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 4
    assert len({trial.params["optimizer.lr"] for trial in study.trials}) == 4  # none was drawn twice
    scores = [json.loads(file.read_text())["score"] for file in tmp_path.rglob("metrics.json")]
    assert sorted(trial.value for trial in study.trials) == pytest.approx(sorted(scores))
    train(*search, folder=tmp_path / "0", multirun=True, where=where)  # has its results already
    assert len(study.trials) == 4
