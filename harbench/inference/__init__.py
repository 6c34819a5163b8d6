"""A finished run in use: sources, predictor, overlay, live view, ONNX export, web page. See docs/use.md."""
