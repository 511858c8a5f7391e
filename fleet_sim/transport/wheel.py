"""A hashed timer wheel: thousands of coarse timers at the price of one."""

from typing import Generic, TypeVar

K = TypeVar("K")


class TimerWheel(Generic[K]):
    """Timers by key, one a key, with the resolution of a slot.

    Setting and cancelling are O(1); `advance` touches only slots that have come due. A `call_later`
    handle a connection would be a heap of as many entries, paying its logarithm whenever a timer
    moves. Source: G. Varghese and T. Lauck, "Hashed and hierarchical timing wheels" (1987),
    scheme 6.
    """

    def __init__(self, now_s: float, *, slot_s: float = 0.05, slots: int = 512) -> None:
        self._slot_s = slot_s
        self._slots: list[dict[K, int]] = [{} for _ in range(slots)]
        self._slot_of: dict[K, int] = {}
        self._tick = int(now_s / slot_s)

    def __len__(self) -> int:
        return len(self._slot_of)

    def __contains__(self, key: K) -> bool:
        return key in self._slot_of

    def set(self, key: K, at_s: float) -> None:
        """Fire `key` at `at_s` or up to a slot later; replaces its earlier timer."""
        self.cancel(key)
        # Never in a slot that was already swept: it would wait for a whole turn.
        tick = max(self._tick + 1, -int(-at_s // self._slot_s))
        slot = tick % len(self._slots)
        self._slots[slot][key] = tick
        self._slot_of[key] = slot

    def cancel(self, key: K) -> None:
        """Forget `key`'s timer, if it has one."""
        slot = self._slot_of.pop(key, None)
        if slot is not None:
            del self._slots[slot][key]

    def advance(self, now_s: float) -> list[K]:
        """Keys that have come due by `now_s`, in order of their slots."""
        target = int(now_s / self._slot_s)
        due: list[K] = []
        # After a pause longer than a turn, one sweep of all slots finds everything.
        first = max(self._tick + 1, target - len(self._slots) + 1)
        for tick in range(first, target + 1):
            slot = self._slots[tick % len(self._slots)]
            if slot:
                ready = [key for key, at in slot.items() if at <= target]
                for key in ready:
                    del slot[key]
                    del self._slot_of[key]
                due += ready
        self._tick = max(self._tick, target)
        return due
