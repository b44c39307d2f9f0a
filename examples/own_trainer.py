"""Train and test on the generated people with a Trainer of your own, without Hydra.

`python examples/own_trainer.py 24 1` does the same with 24 people in 1 epoch, to see that it works.
"""

import sys

from lightning import Trainer

from reid_lightning import ReIDDataModule, ReIDModule, ReIDNetwork
from reid_lightning.data.pedestrians.dataset import read_pedestrians
from reid_lightning.engine.optimizers import OptimizerFactory
from reid_lightning.models.convolutional_backbones import resnet10

people, epochs = map(int, sys.argv[1:] or (300, 16))
data = ReIDDataModule({"generated": lambda: read_pedestrians(train_identities=people)}, image_size=(96, 48))
data.prepare_data()
data.setup()
network = ReIDNetwork(resnet10(), num_identities=data.num_identities)
module = ReIDModule(network, optimizer=OptimizerFactory(lr=2e-3))  # pretrained weights like 3.5e-4
trainer = Trainer(max_epochs=epochs)
trainer.fit(module, data)
print(f"mAP {trainer.test(module, data, verbose=False)[0]['test/mAP']:.1%}")
