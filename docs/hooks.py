"""MkDocs calls this while it builds the site: pages show code as it is in the repository, next to the paper's formula.

In a page, the comment `<!-- code: facejax/losses/byol.py byol: 2 - 2 * cosine -->` becomes the function without its
docstring, and the lines that contain the text after the second colon are highlighted. A function or a text that is not
there is an error, so a page cannot fall behind the code.
"""

import ast
import pathlib
import re
import textwrap

from mkdocs.exceptions import PluginError

ROOT = pathlib.Path(__file__).parents[1]
COMMENT = re.compile(r"^<!-- code: (\S+) ([\w.]+)(?:: (.+?))? -->$", re.MULTILINE)


def on_page_markdown(markdown: str, page, **_) -> str:
    """Replaces the comments by code."""
    return COMMENT.sub(lambda match: fenced(*match.groups(), page=page.file.src_path), markdown)


def fenced(path: str, name: str, text: str | None, *, page: str) -> str:
    """The code block of a function, `Class.function` for a method."""
    lines, first = function_lines(ROOT / path, name.split("."))
    if not lines:
        raise PluginError(f"{page}: {path} has no {name}")
    marked = [number for number, line in enumerate(lines, start=1) if text and text in line]
    if text and not marked:
        raise PluginError(f"{page}: {name} in {path} has no line with {text!r}")
    title = f'title="{path}, line {first}" hl_lines="{" ".join(map(str, marked))}"'
    return f"```python {title}\n{textwrap.dedent(chr(10).join(lines))}\n```"


def function_lines(path: pathlib.Path, name: list[str]) -> tuple[list[str], int]:
    """Lines of a function without its docstring, and the number of the first."""
    source = path.read_text()
    node = ast.parse(source)
    for part in name:
        found = [child for child in node.body if getattr(child, "name", None) == part]
        if not found:
            return [], 0
        node = found[0]
    lines = source.splitlines()
    head, body = lines[node.lineno - 1 : node.body[0].lineno - 1], lines[node.body[0].lineno - 1 : node.end_lineno]
    if ast.get_docstring(node):
        body = lines[node.body[0].end_lineno : node.end_lineno]
        body = body[bool(body and not body[0].strip()) :]
    return [*head, *body], node.lineno
