"""Classifiers in other people's forms: peft adapters, plain transformers folders, ONNX files."""
