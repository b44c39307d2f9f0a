"""What the server of forked commands imports and reads once; no threads may exist before a fork, so nothing computes."""

# ruff: noqa: F401

import hydra
import quick_compose
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
from reid_lightning.config.resolve import CONF

quick_compose.install()
with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
    hydra.compose("config")  # reads the files of the default run, and finds the plug-ins
