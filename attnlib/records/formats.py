"""What a network is exported as, and the endings of the files."""

FORMATS = {"onnx": ".onnx", "torchscript": ".pt", "safetensors": ".safetensors"}
