"""Tables for a terminal of any width: words stay whole, and the texts of cells are plain, not markup."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING

from ganealogy.errors import printable

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.table import Table
    from rich.text import Text

GAP = 2
"""Columns of space between columns of a table without a box."""
BOX_PER_COLUMN = 3
LONGEST_WORD = 34
"""Columns that a word is given at least; a longer one is folded."""
INDENT, INDENT_SHARE = 2, 1 / 6
"""Columns per generation, less where the deepest one would be indented by more than this share of the width."""


@dataclass(frozen=True)
class Column:
    heading: str
    right: bool = False
    wraps: bool = False
    """Between words; any other column stays on one line."""
    spare: int = 0
    """Where there is no room, columns go in descending order of this number; those with 0 stay."""


@dataclass(frozen=True)
class Fitted:
    """A table that takes its layout from the width in which it is printed: with a box if everything fits beside it."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    title: str = ""
    caption: str = ""
    bold: set[int] = field(default_factory=set)
    """Indices of rows."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self.table(options.max_width)

    def table(self, width: int) -> Table:
        """Return the table in `width` columns."""
        from rich.box import HEAVY_HEAD
        from rich.table import Table

        cells = [[text(cell) for cell in row] for row in self.rows]
        texts = [[column.heading, *(row[at].plain for row in cells)] for at, column in enumerate(self.columns)]
        natural = [widest(chain.from_iterable(map(str.splitlines, each))) for each in texts]
        least = [
            min(whole, LONGEST_WORD, widest(chain.from_iterable(map(str.split, each)))) if column.wraps else whole
            for column, whole, each in zip(self.columns, natural, texts, strict=True)
        ]
        shown = list(range(len(self.columns)))
        while _taken(least, shown) > width and (spare := [at for at in shown if self.columns[at].spare]):
            shown.remove(max(spare, key=lambda at: self.columns[at].spare))
        boxed = sum(natural) + BOX_PER_COLUMN * len(natural) + 1 <= width and len(shown) == len(natural)
        made = Table(
            title=text(self.title) if self.title else None, title_justify="left", title_style="bold" if boxed else "",
            caption=text(self.caption) if self.caption else None, caption_justify="left",
            box=HEAVY_HEAD if boxed else None, pad_edge=boxed, padding=(0, 1) if boxed else (0, GAP, 0, 0),
            header_style="bold" if boxed else "dim", min_width=None if boxed else min(width, _TITLE),
        )  # fmt: skip
        widths = _shared_out(natural, least, shown, width)
        for at in shown:
            column = self.columns[at]
            made.add_column(
                text(column.heading), justify="right" if column.right else "left", width=widths[at],
                no_wrap=not column.wraps, overflow="fold" if column.wraps else "ellipsis",
            )  # fmt: skip
        for index, row in enumerate(cells):
            made.add_row(*(row[at] for at in shown), style="bold" if index in self.bold else "")
        return made


_TITLE = 60
"""Columns that a title or a caption below a narrow table may take."""


def text(content: str) -> Text:
    """Return a text for rich as it is: not as markup, and without control characters."""
    from rich.text import Text

    return Text(printable(content))


def widest(texts: Iterable[str]) -> int:
    """Return the columns that the widest of these lines takes."""
    from rich.cells import cell_len

    return max(map(cell_len, texts), default=0)


def indent(depth: int, deepest: int, width: int) -> str:
    """Return the space before a generation of a tree whose deepest one is `deepest`."""
    return " " * int(depth * min(INDENT, width * INDENT_SHARE / max(1, deepest)))


def _taken(widths: Sequence[int], shown: Sequence[int]) -> int:
    return sum(widths[at] for at in shown) + GAP * (len(shown) - 1)


def _shared_out(natural: Sequence[int], least: Sequence[int], shown: Sequence[int], width: int) -> list[int]:
    """Return the widths: each column the least, and what is left where most is lacking."""
    widths = list(least)
    while (room := width - _taken(widths, shown)) < 0 and max(widths[at] for at in shown) > 1:
        widths[max(shown, key=widths.__getitem__)] -= 1
    for _ in range(room):
        at = max(shown, key=lambda at: natural[at] - widths[at])
        if widths[at] < natural[at]:
            widths[at] += 1
    return widths
