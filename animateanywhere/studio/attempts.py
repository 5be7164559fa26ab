"""Wrong passwords, by the address they come from: after each, the next one waits longer."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

FIRST, LONGEST = 1.0, 30.0  # seconds to wait: after the first wrong password, and at most
FORGOTTEN = 600.0  # seconds after which an address begins anew
REMEMBERED = 1000  # addresses


@dataclass
class Attempts:
    """Addresses with wrong passwords. While one waits, its passwords are not looked at: how many
    are sent at once makes no difference, and no other address waits. Whoever guesses on and on from
    the owner's own address, or behind the same proxy, keeps the owner waiting, too."""

    clock: Callable[[], float] = time.monotonic
    wrong: dict[str, tuple[int, float]] = field(default_factory=dict)  # how many, and the last one

    def seconds_left(self, address: str) -> int:
        """Whole seconds until a password from an address is looked at; 0 for now."""
        count, last = self.wrong.get(address, (0, 0.0))
        if not count:
            return 0
        wait = min(FIRST * 2.0 ** min(count - 1, 16), LONGEST)
        return max(math.ceil(last + wait - self.clock()), 0)

    def failed(self, address: str) -> None:
        """Note a wrong password."""
        now = self.clock()
        self.wrong = {one: (count, last) for one, (count, last) in self.wrong.items()
                      if now - last < FORGOTTEN}  # fmt: skip
        count = self.wrong.pop(address, (0, 0.0))[0]
        while len(self.wrong) >= REMEMBERED:  # the one that has waited longest
            del self.wrong[next(iter(self.wrong))]
        self.wrong[address] = count + 1, now

    def forget(self, address: str) -> None:
        """Note the right password."""
        self.wrong.pop(address, None)
