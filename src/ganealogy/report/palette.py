"""One colour per version, the same in every chart, table and tree.

Twenty hues, ordered so that neighbours differ for people with protanopia and deuteranopia too. Twenty hues cannot all
be distinct for everyone, so lines are also dashed from the eleventh on, and the version's name is beside every colour.
Each pair has a contrast of at least 3:1 with its background (WCAG 2.2, 1.4.11), which a test checks.
"""

from __future__ import annotations

LIGHT = (
    "#1f6fb4", "#d2500c", "#11805a", "#c2408f", "#a87400", "#6a4cc4", "#0f8a9f", "#7a4a2b", "#5c6878", "#a3182f",
    "#173a78", "#5f6b12", "#a050d4", "#1d4d34", "#d94a70", "#8f3d10", "#4a82c0", "#6b1f5c", "#5f8a14", "#2a2d33",
)  # fmt: skip
DARK = (
    "#6cb0ee", "#ff8b52", "#4cc397", "#f083c3", "#e3b341", "#a78ff5", "#52cfe4", "#c79a76", "#a3b0c2", "#f2707f",
    "#7f9fe8", "#b9c75a", "#d29cf5", "#7fb899", "#ff9db3", "#e0956a", "#a5c9f2", "#cf86c0", "#b4dd63", "#d9dce1",
)  # fmt: skip
DASHES = ("solid", "dash", "dot", "dashdot")
"""Line styles in plotly's names; each is used for ten versions."""


def colour(index: int) -> tuple[str, str]:
    """Return (colour on a light page, on a dark page) as #rrggbb."""
    return LIGHT[index % len(LIGHT)], DARK[index % len(DARK)]


def dash(index: int) -> str:
    return DASHES[index // 10 % len(DASHES)]
