"""Processes that change a file of enrolled people again and again, to be killed."""

import numpy as np
import torch

from reid_lightning.retrieval.identification import Enrolment


def enrol_for_ever(path: str, seed: int) -> None:
    random = np.random.default_rng(seed)
    torch.set_num_threads(1)
    while True:
        with Enrolment.changing(path, Enrolment()) as people:
            name = f"p{random.integers(1 << 40)}"
            people.add(torch.from_numpy(random.normal(size=(3, 4))), [name] * 3)
