"""What a config may hold: each key's type, range and a sentence, for all methods; checked before anything is computed.

fields.py       types of values, in code for pydantic and in words for people
experiment.py   what all experiments have: data, mesh, checkpoints, cadences
methods.py      what each method adds
check.py        a config against all that
description.py  the same as text: --helpconfig and docs/config.md
"""
