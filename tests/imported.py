"""What the server of forked commands imports once; nothing here computes, so that no threads exist before a fork."""

# ruff: noqa: F401

from matplotlib.backends import backend_agg
from sklearn import isotonic, linear_model, manifold

import reid_lightning
import reid_lightning.cli.main
import reid_lightning.cli.train
import reid_lightning.config.leftover
import reid_lightning.config.no_effect
import reid_lightning.engine.module
import reid_lightning.experiments.inspect_data
import reid_lightning.experiments.run
import reid_lightning.inference.fuse
import reid_lightning.inference.identify
import reid_lightning.results.run_page
import reid_lightning.sweeps.callback
import reid_lightning.sweeps.job
