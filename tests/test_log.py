"""Names in the log are shown and not obeyed."""

import logging


def test_a_name_in_the_log_cannot_clear_the_terminal(caplog):
    logging.getLogger("reid_lightning").warning("%s is damaged;\nsecond line", "a\x1b[2Jb\udcff.jpg")
    assert caplog.messages == ["a\\x1b[2Jb\\udcff.jpg is damaged;\nsecond line"]
