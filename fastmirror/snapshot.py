"""A mirror's counts at one moment. Invariant: they add up, whatever is counted meanwhile:
``matched = not_sampled + dropped + sent`` and ``sent = completed + failed + in_flight``.
"""

from __future__ import annotations

from fastmirror import counts


class MirrorSnapshot:
    """Read from the slots of all workers, upwards: ends before beginnings.

    ``dropped``, ``completed`` and ``failed`` have a number for each name of ``DROP_REASONS``,
    ``CODE_CLASSES`` (but ``none``) and ``FAILURE_KINDS``; ``buckets`` as ``DURATION_BUCKETS``, each
    by itself, and ``micros`` the sum of the durations in microseconds.
    """

    def __init__(self, shared: counts.SharedCounts, base: int) -> None:
        slots = [shared.total(base + at) for at in range(counts.MIRROR_SLOTS)]

        def named(first: int, names: tuple[str, ...]) -> dict[str, int]:
            return {name: slots[first + at] for at, name in enumerate(names)}

        self.dropped = named(counts.MIRROR_DROPPED, counts.DROP_REASONS)
        self.completed = named(counts.MIRROR_COMPLETED + 1, counts.CODE_CLASSES[1:])
        self.failed = named(counts.MIRROR_FAILED, counts.FAILURE_KINDS)
        self.sent = slots[counts.MIRROR_SENT]
        self.not_sampled = slots[counts.MIRROR_NOT_SAMPLED]
        self.buffered = slots[counts.MIRROR_BUFFERED]
        self.buckets = slots[counts.MIRROR_DURATION : counts.MIRROR_DURATION + counts.BUCKETS]
        self.micros = slots[counts.MIRROR_DURATION_MICROS]
        self.matched = self.sent + self.not_sampled + sum(self.dropped.values())
        ended = sum(slots[at] for at in range(counts.MIRROR_SENT))
        self.in_flight = max(0, self.sent - ended)
