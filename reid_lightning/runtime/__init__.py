"""An exported model at work without torch: it needs onnxruntime (or OpenVINO), numpy and OpenCV, and pyarrow for a gallery.

`load` opens the file, and `VectorGallery` searches what `reid gallery build` has made.
"""

from reid_lightning.runtime.gallery import VectorGallery
from reid_lightning.runtime.model import RuntimeModel, load

__all__ = ["RuntimeModel", "VectorGallery", "load"]
