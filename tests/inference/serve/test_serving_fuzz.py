"""The API as schemathesis sees it: every answer is declared, and nothing that is sent leads to a 5xx."""

import pytest

schemathesis = pytest.importorskip("schemathesis")
pytestmark = pytest.mark.slow
EXAMPLES = 60
