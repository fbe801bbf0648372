"""The keys of a config, with type, range and a sentence each, for all methods; checked before anything is computed.

fields.py       types of values, in code for pydantic and in words for people
experiment.py   what all experiments have: data, mesh, checkpoints, cadences
methods.py      what each method adds
check.py        checks a config against these
description.py  the schema as text: --helpconfig and docs/config.md
"""
