"""Writes an encoder for others to use, next to facejax.json and a model card (README.md, as Hugging Face reads it).

    python -m facejax.export workdirs/demo --format=safetensors --out=exported --license=cc-by-nc-4.0
    python -m facejax.export workdirs/demo --format=safetensors,stablehlo,onnx --out=exported --license=apache-2.0

safetensors: weights for PyTorch, under torchvision's names or those of the official code; facejax.load reads them too.
stablehlo: network and weights for JAX without facejax, on CPU, CUDA and TPU. onnx: for ONNX Runtime. All compute in
float32; FRA's and LEWEL's have the backbone, without the regions. Which licence the weights may have depends on the
images: VGGFace2, for one, allows research only.
"""

import argparse
import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from facejax import encoder_folder, paths
from facejax.command_line import Parser
from facejax.errors import report_user_errors
from facejax.files import write_atomically
from facejax.log_output import log_to_stderr
from facejax.progress import phase

if TYPE_CHECKING:
    from facejax.encoder import Encoder

CARD = "README.md"
NAMES = ("safetensors", "stablehlo", "onnx")


def parser() -> Parser:
    """The command line."""
    result = Parser("export", __doc__)
    result.add_argument(
        "encoder", metavar="ENCODER", help="what facejax.load takes: a workdir, a folder, a file, hf://"
    )
    result.add_argument(
        "--format", required=True, type=_formats, metavar="FORMAT[,...]", help=f"one or more of {', '.join(NAMES)}"
    )
    result.add_argument("--out", required=True, metavar="DIR", help="folder for the files, local or a URL")
    result.add_argument(
        "--license", required=True, type=_license, help="of the weights, as Hugging Face writes it: cc-by-nc-4.0, other"
    )
    return result


def _formats(text: str) -> list[str]:
    formats = list(dict.fromkeys(text.split(",")))
    if unknown := [name for name in formats if name not in NAMES]:
        raise argparse.ArgumentTypeError(f"there is no format '{unknown[0]}': there are {', '.join(NAMES)}")
    return formats


def _license(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", text):
        raise argparse.ArgumentTypeError(f"'{text}' is no identifier of a licence, such as cc-by-nc-4.0 or other")
    return text


def run(args: argparse.Namespace) -> None:
    """Exports as the arguments say.

    Raises:
      UserError: the encoder cannot be read or converted, a package is missing, or a file exists already.
    """
    out = paths.resolve(args.out, "--out")
    encoder_folder.check_free(out, CARD, encoder_folder.DESCRIPTION)
    with phase("Importing JAX"):
        from facejax import compilation_cache, model_card
        from facejax.encoder import load
        from facejax.export_formats import FORMATS

    formats = [FORMATS[name] for name in args.format]
    encoder_folder.check_free(out, *(format.FILE for format in formats))
    for format in formats:
        format.check()
    compilation_cache.enable()
    encoder = portable(load(args.encoder))
    files = {}
    for name, format in zip(args.format, formats, strict=True):
        with phase(f"Converting to {name}"):
            files[format.FILE] = format.convert(encoder)
    card = model_card.write(encoder, args.license, [format.usage(encoder) for format in formats])
    description = encoder.description() | {"license": args.license}
    if "safetensors" in args.format:
        from facejax.interop import encoder_keys

        description["keys"] = encoder_keys.naming(encoder.architecture)
    write_atomically(out / CARD, card)
    encoder_folder.write_files(out, description, files)
    for name, data in files.items():
        print(f"{out / name}: {len(data) / 1e6:.1f} MB")
    print(f"Look through {out / CARD} before you publish it")


def portable(encoder: "Encoder") -> "Encoder":
    """What others can run of an encoder: it computes in float32; of a ResNet that finds regions it is the backbone.

    Its card names data sets, not the folders that they lie in.
    """
    from facejax.architectures import PooledResNet
    from facejax.encoder import Encoder

    architecture = encoder.architecture
    if isinstance(architecture, PooledResNet):
        fields = dataclasses.fields(PooledResNet)
        architecture = PooledResNet(**{field.name: getattr(architecture, field.name) for field in fields})
    dtypes = [field.name for field in dataclasses.fields(architecture) if field.name.endswith("dtype")]
    architecture = dataclasses.replace(architecture, **dict.fromkeys(dtypes, "float32"))
    card = _without_folders({name: value for name, value in encoder.card.items() if name != "source"})
    return Encoder.create(architecture, encoder.variables, encoder.preprocessing, card)


def _without_folders(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_folders(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_folders(part) for part in value]
    if isinstance(value, str) and "/" in value:
        return value.rstrip("/").split("/")[-1]
    return value


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point; exit status 2 for an error of the user's."""
    log_to_stderr()
    with report_user_errors("export"):
        run(parser().parse_args(argv))


if __name__ == "__main__":
    main()
