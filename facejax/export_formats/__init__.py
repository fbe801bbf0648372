"""What an encoder can be exported as: one module a format, whose functions make the bytes of `FILE`, and a usage."""

from facejax.export_formats import onnx, safetensors, stablehlo

FORMATS = {"safetensors": safetensors, "stablehlo": stablehlo, "onnx": onnx}
