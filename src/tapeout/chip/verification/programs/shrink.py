"""From a tree that fails to a small one that does: parts are taken out while the failure stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from tapeout.chip.verification.programs.tree import Branch, Command, Loop, Node, Tree, walk

Nodes = tuple[Node, ...]


def smaller(nodes: Nodes, step: int) -> Iterator[tuple[int, Nodes]]:
    """(place, candidate): `step` nodes taken out, or with a step of 0 one made simpler."""
    if step:
        for i in range(0, len(nodes), step):
            yield i, nodes[:i] + nodes[i + step :]
    else:
        for i, node in enumerate(nodes):
            for other in _simpler(node):
                yield i, nodes[:i] + other + nodes[i + 1 :]


def _simpler(node: Node) -> Iterator[Nodes]:
    """What may stand for a node: what a loop or a branch holds, a smaller one of either, fewer trips, rows and runs."""
    if isinstance(node, Loop):
        yield node.body
        if node.source != "constant":
            yield (replace(node, source="constant"),)
        elif node.count > 1:
            yield (replace(node, count=node.count - 1),)
        for step in (max(len(node.body) // 2, 1), 1, 0):
            for _, body in smaller(node.body, step):
                yield (replace(node, body=body),)
    elif isinstance(node, Branch):
        yield node.arm
        for step in (1, 0):
            for _, arm in smaller(node.arm, step):
                yield (replace(node, arm=arm),)
    elif isinstance(node, Command):
        if node.steps:
            yield (replace(node, steps={}),)
        for name in ("rows", "n0", "n1", "steps"):
            # what it touches stays what it was, which is more than it needs
            value = node.operands.get(name, 0)
            for less in dict.fromkeys((1, value // 2)):
                if 0 < less < value:
                    yield (replace(node, operands=node.operands | {name: less}),)


def shrink(tree: Tree, fails: Callable[[Tree], bool], tries: int = 600) -> Tree:
    """The smallest found in so many attempts: halves and less are taken out as long as it fails, then what is left is
    made simpler, until neither helps. `fails` says whether a tree still does."""
    left, changed = tries, True
    while changed and left > 0:
        changed = False
        step = max(len(tree.nodes), 1)
        while left > 0:
            step, start = step // 2, 0
            while left > 0:
                # go on where the last success was: what was tried before it is still needed
                for i, nodes in smaller(tree.nodes, step):
                    if i < start:
                        continue
                    left -= 1
                    candidate = Tree(nodes, tree.arguments)
                    if fails(candidate):
                        tree, changed, start = candidate, True, i
                        break
                    if left <= 0:
                        break
                else:
                    break
            if step == 0:
                break
    return tree


def size(tree: Tree) -> int:
    """Nodes of a tree."""
    return sum(1 for _ in walk(tree.nodes))
