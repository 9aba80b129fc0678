"""Evaluates the formula of a `multi` grader: arithmetic over its graders' scores, and no other Python."""

import ast
import math
import operator
from collections.abc import Callable, Collection, Iterable, Mapping

BINARY: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: math.pow,  # it computes with floats and raises on overflow; integers would grow without limit
}
UNARY: dict[type[ast.unaryop], Callable[[float], float]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}
FUNCTIONS: dict[str, Callable[[float], float]] = {
    "abs": abs,
    "floor": math.floor,
    "ceil": math.ceil,
    "exp": math.exp,
    "sqrt": math.sqrt,
    "log": math.log,
}
CHOICES: dict[str, Callable[[Iterable[float]], float]] = {"min": min, "max": max}
MAX_DEPTH = 64


class FormulaError(Exception):
    """The text is not a formula, or the formula has no value; str() says why."""


class Formula:
    """A formula that was parsed and checked."""

    def __init__(self, text: str, names: Collection[str]) -> None:
        """Parse `text`, in which `names` are the graders' names and `^` is a power, as in OpenAI's formulas.

        Raises FormulaError if `text` is not arithmetic over these names.
        """
        try:
            self._tree = ast.parse(text.strip().replace("^", "**"), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise FormulaError("it is not an arithmetic expression") from error
        self._names = names
        self._check(self._tree, 0)

    def value(self, scores: Mapping[str, float]) -> float:
        """Return the value for these scores. Raises FormulaError if it has none, as in a division by zero."""
        try:
            value = self._value(self._tree, scores)
        except (ArithmeticError, ValueError) as error:
            raise FormulaError(f"it has no value: {error}") from error
        if not math.isfinite(value):
            raise FormulaError("its value is not finite")
        return value

    def _check(self, node: ast.expr, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise FormulaError("it is nested too deeply")
        match node:
            case ast.Constant(value=number) if type(number) in (int, float):
                inner: list[ast.expr] = []
            case ast.Name(id=name):
                if name not in self._names:
                    raise FormulaError(f"no grader is called {name!r}")
                inner = []
            case ast.BinOp(left=left, op=op, right=right) if type(op) in BINARY:
                inner = [left, right]
            case ast.UnaryOp(op=sign, operand=operand) if type(sign) in UNARY:
                inner = [operand]
            case ast.Call(func=ast.Name(id=name), args=[_] as inner, keywords=[]) if name in FUNCTIONS:
                pass
            case ast.Call(func=ast.Name(id=name), args=[_, *_] as inner, keywords=[]) if name in CHOICES:
                pass
            case _:
                functions = ", ".join([*CHOICES, *FUNCTIONS])
                raise FormulaError(
                    f"it may contain only numbers, the graders' names, + - * / ^ and {functions}"
                )
        for below in inner:
            self._check(below, depth + 1)

    def _value(self, node: ast.expr, scores: Mapping[str, float]) -> float:
        match node:
            case ast.Constant(value=int() | float() as number):
                return float(number)
            case ast.Name(id=name):
                return scores[name]
            case ast.BinOp(left=left, op=op, right=right):
                return BINARY[type(op)](self._value(left, scores), self._value(right, scores))
            case ast.UnaryOp(op=sign, operand=operand):
                return UNARY[type(sign)](self._value(operand, scores))
            case ast.Call(func=ast.Name(id=name), args=args):
                values = [self._value(arg, scores) for arg in args]
                return CHOICES[name](values) if name in CHOICES else float(FUNCTIONS[name](values[0]))
        raise AssertionError("the formula was checked")
