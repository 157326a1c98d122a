"""Check the links within the built site: ``python docs/check_links.py docs/_build/html``."""

from __future__ import annotations

import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The links of a page, and the places in it that a link can name."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.places: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note links, ids and names."""
        for name, value in attrs:
            if value and name in ("href", "src"):
                self.links.append(value)
            elif value and name in ("id", "name"):
                self.places.add(value)


@cache
def read(file: Path) -> Page:
    """The page in ``file``."""
    page = Page()
    page.feed(file.read_text("utf-8"))
    return page


def broken(folder: Path) -> list[str]:
    """What is wrong with the links of each page in ``folder``."""
    found = []
    for file in sorted(folder.rglob("*.html")):
        if "_static" in file.parts:  # templates of the theme
            continue
        for link in read(file).links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or link == "#":
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            if not target.exists():
                found.append(f"{file.relative_to(folder)}: {link} is not there")
                continue
            is_page = target.suffix == ".html"
            if parts.fragment and is_page and unquote(parts.fragment) not in read(target).places:
                found.append(f"{file.relative_to(folder)}: {link} names no place of that page")
    return found


if __name__ == "__main__":
    faults = broken(Path(sys.argv[1]))
    sys.exit("\n".join(faults) or 0)
