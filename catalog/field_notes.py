"""What the source says below each field of a class: its documentation, for pages and schemas."""

import ast
import inspect
import textwrap


def field_notes(of: type) -> dict[str, str]:
    """Return the string below each annotated field, in one line; fields without one are absent."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(of))).body[0]
    assert isinstance(tree, ast.ClassDef)
    notes, last = {}, ""
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            last = node.target.id
        elif _is_text(node) and last:
            assert isinstance(node, ast.Expr)
            assert isinstance(node.value, ast.Constant)
            notes[last] = " ".join(str(node.value.value).split())
            last = ""
        else:
            last = ""
    return notes


def _is_text(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
