"""What the server of forked commands imports once; nothing here computes, so that no threads exist before a fork."""

import reid_lightning
import reid_lightning.cli.main
import reid_lightning.cli.train
import reid_lightning.experiments.inspect_data
import reid_lightning.experiments.run
import reid_lightning.inference.fuse
import reid_lightning.inference.identify  # noqa: F401
