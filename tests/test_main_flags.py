"""What can be wrong with a command line or a config file is one line, before JAX is even imported."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
FILES = {
    "empty": "",
    "syntax": "import math\n\ndef get_config(:\n    pass\n",
    "imports": "import no_such_module\n",
    "nothing": "def get_config(arg=None):\n    pass\n",
    "dict": "def get_config(arg=None):\n    return {}\n",
    "raises": "def get_config(arg=None):\n    factor = 0\n    return 1 / factor\n",
    "key": "import ml_collections\ndef get_config():\n    config = ml_collections.ConfigDict()\n    config.a.b = 1\n",
    "refuses": "def get_config(arg=None):\n    raise ValueError(f'the argument is small, not {arg}')\n",
    "plain": "import ml_collections\ndef get_config():\n    return ml_collections.ConfigDict({'seed': 0})\n",
}
CASES = {  # arguments, what is said
    "--config=empty.py --workdir=run": "--config=empty.py: empty.py has no function get_config(arg=None)",
    "--config=syntax.py --workdir=run": "syntax.py, line 3: invalid syntax",
    "--config=imports.py --workdir=run": "imports.py, line 1: ModuleNotFoundError: No module named 'no_such_module'",
    "--config=nothing.py --workdir=run": "--config=nothing.py: get_config returns nothing",
    "--config=dict.py --workdir=run": "--config=dict.py: get_config returns a dict; it must return an ml_collections",
    "--config=raises.py --workdir=run": "--config=raises.py: raises.py, line 3: ZeroDivisionError: division by zero",
    "--config=raises.py:big --workdir=run": "raises.py, line 3: ZeroDivisionError: division by zero",
    "--config=key.py --workdir=run": "key.py, line 4: AttributeError: ",
    "--config=refuses.py:big --workdir=run": "--config=refuses.py:big: the argument is small, not big",
    "--config=plain.py:big --workdir=run": "--config=plain.py:big: get_config() takes 0 positional arguments but 1 was",
    "--config=none.py --workdir=run": "--config=none.py: there is no file none.py",
    "--config= --workdir=run": "--config is empty: python -m facejax.main --config=experiments/NAME.py",
    "--workdir=run": "--config is missing: python -m facejax.main --config=experiments/NAME.py",
    "--config=plain.py": "--workdir is missing: python -m facejax.main",
    "--config=plain.py --workdir=": "--workdir is empty: python -m facejax.main",
    "--config plain.py --workdir ": "--workdir is empty: python -m facejax.main",
    "--config=plain.py --workdir=run train": "unexpected argument 'train'",
    "--config=plain.py --workdirs=run": "Unknown command line flag 'workdirs'",
}
SCRIPT = """
import json, sys
from facejax import main
from facejax.errors import UserError

said = {}
for arguments in json.loads(sys.argv[1]):
    try:
        main.FLAGS.unparse_flags()
        for name in ("config", "workdir"):
            main.FLAGS[name].unparse()
        main.parse_flags(["main", *arguments.split(" ")])
        said[arguments] = "nothing"
    except UserError as error:
        said[arguments] = str(error)
print(json.dumps({"said": said, "jax": "jax" in sys.modules}))
"""


@pytest.fixture(scope="module")
def parsed(tmp_path_factory):
    """All in one process: most of its time it imports."""
    folder = tmp_path_factory.mktemp("configs")
    for name, content in FILES.items():
        (folder / f"{name}.py").write_text(content)
    command = [sys.executable, "-c", SCRIPT, json.dumps([*CASES, "--config=plain.py --workdir=run"])]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout.splitlines()[-1])


@pytest.mark.parametrize("arguments", CASES)
def test_one_line(parsed, arguments):
    said = parsed["said"][arguments]
    assert CASES[arguments] in said
    assert len(said.splitlines()) == 1


def test_nothing_is_said_of_what_is_right_and_jax_is_not_imported(parsed):
    assert parsed["said"]["--config=plain.py --workdir=run"] == "nothing"
    assert not parsed["jax"]
