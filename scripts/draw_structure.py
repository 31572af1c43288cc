"""Draw docs/structure.svg: packages on their floors, as the import contracts have them.

    python scripts/draw_structure.py          writes docs/structure.svg

Floors are the `layers` contracts in pyproject.toml, texts the first lines of docstrings:
nothing is drawn that the checks do not hold. Standard library only.
"""

import ast
import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).parent.parent
FIGURE = ROOT / "docs" / "structure.svg"

WIDTH, MARGIN, GUTTER = 940, 26, 34
GAP, ROOM_GAP, PAD = 12, 8, 12
TEXT_PX, LINE_PX, FIRST_LINE_PX = 12, 16, 20
UNDER_NAME_PX = 3
STRIP_NAME_PX = 112
"""Where a text begins that stands beside its box's name."""
TOP_HUE, BOTTOM_HUE = 262, 172
HEADING = "Who may import whom"
CAPTION = "A floor may import those below it; boxes side by side import nothing of each other."

STYLE = """
  .page { fill: #ffffff } .room { fill: #ffffff; stroke: #d5dae3 }
  .box { fill: #f5f7fa; stroke: #d5dae3 } .arrow { stroke: #98a2b3; fill: none; stroke-width: 1.5 }
  text { font-family: system-ui, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; fill: #475467 }
  .head { font-size: 20px; font-weight: 600; fill: #101828 } .text { font-size: 12px }
  .name { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; font-size: 14px;
          font-weight: 600; fill: #101828 }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117 } .room { fill: #1c232d; stroke: #343d4a }
    .box { fill: #151b23; stroke: #343d4a } .arrow { stroke: #6b7686 }
    text { fill: #a9b4c2 } .head, .name { fill: #f0f4f9 }
  }
"""


@dataclass(frozen=True, slots=True)
class Box:
    """A package or a room of one: its name, its one idea, and the floors inside it, if drawn."""

    name: str
    idea: str
    floors: "tuple[Floor, ...]" = ()


Floor = tuple[Box, ...]


@dataclass(frozen=True, slots=True)
class Frame:
    """Where a box lies, in pixels."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Look:
    """How a stack of floors is drawn."""

    kind: str
    gap: float
    hue: float | None = None
    """One colour for all floors; None is a colour for each."""

    def hue_at(self, part: float) -> float:
        """Return the hue of a floor, from 0 for the topmost to 1."""
        return TOP_HUE + (BOTTOM_HUE - TOP_HUE) * part if self.hue is None else self.hue


PACKAGES = Look("box", GAP)


def contracts(root: Path = ROOT) -> dict[str, list[str]]:
    """Return the floors of each `layers` contract by what contains them; "" for the top level."""
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    layered = [c for c in settings["tool"]["importlinter"]["contracts"] if c["type"] == "layers"]
    return {holder: c["layers"] for c in layered for holder in c.get("containers", [""])}


def idea(module: str, root: Path = ROOT) -> str:
    """Return the first line of a package's or a module's docstring."""
    path = root.joinpath(*module.split("."))
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    said = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8")))
    if not said:
        raise ValueError(f"{source}: no docstring says what this is")
    return said.splitlines()[0].replace("`", "")


def floors(holder: str = "", root: Path = ROOT) -> tuple[Floor, ...]:
    """Read the floors of a package from its contract, top first; none where it has no contract.

    A package alone on its floor has its rooms drawn in it, one beside others has them named; what
    is inside a room is left to the room.
    """

    def box(name: str, alone: bool) -> Box:
        module = f"{holder}.{name}".lstrip(".")
        rooms = () if holder else floors(module, root)
        if alone or not rooms:
            return Box(name, idea(module, root), rooms)
        named = " > ".join(", ".join(room.name for room in floor) for floor in rooms)
        return Box(name, f"{idea(module, root)} Rooms: {named}.", ())

    listed = [re.split(r"[|:]", layer) for layer in contracts(root).get(holder, [])]
    return tuple(tuple(box(n.strip(" ()"), len(names) == 1) for n in names) for names in listed)


def text_px(text: str, size: float = TEXT_PX) -> float:
    """Estimate a text's width from above: no font is at hand where this is drawn."""
    return size * sum(
        0.36 if c in " iljtfrI.,:;'|!()[]" else 0.9 if c in "mwMW" else 0.72 if c.isupper() else 0.6
        for c in text
    )


def wrapped(text: str, width: float) -> list[str]:
    """Break a text into lines that fit."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and text_px(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def inner(width: float) -> float:
    return width - 2 * PAD


def column_px(floor: Floor, width: float, gap: float) -> float:
    """Return the width of one box of a floor."""
    return (width - gap * (len(floor) - 1)) / len(floor)


def is_strip(box: Box, alone: bool, width: float) -> bool:
    """Whether name and idea stand in one line."""
    return alone and not box.floors and text_px(box.idea) <= width - STRIP_NAME_PX - PAD


def text_height(box: Box, width: float) -> float:
    """Return how far down the text goes that stands below a box's name."""
    return FIRST_LINE_PX + UNDER_NAME_PX + LINE_PX * len(wrapped(box.idea, inner(width)))


def floor_height(floor: Floor, width: float, gap: float) -> float:
    """Return what the tallest box of a floor needs."""
    column = column_px(floor, width, gap)
    heights = []
    for box in floor:
        if is_strip(box, len(floor) == 1, column):
            heights.append(FIRST_LINE_PX + PAD)
            continue
        rooms = stack_height(box.floors, inner(column), ROOM_GAP) + PAD if box.floors else 0
        heights.append(text_height(box, column) + rooms + PAD)
    return max(heights)


def stack_height(stack: Sequence[Floor], width: float, gap: float) -> float:
    return sum(floor_height(floor, width, gap) for floor in stack) + gap * (len(stack) - 1)


def tops(stack: Sequence[Floor], frame: Frame, gap: float) -> Iterator[tuple[Floor, Frame]]:
    """Yield each floor with its place, from the top down."""
    y = frame.y
    for floor in stack:
        height = floor_height(floor, frame.width, gap)
        yield floor, Frame(frame.x, y, frame.width, height)
        y += height + gap


def label(x: float, y: float, kind: str, text: str) -> str:
    return f'<text class="{kind}" x="{x:g}" y="{y:g}">{escape(text)}</text>'


def draw_texts(box: Box, frame: Frame, alone: bool) -> Iterator[str]:
    """Yield a box's name, and its idea beside or below it."""
    left, base = frame.x + PAD, frame.y + FIRST_LINE_PX
    yield label(left, base, "name", box.name)
    if is_strip(box, alone, frame.width):
        yield label(frame.x + STRIP_NAME_PX, base, "text", box.idea)
        return
    for number, line in enumerate(wrapped(box.idea, inner(frame.width)), 1):
        yield label(left, base + UNDER_NAME_PX + LINE_PX * number, "text", line)


def draw_box(box: Box, frame: Frame, kind: str, hue: float) -> Iterator[str]:
    """Yield a box's frame, the colour of its floor, and the rooms inside."""
    x, y, width, height = frame.x, frame.y, frame.width, frame.height
    size = f'width="{width:g}" height="{height:g}"'
    yield f'<rect class="{kind}" x="{x:g}" y="{y:g}" {size} rx="7"/>'
    bar = f'x="{x:g}" y="{y + 7:g}" width="3" height="{height - 14:g}"'
    yield f'<rect {bar} rx="1.5" fill="hsl({hue:.0f} 62% 56%)"/>'
    if box.floors:
        top = y + text_height(box, width) + PAD
        rooms = Frame(x + PAD, top, inner(width), y + height - PAD - top)
        yield from draw_stack(box.floors, rooms, Look("room", ROOM_GAP, hue))


def draw_stack(stack: Sequence[Floor], frame: Frame, look: Look) -> Iterator[str]:
    """Yield floors from the top down, each as wide as the frame."""
    for step, (floor, place) in enumerate(tops(stack, frame, look.gap)):
        hue = look.hue_at(step / max(1, len(stack) - 1))
        width = column_px(floor, place.width, look.gap)
        for column, box in enumerate(floor):
            its = Frame(place.x + column * (width + look.gap), place.y, width, place.height)
            yield from draw_box(box, its, look.kind, hue)
            yield from draw_texts(box, its, len(floor) == 1)


def draw_arrows(stack: Sequence[Floor], frame: Frame) -> Iterator[str]:
    """Yield one arrow a floor, from beside its name down to the next."""
    x = frame.x - GUTTER / 2
    levels = [place.y + FIRST_LINE_PX - 5 for _, place in tops(stack, frame, GAP)]
    for upper, lower in pairwise(levels):
        yield f'<path class="arrow" d="M{x:g} {upper + 4:g}V{lower - 5:g}m-4 -5l4 5l4 -5"/>'
    for level in levels:
        yield f'<circle class="arrow" cx="{x:g}" cy="{level:g}" r="2.5"/>'


def draw(root: Path = ROOT) -> str:
    """Return the whole figure as SVG."""
    stack, width = floors(root=root), WIDTH - 2 * MARGIN - GUTTER
    frame = Frame(MARGIN + GUTTER, MARGIN + 52, width, stack_height(stack, width, GAP))
    size = f'width="{WIDTH}" height="{frame.y + frame.height + MARGIN:g}"'
    box = f"0 0 {WIDTH} {frame.y + frame.height + MARGIN:g}"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" {size} role="img">',
        f"<title>{HEADING}</title><desc>{CAPTION}</desc>",
        f"<style>{STYLE}</style>",
        f'<rect class="page" {size} rx="10"/>',
        label(MARGIN, MARGIN + 16, "head", HEADING),
        label(MARGIN, MARGIN + 37, "text", CAPTION),
        *draw_arrows(stack, frame),
        *draw_stack(stack, frame, PACKAGES),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    FIGURE.write_text(draw(), encoding="utf-8")
    print(FIGURE.relative_to(ROOT))
