"""A trained model as a file of ONNX, OpenVINO or torch.export."""
