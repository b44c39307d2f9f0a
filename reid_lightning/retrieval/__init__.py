"""Rankings of a gallery and what is measured on them."""
