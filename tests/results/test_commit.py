"""The commit that stands on a page is read without running git, which would run what a repository configures."""

import pytest

from reid_lightning.results.page_header import commit

HASH = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def repository(tmp_path):
    (tmp_path / ".git" / "refs" / "heads").mkdir(parents=True)
    (tmp_path / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    return tmp_path


def test_of_a_branch_packed_detached_and_of_a_work_tree(repository):
    git = repository / ".git"
    (git / "packed-refs").write_text(f"# pack-refs\n{HASH} refs/heads/main\n")
    assert commit(repository) == HASH[:7]
    (git / "refs" / "heads" / "main").write_text(f"f{HASH[1:]}\n")
    (repository / "below").mkdir()
    assert commit(repository / "below") == "f123456"
    own = git / "worktrees" / "other"
    own.mkdir(parents=True)
    (own / "HEAD").write_text("ref: refs/heads/main\n")
    (own / "commondir").write_text("../..\n")
    other = repository / "other"
    other.mkdir()
    (other / ".git").write_text(f"gitdir: {own}\n")
    assert commit(other) == "f123456"
    (git / "HEAD").write_text(f"{HASH}\n")
    assert commit(repository) == HASH[:7]


@pytest.mark.parametrize(
    "head", ["", "ref: ../../secret", "ref: refs/../../secret", "ref: refs/heads/none", "no hash"]
)
def test_of_a_hostile_or_broken_repository_there_is_none(repository, head):
    (repository / "secret").write_text(HASH)
    (repository / ".git" / "HEAD").write_text(head)
    assert commit(repository) == ""
