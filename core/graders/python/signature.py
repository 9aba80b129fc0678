"""Finds what is wrong with the source of a grader before it is run, by its syntax tree.

To parse a hostile source may take much memory or overflow the stack, so only a process of its own calls this.
"""

import ast


def wrong_with(source: str) -> str | None:
    """Return what is wrong with the source, with its line, or None if it defines `grade(sample, item)`."""
    try:
        tree = ast.parse(source)
        compile(
            tree, "<grader>", "exec"
        )  # it refuses what only looks like Python, such as a return outside of a function
    except SyntaxError as error:
        return f"line {error.lineno}: {type(error).__name__}: {error.msg}"
    except ValueError as error:
        return f"it is not a text of Python: {error}"
    except (RecursionError, MemoryError):
        return "it is nested too deeply, or too large"
    found = [node for node in tree.body if getattr(node, "name", None) == "grade"]
    if not found:
        return "it defines no function 'grade(sample, item)' at its top level"
    grade = found[-1]
    if not isinstance(grade, ast.FunctionDef):
        return f"line {grade.lineno}: 'grade' must be an ordinary function, defined by 'def'"
    if not _takes_two(grade.args):
        return f"line {grade.lineno}: 'grade' must take two arguments, the sample and the item"
    return None


def _takes_two(arguments: ast.arguments) -> bool:
    """Return whether a function can be called with two arguments by their positions."""
    most = len(arguments.posonlyargs) + len(arguments.args)
    least = most - len(arguments.defaults)
    enough = most >= 2 or arguments.vararg is not None
    return enough and least <= 2 and None not in arguments.kw_defaults
