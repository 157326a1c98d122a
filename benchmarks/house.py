"""How the code is built, at one or several commits: sizes, functions, comments, circles, words.

    python -m benchmarks.house 890163f HEAD

Everything is read from git, so that the figures before and after a change come from one run.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import PurePosixPath

import numpy as np
import pandas as pd

PACKAGE = "sklearn_lntune"
#: What each word stands for, and the rooms that may name it.
WORDS = {
    "padding (pad_id)": (r"\bpad_id\b", ("text/", "inputs/")),
    "model inputs (input_ids, attention_mask)": (
        r"\b(input_ids|attention_mask)\b",
        ("text/", "inputs/"),
    ),
    "encoded targets (codes, targets)": (r"\b(codes|targets)\b", ("task/",)),
    "learning rates (lr)": (r"\blr\b", ("training/",)),
}


def sources(commit: str) -> dict[PurePosixPath, str]:
    """Every Python file of ``commit``."""
    listed = subprocess.run(
        ["git", "ls-tree", "-r", "--name-only", commit], check=True, capture_output=True, text=True
    ).stdout.split()
    return {
        PurePosixPath(path): subprocess.run(
            ["git", "show", f"{commit}:{path}"], check=True, capture_output=True, text=True
        ).stdout
        for path in listed
        if path.endswith(".py")
    }


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef]:
    """All functions and methods."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            yield node


def body_lines(function: ast.FunctionDef) -> int:
    """Lines of the body without its docstring."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def n_parameters(function: ast.FunctionDef) -> int:
    """Parameters without ``self``."""
    names = [a.arg for a in (*function.args.posonlyargs, *function.args.args)]
    return len([n for n in names if n not in ("self", "cls")]) + len(function.args.kwonlyargs)


def comments_and_code(text: str) -> tuple[int, int]:
    """Lines with a comment, and lines with code (neither docstring nor blank)."""
    comments, code = set(), set()
    skipped = (tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    documented = {
        line
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            comments.add(token.start[0])
        elif token.type not in skipped:
            code |= set(range(token.start[0], token.end[0] + 1)) - documented
    return len(comments), len(code)


def circles(files: dict[PurePosixPath, str]) -> list[str]:
    """Modules that import each other in a circle, wherever in the file they import."""
    names = {".".join(path.with_suffix("").parts): text for path, text in files.items()}
    edges: dict[str, set[str]] = {}
    for name, text in names.items():
        found: set[str] = set()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and node.module:
                found |= {node.module, *(f"{node.module}.{each.name}" for each in node.names)}
        edges[name] = {each for each in found if each in names and each != name}

    def reach(start: str) -> set[str]:
        seen: set[str] = set()
        ahead = list(edges[start])
        while ahead:
            if (at := ahead.pop()) not in seen:
                seen.add(at)
                ahead += edges[at]
        return seen

    return sorted(name for name in names if name in reach(name))


def measure(commit: str) -> dict[str, float]:
    """All figures of ``commit``."""
    files = sources(commit)
    package = {path: text for path, text in files.items() if path.parts[0] == PACKAGE}
    lines = [text.count("\n") for text in package.values()]
    found = [each for text in package.values() for each in functions(ast.parse(text))]
    bodies = [body_lines(each) for each in found]
    counted = np.array([comments_and_code(text) for text in package.values()])
    figures: dict[str, float] = {
        "lines of package": sum(lines),
        **{
            f"lines of {room}": sum(t.count("\n") for p, t in files.items() if p.parts[0] == room)
            for room in ("tests", "benchmarks")
        },
        "modules": len(package),
        "module lines, median": float(np.median(lines)),
        "module lines, largest": max(lines),
        "function body lines, median": float(np.median(bodies)),
        "function body lines, 90 %": float(np.quantile(bodies, 0.9)),
        "function body lines, largest": max(bodies),
        "parameters of a function, most": max(map(n_parameters, found)),
        "comments per 100 code lines": round(100 * counted[:, 0].sum() / counted[:, 1].sum(), 1),
        "modules in import circles": len(circles(package)),
    }
    for name, (word, rooms) in WORDS.items():
        inside = tuple(f"{PACKAGE}/{room}" for room in rooms)
        figures[f"files outside {'/'.join(rooms).replace('//', ', ')} that name {name}"] = sum(
            bool(re.search(word, text)) and not str(path).startswith(inside)
            for path, text in package.items()
        )
    return figures


if __name__ == "__main__":
    commits = sys.argv[1:] or ["HEAD"]
    print(pd.DataFrame({commit: measure(commit) for commit in commits}).to_markdown())
