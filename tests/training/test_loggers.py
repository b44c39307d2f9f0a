import pytest

from reid_lightning.training.loggers import abandon, finish, logged_in, wandb_logger


@pytest.fixture(autouse=True)
def _nobody_is_logged_in(monkeypatch, tmp_path):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "home" / "netrc"))
    monkeypatch.setenv("WANDB_SILENT", "true")


def test_without_a_login_a_run_is_offline_and_says_where(tmp_path):
    assert not logged_in()
    logger = wandb_logger(tmp_path / "run", project="test")
    logger.log_metrics({"val/mAP": 0.5}, step=1)
    (sentence,) = finish([logger])
    assert str(tmp_path / "run") in sentence
    assert "wandb sync" in sentence


def test_a_resumed_run_keeps_its_identity_and_two_jobs_have_two(tmp_path):
    first = wandb_logger(tmp_path / "a", project="test")
    identity = first.experiment.id
    finish([first])
    second = wandb_logger(tmp_path / "b", project="test")
    assert second.experiment.id != identity
    finish([second])
    again = wandb_logger(tmp_path / "a", project="test")
    assert again.experiment.id == identity
    finish([again])


def test_a_failed_job_leaves_no_run_open_for_the_next(tmp_path):
    first = wandb_logger(tmp_path / "a", project="test")
    identity = first.experiment.id
    abandon()
    second = wandb_logger(tmp_path / "b", project="test")
    assert second.experiment.id != identity
    finish([second])
    abandon()  # nothing is open
