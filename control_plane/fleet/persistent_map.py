"""A mapping that is never changed: putting one key makes a new one that shares almost all of the old."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

K = TypeVar("K")
V = TypeVar("V")

# With 10,000 keys a put copies about 40 entries and 256 references: a few microseconds, not a few hundred.
_BUCKETS = 256


class PersistentMap(Mapping[K, V]):
    """Iterates in no particular order."""

    __slots__ = ("_buckets", "_length")

    def __init__(self) -> None:
        self._buckets: tuple[dict[K, V], ...] = ({},) * _BUCKETS
        self._length = 0

    def put(self, key: K, value: V) -> "PersistentMap[K, V]":
        return self._with({**self._bucket(key), key: value}, key)

    def without(self, key: K) -> "PersistentMap[K, V]":
        """Without `key`, which need not be there."""
        bucket = dict(self._bucket(key))
        bucket.pop(key, None)
        return self._with(bucket, key)

    def __getitem__(self, key: K) -> V:
        return self._bucket(key)[key]

    def get(self, key: K, default: Any = None) -> Any:
        # The mixin's own raises and catches KeyError, which every call that is routed would pay for.
        return self._bucket(key).get(key, default)

    def __iter__(self) -> Iterator[K]:
        for bucket in self._buckets:
            yield from bucket

    def __len__(self) -> int:
        return self._length

    def _bucket(self, key: K) -> dict[K, V]:
        return self._buckets[hash(key) % _BUCKETS]

    def _with(self, bucket: dict[K, V], key: K) -> "PersistentMap[K, V]":
        place = hash(key) % _BUCKETS
        made: PersistentMap[K, V] = PersistentMap()
        made._buckets = (*self._buckets[:place], bucket, *self._buckets[place + 1 :])
        made._length = self._length + len(bucket) - len(self._buckets[place])
        return made
