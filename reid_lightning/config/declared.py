"""What a class or function says of itself beside its signature: which settings it does not read.

The one who leaves a setting unread knows it best, so it says so where it is defined:

    @ignores("margin", "the soft margin takes its place", soft_margin=True)
    class TripletLoss: ...

    @replaces("pooling", "bilinear pooling takes its place")
    class PoseBilinear: ...
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

_Declaring = TypeVar("_Declaring", bound=Callable[..., Any])


@dataclass(frozen=True)
class Unread:
    """A setting that is not read under a condition.

    Attributes:
        name: An own argument, or a group of the config.
        is_group: Which of both.
        why: Completes "NAME has no effect: ...".
        when: Values of own arguments under which it holds: a value, a tuple of values, or a function of the value.
    """

    name: str
    is_group: bool
    why: str
    when: Mapping[str, Any]

    def holds(self, target: Any, arguments: Mapping[str, Any]) -> bool:
        """Return whether the condition is met by arguments of the target, completed by its defaults."""
        defaults = {name: one.default for name, one in inspect.signature(target).parameters.items()}
        return all(
            _meets((defaults | dict(arguments)).get(name), wanted) for name, wanted in self.when.items()
        )


def _meets(value: Any, wanted: Any) -> bool:
    if callable(wanted):
        return bool(wanted(value))
    return value in wanted if isinstance(wanted, tuple) else bool(value == wanted)


def given(value: Any) -> bool:
    """Return whether a value is given at all: a condition of `ignores` and `replaces`."""
    return value is not None


def ignores(argument: str, why: str, /, **when: Any) -> Callable[[_Declaring], _Declaring]:
    """Say that an own argument is not read while other arguments have certain values.

    Args:
        argument: Its name.
        why: Completes "KEY has no effect: ...".
        **when: The other arguments' values, see `Unread.when`.

    Examples:
        >>> @ignores("margin", "the soft margin takes its place", soft=True)
        ... def loss(margin=0.3, soft=False): ...
        >>> [unread.name for unread in unread_by(loss, {"soft": True})], unread_by(loss, {})
        (['margin'], [])
    """
    return _declare(Unread(argument, False, why, when))


def replaces(group: str, why: str, /, **when: Any) -> Callable[[_Declaring], _Declaring]:
    """Say that a group of the config is not read where this is chosen, under a condition on own arguments."""
    return _declare(Unread(group, True, why, when))


def _declare(unread: Unread) -> Callable[[_Declaring], _Declaring]:
    def declared(target: _Declaring) -> _Declaring:
        target.__unread__ = (*getattr(target, "__unread__", ()), unread)  # type: ignore[attr-defined]
        return target

    return declared


def unread_by(target: Any, arguments: Mapping[str, Any]) -> list[Unread]:
    """Return what a class or function does not read when it is given these arguments."""
    return [unread for unread in getattr(target, "__unread__", ()) if unread.holds(target, arguments)]
