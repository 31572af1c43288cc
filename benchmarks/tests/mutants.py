"""Small changes to a module's meaning: what a test of it should notice.

One mutant is one node of the syntax tree in another form: a comparison at its boundary, an
operator, a number, a flag, a key, a bound, a statement left out. Annotations, decorators, the
keywords of a class, texts, `assert` and what only words an error are left alone: no test should
pin those.
"""

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

Variants = Iterator[ast.AST]

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}  # fmt: skip
TWINS = {"min": "max", "any": "all", "nanmin": "nanmax", "floor": "ceil", "minimum": "maximum"}
OTHER_NAMES = {**TWINS, **{new: old for old, new in TWINS.items()}, "sorted": "list"}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change: the node at a place of the walk, in one of its other forms."""

    path: str
    line: int
    place: int
    form: int
    change: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.change}"


def mutants(root: Path, path: str) -> list[Mutant]:
    """Return every mutant of a module, in order of its text."""
    tree = ast.parse((root / path).read_text())
    left_alone = {id(node) for skipped in _skipped(tree) for node in ast.walk(skipped)}
    found = []
    for place, node in enumerate(ast.walk(tree)):
        if id(node) in left_alone:
            continue
        for form, other in enumerate(forms(node)):
            found.append(Mutant(path, _line(node), place, form, _change(node, other)))
    return sorted(found, key=lambda each: (each.line, each.place, each.form))


def mutated(root: Path, mutant: Mutant) -> str:
    """Return the module's text with the change made (and without its comments)."""
    tree = ast.parse((root / mutant.path).read_text())
    old = next(node for place, node in enumerate(ast.walk(tree)) if place == mutant.place)
    new = list(forms(old))[mutant.form]
    return ast.unparse(ast.fix_missing_locations(_Exchange(old, new).visit(tree)))


class _Exchange(ast.NodeTransformer):
    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        return self.new if node is self.old else self.generic_visit(node)


def _line(node: ast.AST) -> int:
    return int(getattr(node.ifs[0] if isinstance(node, ast.comprehension) else node, "lineno", 0))


def _change(node: ast.AST, other: ast.AST) -> str:
    if isinstance(node, ast.If | ast.IfExp | ast.While):
        return f"{type(node).__name__.lower()} {_text(node.test)} -> not"
    return f"{_text(node)} -> {_text(other)}"


def _text(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 70 else f"{text[:67]}..."


def _skipped(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield what is left alone, with all below it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from node.decorator_list
        if isinstance(node, ast.ClassDef):
            yield from node.keywords
        for name in ("annotation", "returns", "format_spec"):
            if isinstance(below := getattr(node, name, None), ast.AST):
                yield below
        if isinstance(node, ast.Raise | ast.Assert) or _is_type_check(node) or _is_text(node):
            yield node


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_type_check(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def forms(node: ast.AST) -> Variants:
    """Yield the other forms of a node; the order is part of a mutant's name."""
    make = FORMS.get(type(node))
    if make is not None:
        yield from make(node)


def _changed(node: ast.AST, **fields: object) -> ast.AST:
    other = copy.deepcopy(node)
    for name, value in fields.items():
        setattr(other, name, value)
    return other


def _comparison(node: ast.Compare) -> Variants:
    for place, operator in enumerate(node.ops):
        ops = [*node.ops]
        ops[place] = COMPARISONS[type(operator)]()
        yield _changed(node, ops=ops)
    for place, side in enumerate(node.comparators):
        if isinstance(side, ast.Constant) and isinstance(side.value, str):
            sides = [*node.comparators]
            sides[place] = ast.Constant(f"{side.value}_")
            yield _changed(node, comparators=sides)


def _operation(node: ast.BinOp) -> Variants:
    if type(node.op) in OPERATORS:
        yield _changed(node, op=OPERATORS[type(node.op)]())


def _step(node: ast.AugAssign) -> Variants:
    yield ast.Pass()
    if type(node.op) in OPERATORS:
        yield _changed(node, op=OPERATORS[type(node.op)]())


def _logic(node: ast.BoolOp) -> Variants:
    yield _changed(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())


def _sign(node: ast.UnaryOp) -> Variants:
    if isinstance(node.op, ast.Not | ast.USub | ast.Invert):
        yield node.operand


def _number(node: ast.Constant) -> Variants:
    value = node.value
    if isinstance(value, bool):
        yield ast.Constant(not value)
    elif isinstance(value, int):
        yield ast.Constant(value + 1)
    elif isinstance(value, float):
        yield ast.Constant(value * 2 if value else 1.0)


def _condition(node: ast.If | ast.IfExp | ast.While) -> Variants:
    if not isinstance(node.test, ast.Constant):
        yield _changed(node, test=ast.UnaryOp(ast.Not(), node.test))


def _call(node: ast.Call) -> Variants:
    function = node.func
    if isinstance(function, ast.Name) and function.id in OTHER_NAMES:
        args = node.keywords if function.id != "sorted" else []
        yield _changed(node, func=ast.Name(OTHER_NAMES[function.id], ast.Load()), keywords=args)
    elif isinstance(function, ast.Attribute) and function.attr in OTHER_NAMES:
        yield _changed(node, func=_changed(function, attr=OTHER_NAMES[function.attr]))
    if isinstance(function, ast.Attribute) and function.attr == "get" and node.args:
        name = node.args[0]
        if isinstance(name, ast.Constant) and isinstance(name.value, str):
            yield _changed(node, args=[ast.Constant(f"{name.value}_"), *node.args[1:]])
    for place, keyword in enumerate(node.keywords):
        if keyword.arg is not None:
            yield _changed(node, keywords=node.keywords[:place] + node.keywords[place + 1 :])


def _key(node: ast.Subscript) -> Variants:
    if isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str):
        yield _changed(node, slice=ast.Constant(f"{node.slice.value}_"))
    if isinstance(node.slice, ast.Slice) and (node.slice.lower or node.slice.upper):
        yield _changed(node, slice=ast.Slice(None, None, node.slice.step))


def _keys(node: ast.Dict) -> Variants:
    for place, key in enumerate(node.keys):
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            keys = [*node.keys]
            keys[place] = ast.Constant(f"{key.value}_")
            yield _changed(node, keys=keys)


def _members(node: ast.Set) -> Variants:
    for place in range(len(node.elts)) if len(node.elts) > 1 else ():
        yield _changed(node, elts=node.elts[:place] + node.elts[place + 1 :])


def _result(node: ast.Return) -> Variants:
    if node.value is not None and not isinstance(node.value, ast.Constant):
        yield ast.Return(ast.Constant(None))


def _statement(_: ast.Expr) -> Variants:
    yield ast.Pass()


def _leave(node: ast.Continue | ast.Break) -> Variants:
    yield ast.Break() if isinstance(node, ast.Continue) else ast.Continue()


def _filter(node: ast.comprehension) -> Variants:
    for place in range(len(node.ifs)):
        yield _changed(node, ifs=node.ifs[:place] + node.ifs[place + 1 :])


FORMS: dict[type[ast.AST], Callable[..., Variants]] = {
    ast.Compare: _comparison, ast.BinOp: _operation, ast.AugAssign: _step, ast.BoolOp: _logic,
    ast.UnaryOp: _sign, ast.Constant: _number, ast.If: _condition, ast.IfExp: _condition,
    ast.While: _condition, ast.Call: _call, ast.Subscript: _key, ast.Dict: _keys,
    ast.Set: _members, ast.Return: _result, ast.Expr: _statement, ast.Continue: _leave,
    ast.Break: _leave, ast.comprehension: _filter,
}  # fmt: skip
