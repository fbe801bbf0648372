"""The base of what reads pickles: an unpickler to which a file cannot say what to run."""

import io
import pickle
from collections.abc import Mapping
from typing import Any, ClassVar

_PLAIN = """PROTO FRAME STOP MARK POP POP_MARK NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT
BINFLOAT STRING BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8 UNICODE BINUNICODE
SHORT_BINUNICODE BINUNICODE8 EMPTY_LIST LIST APPEND APPENDS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 GET BINGET
LONG_BINGET PUT BINPUT LONG_BINPUT MEMOIZE GLOBAL STACK_GLOBAL REDUCE""".split()


def instructions(*names: str) -> dict[int, Any]:
    """The code of each of these pickle instructions, and what carries it out."""
    return {getattr(pickle, name)[0]: pickle._Unpickler.dispatch[getattr(pickle, name)[0]] for name in names}


class RestrictedUnpickler(pickle._Unpickler):
    """Knows the instructions that build plain values, and calls nothing but `constructors`.

    A pickle is a program for a small stack machine. This is the one in Python: unlike that in C it can be told which
    instructions there are, and a huge index into its memo, a dict, reserves no memory. Subclasses may add instructions.

    Args:
      stream: of the pickle; after `load` it is where the pickle ends.
      encoding: of the strings of Python 2; "bytes" leaves them bytes.

    Attributes:
      constructors: (module, name) in the file -> what stands for it here.
    """

    constructors: ClassVar[Mapping[tuple[str, str], Any]] = {}
    dispatch: ClassVar[dict[int, Any]] = instructions(*_PLAIN)

    def __init__(self, stream: io.BytesIO, encoding: str = "utf-8"):
        super().__init__(stream, encoding=encoding)

    def find_class(self, module, name):
        """Raises UnpicklingError for what is not in `constructors`."""
        if (module, name) not in self.constructors:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not allowed")
        return self.constructors[module, name]

    def load(self):
        """The value in the pickle.

        Raises:
          ValueError: the pickle is damaged, or asks for anything that is not allowed.
        """
        try:
            return super().load()
        except KeyError as error:
            raise ValueError(
                f"the pickle has an instruction or a reference that is not allowed ({error!s:.80})"
            ) from error
        except Exception as error:  # whatever the stack machine stumbles over in a file made to deceive
            reason = str(error)[:200] or type(error).__name__
            raise ValueError(f"the pickle is damaged or not allowed: {reason}") from error
