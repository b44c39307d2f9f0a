"""Person re-identification experiments on PyTorch Lightning and Hydra."""

import os

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # albumentations looks for updates over the network

__version__ = "0.1.0"
