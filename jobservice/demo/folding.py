"""Long lines on a narrow terminal: folded between words, what follows indented below what it belongs to. Pure."""

import textwrap

_NARROWEST = 40
"""Below this many columns nothing is readable anyway, and an indent would only make it worse."""


def folded(line: str, width: int, indent: int) -> str:
    """The line, or several of at most `width` columns. Leading blanks and those inside stay as they are."""
    if len(line) <= width:
        return line
    return "\n".join(
        textwrap.wrap(
            line,
            max(width, _NARROWEST),
            subsequent_indent=" " * indent,
            replace_whitespace=False,
            drop_whitespace=True,
            break_on_hyphens=False,
        )
    )
