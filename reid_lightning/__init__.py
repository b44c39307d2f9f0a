"""Person re-identification experiments on PyTorch Lightning and Hydra."""

import os

# Threads that wait by spinning slow a training on a CPU tenfold as soon as another program wants a core.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # albumentations looks for updates over the network

__version__ = "0.1.0"
