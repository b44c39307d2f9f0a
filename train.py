"""Train and evaluate a person re-identification model: `python train.py loss=lossless backbone=resnet50`."""

from reid_lightning.training.run import main

if __name__ == "__main__":
    main()
