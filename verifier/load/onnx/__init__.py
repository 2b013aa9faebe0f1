"""ONNX files in: ``load_model`` reads one, ``verify_import`` compares it with ONNX Runtime."""

from verifier.load.onnx.gate import verify_import
from verifier.load.onnx.load import load_model
from verifier.load.onnx.model import Model, Port

__all__ = ["Model", "Port", "load_model", "verify_import"]
