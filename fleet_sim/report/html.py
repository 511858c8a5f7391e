"""Pieces of HTML. Every text goes through `escape`; only `Html` goes in as it is."""

import html
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def escape(value: object) -> Html:
    """Markup stays; anything else becomes text, safe in elements and quoted attributes."""
    return value if isinstance(value, Html) else Html(html.escape(str(value), quote=True))


def tag(name: str, *children: object, **attributes: object) -> Html:
    """An element. `class_` is `class`, `aria_label` is `aria-label`; None leaves one out."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Html(f"<{name}{written}>{join(children)}</{name}>")


def join(children: Iterable[object]) -> Html:
    return Html("".join(escape(child) for child in children))


def metric_name(text: str) -> Html:
    """A metric's name as `code` that a narrow page breaks at its joints, and not in a word."""
    return Html(re.sub("([_{,:=])(?=.)", r"\1<wbr>", tag("code", text)))


def section(anchor: str, title: str, *children: object) -> Html:
    return tag(
        "section",
        tag("h2", title, id=f"{anchor}-title"),
        *children,
        id=anchor,
        aria_labelledby=f"{anchor}-title",
    )


def missing(sentence: str) -> Html:
    """What stands where a piece of the run folder is not there."""
    return tag("p", sentence, class_="missing")


def table(
    caption: str,
    head: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    numbers_from: int = 1,
) -> Html:
    """A table whose first column heads its rows. Columns from `numbers_from` on align right."""

    def column(i: int) -> str | None:
        return "number" if i >= numbers_from else None

    header = [tag("th", text, scope="col", class_=column(i)) for i, text in enumerate(head)]
    body = []
    for first, *rest in rows:
        cells = [tag("td", value, class_=column(i)) for i, value in enumerate(rest, start=1)]
        body.append(tag("tr", tag("th", first, scope="row"), *cells))
    whole = tag(
        "table",
        tag("caption", caption),
        tag("thead", tag("tr", *header)),
        tag("tbody", *body),
    )
    # A wide table scrolls by itself; the page never does. Reachable by keyboard for that.
    return tag("div", whole, class_="scroll", tabindex=0, role="region", aria_label=caption)


def data(value: Any, **attributes: object) -> Html:
    """JSON for the page's script; no text inside can end the element."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    safe = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return tag("script", Html(safe), type="application/json", **attributes)
