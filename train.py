"""Train and evaluate a person re-identification model: `python train.py loss=lossless backbone=resnet50`."""

from reid_lightning.cli.train import main

if __name__ == "__main__":
    main()
