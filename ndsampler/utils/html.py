"""Tables that notebooks show for the objects of this library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ndsampler.errors import escape_controls

if TYPE_CHECKING:
    from collections.abc import Mapping


def html_table(title: str, rows: Mapping[str, object]) -> str:
    """Return a small table as HTML. Control characters of names are escaped.

    Args:
        title: caption of the table.
        rows: names and values. Rows with None are left out, and numbers get thousands separators.

    Example:
        >>> html_table('images', {'count': 1200, 'folder': None})
        '<table><caption>images</caption><tr><th>count</th><td>1,200</td></tr></table>'
    """
    cells = [(name, _text(value)) for name, value in rows.items() if value is not None]
    lines = [f"<tr><th>{_escape(name)}</th><td>{_escape(text)}</td></tr>" for name, text in cells]
    return f"<table><caption>{_escape(title)}</caption>{''.join(lines)}</table>"


class HtmlSummary:
    """Base class of objects that notebooks show as a table of their ``summary``."""

    def summary(self) -> dict[str, Any]:
        """Return the content of the table."""
        return {}

    def _repr_html_(self) -> str:
        """Return :meth:`summary` as a table for notebooks."""
        return html_table(type(self).__name__, self.summary())


def _escape(text: str) -> str:
    """Return text without control characters and without the syntax of HTML."""
    from html import escape

    return escape(escape_controls(text, keep=""))


def _text(value: object) -> str:
    """Return a value as text for a cell."""
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
