"""A trained model and a gallery behind HTTP: a page for people, and a JSON API."""
