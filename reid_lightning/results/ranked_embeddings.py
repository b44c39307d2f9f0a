"""What was ranked, with the names of its table: from codes back to people, cameras and files."""

import numpy as np
import pandas as pd

from reid_lightning.data.table import camera_keys, identity_keys
from reid_lightning.distances import Distance
from reid_lightning.retrieval.embeddings import Embeddings
from reid_lightning.retrieval.evaluation import EvaluationRows


def embeddings_of(rows: EvaluationRows, table: pd.DataFrame, distance: Distance) -> Embeddings:
    """Return what was ranked, with the names of the table that the rows refer to."""
    who = table.iloc[rows.index.cpu().numpy()]
    return Embeddings(
        rows.vectors.float().cpu(),
        who["path"].to_numpy(np.str_),
        identity_keys(who).fillna("").to_numpy(np.str_),
        camera_keys(who).fillna("").to_numpy(np.str_),
        rows.is_query.cpu().numpy(),
        who["distractor"].to_numpy(bool),
        distance,
    )
