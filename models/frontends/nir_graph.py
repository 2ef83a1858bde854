"""The order of a graph's nodes, and its loops."""

from collections.abc import Mapping, Sequence

__all__ = ["ordered"]


def ordered(sources: Mapping[str, Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """(the nodes that no loop feeds, sources first; loops, no two of which share a node).

    sources: of every node. A loop begins with a node that something outside of loops leads to.
    """
    readers: dict[str, list[str]] = {name: [] for name in sources}
    for name, before in sources.items():
        for source in before:
            readers[source].append(name)
    waiting = {name: len(before) for name, before in sources.items()}
    order = [name for name, count in waiting.items() if not count]
    for name in order:                      # grows as it is walked
        for reader in readers[name]:
            waiting[reader] -= 1
            if not waiting[reader]:
                order.append(reader)
    rest = [name for name, count in waiting.items() if count]
    return order, _loops(sources, rest)


def _loops(sources: Mapping[str, Sequence[str]], rest: Sequence[str]) -> list[list[str]]:
    """Loops among these nodes, every one of which has a source among them."""
    left = dict.fromkeys(rest)
    entries = [name for name in rest if not all(source in left for source in sources[name])]
    found = []
    for start in rest:
        path: list[str] = []
        at: str | None = start if start in left else None
        while at is not None and at not in path:
            path.append(at)
            at = next((source for source in sources[at] if source in left), None)
        if at is None:
            continue                        # it leads to a loop that is known
        loop = path[path.index(at):][::-1]
        first = loop.index(next((name for name in entries if name in loop), loop[0]))
        found.append(loop[first:] + loop[:first])
        for name in loop:
            del left[name]
    return found
