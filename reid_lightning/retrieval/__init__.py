"""Rankings of a gallery and the metrics computed from them."""
