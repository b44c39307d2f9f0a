"""What can be measured and drawn after the last evaluation of a run, a file per report; `report=NAME` chooses it."""
