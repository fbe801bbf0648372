"""The commands in README.md, docs/ and the docstrings of experiments/, word for word."""

import ast
import pathlib
import re

ROOT = pathlib.Path(__file__).parents[1]
PAGES = ("README.md", "CONTRIBUTING.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")))
COMMAND = re.compile(r"(python|pip|pytest)(\s|$)")


def of_page(page: str) -> list[str]:
    """Commands of fenced blocks and of inline code, in order, split at `&&`."""
    text = (ROOT / page).read_text()
    found = []
    for language, block, inline in re.findall(r"^```(\w*)\n(.*?)^```$|`([^`\n]+)`", text, re.DOTALL | re.MULTILINE):
        found += of_shell(inline if inline else "" if language else block)
    return list(dict.fromkeys(found))


def of_docstring(path: pathlib.Path) -> list[str]:
    """Commands in the docstring of a module."""
    return of_shell(ast.get_docstring(ast.parse(path.read_text())))


def of_shell(text: str) -> list[str]:
    """Commands of shell lines: lines that end in a backslash are joined, a here-document belongs to its command."""
    text = re.sub(r" *\\\n\s*", " ", text)
    commands = re.findall(r"^ *(python - <<'END'\n(?:.*\n)*?END$|\S.*)", text, re.MULTILINE)
    parts = [part for command in commands for part in ([command] if "\n" in command else command.split(" && "))]
    return [part.strip() for part in parts if COMMAND.match(part.strip())]


def of_converters() -> dict[str, str]:
    """The commands of the tables in docs/data_sets.md: data set -> converter and its options."""
    rows = re.findall(r"^\| (.+) \|$", (ROOT / "docs/data_sets.md").read_text(), re.MULTILINE)
    cells = [[cell.strip() for cell in row.split("|")] for row in rows]
    return {row[0]: row[4].split("`")[1] for row in cells if len(row) == 6 and "`" in row[4]}
