"""Exchange with other libraries: peft adapters, plain transformers folders, ONNX files."""
