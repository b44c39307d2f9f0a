"""What the page of a run lets people look into: every query with its list, slices of the scores, where the model looks."""
