"""Use of a trained model: embed, search, identify, export, serve."""
