"""From the integer network to files, and the runtimes that compute them: the only importer of onnx and runtimes."""
