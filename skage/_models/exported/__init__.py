"""Models as ONNX files: written node by node, and read as estimators."""
