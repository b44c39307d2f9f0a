"""Train with loaders of your own: batches are dictionaries, and no field is needed that nobody reads."""

import torch
from lightning import Trainer
from torch.utils.data import DataLoader

from reid_lightning import ReIDModule, ReIDNetwork
from reid_lightning.models.convolutional_backbones import resnet10


def shots(people, shots_of_each=4):
    """Return noisy images of people whom their color tells apart, as any dataset of yours would."""
    colors = torch.rand(people, 3, 1, 1, generator=torch.Generator().manual_seed(people))
    return [
        {
            "images": (colors[person] + 0.1 * torch.randn(3, 64, 32)).clamp(0, 1),
            "labels": person,
            # Validation alone reads the following.
            "person_ids": person,
            "camera_ids": shot,
            "index": shots_of_each * person + shot,
            "is_query": shot == 0,
        }
        for person in range(people)
        for shot in range(shots_of_each)
    ]


module = ReIDModule(ReIDNetwork(resnet10(width=0.25), num_identities=32))
trainer = Trainer(max_epochs=4, num_sanity_val_steps=0, log_every_n_steps=1)
trainer.fit(
    module,
    train_dataloaders=DataLoader(shots(32), batch_size=32, shuffle=True),
    val_dataloaders=DataLoader(shots(10), batch_size=32),
)
print(f"validation mAP {trainer.callback_metrics['val/mAP']:.1%}")
