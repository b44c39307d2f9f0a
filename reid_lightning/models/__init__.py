"""Networks: backbone, pooling, neck and classifier."""
