"""Two commands, as on two machines, search in one study of a PostgreSQL server."""

import importlib.util
import json

import pytest
from helpers import environment, start_forked, train, train_arguments
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
    search = (
        *tiny, "hydra/sweeper=optuna", f"hydra.sweeper.storage={storage}", "hydra.sweeper.n_trials=2",
        "optimizer.lr=tag(log,interval(1e-4,1e-2))", "trainer.max_epochs=1",
    )  # fmt: skip
    where = environment(OMP_NUM_THREADS="1")
    started = [
        start_forked(*train_arguments(*search, folder=tmp_path / str(number), multirun=True), where=where)
        for number in range(2)
    ]
    for command in started:
        ended = command.wait(400)
        assert ended.code == 0, ended.out[-3000:] + ended.err[-3000:]
    first = trials(storage)
    assert [state for state, _, _ in first] == ["COMPLETE"] * 4
    assert len({rate for _, rate, _ in first}) == 4  # none was drawn twice
    scores = [json.loads(file.read_text())["score"] for file in tmp_path.rglob("metrics.json")]
    assert sorted(value for _, _, value in first) == pytest.approx(sorted(scores))
    train(*search, folder=tmp_path / "0", multirun=True, where=where)  # has its results already
    assert trials(storage) == first


def trials(storage):
    """Return state, learning rate and value of every trial; there is one study."""
    import psycopg2

    with psycopg2.connect(storage) as base, base.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM studies")
        assert cursor.fetchone() == (1,)
        cursor.execute(
            "SELECT state, param_value, value FROM trials JOIN trial_params USING (trial_id) "
            "JOIN trial_values USING (trial_id) ORDER BY number"
        )
        return cursor.fetchall()
