"""Use of exported models without torch.

It needs onnxruntime (or OpenVINO), numpy and OpenCV, and pyarrow for a gallery. `load` opens the file. `VectorGallery`
searches a gallery that `reid gallery build` has written.
"""

from reid_lightning.runtime.gallery import VectorGallery
from reid_lightning.runtime.model import RuntimeModel, load

__all__ = ["RuntimeModel", "VectorGallery", "load"]
