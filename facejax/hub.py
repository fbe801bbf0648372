"""Encoders on the Hugging Face Hub, `hf://ORG/NAME[@REVISION]`, downloaded once into its cache."""

import os
import re

from etils import epath

from facejax import encoder_folder
from facejax.errors import UserError

SCHEME = "hf://"
# In order of preference, if there is no encoder of facejax.
WEIGHTS = ("model.safetensors", "*.safetensors", "*.pth", "*.pt", "*.tar", "pytorch_model.bin")
OURS = (encoder_folder.DESCRIPTION, encoder_folder.WEIGHTS)


def is_on_hub(source: epath.PathLike) -> bool:
    """Whether a source is on the Hub."""
    return os.fspath(source).startswith(SCHEME)


def download(source: str) -> epath.Path:
    """Folder of an encoder, or a file with weights, on this machine.

    Raises:
      UserError: the source is malformed, huggingface_hub is missing, nothing is there, or it cannot be reached.
    """
    match = re.fullmatch(r"hf://(\w[\w.-]*/\w[\w.-]*)(?:@([\w./-]+))?", source)
    if match is None:
        raise UserError(f"{source}: a repository of the Hub is named hf://ORG/NAME or hf://ORG/NAME@REVISION")
    try:
        import huggingface_hub
    except ImportError as error:
        raise UserError(f"{source} needs huggingface_hub ({error}): pip install 'facejax[hf]'") from error
    repository, revision = match.groups()

    def fetch(*names: str) -> epath.Path:
        try:
            return epath.Path(huggingface_hub.snapshot_download(repository, revision=revision, allow_patterns=[*names]))
        except Exception as error:  # the client has dozens of error classes
            reason = next(iter(str(error).splitlines()), "")
            raise UserError(f"{source} cannot be fetched: {type(error).__name__}: {reason:.200}") from error

    folder = fetch(*OURS)
    if encoder_folder.exists(folder):
        return folder
    for pattern in WEIGHTS:
        found = sorted(fetch(pattern).glob(pattern))
        if len(found) > 1:
            names = ", ".join(path.name for path in found)
            raise UserError(f"{source} has several files with weights: {names}; download one and name it")
        if found:
            return found[0]
    raise UserError(f"{source} has neither {encoder_folder.DESCRIPTION} nor a file with weights")
