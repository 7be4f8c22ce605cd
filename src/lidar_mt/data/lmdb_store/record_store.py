"""What stands between the bytes of records and the programs that read them: two methods."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

#: Key of the manifest's JSON text, which every store holds beside its records.
MANIFEST_KEY = b"manifest"


class RecordStore(Protocol):
    """A packed split as keys and values. A plain dict is one.

    The values are those that `pack_data` writes, byte for byte, and the text of `manifest.json` under `MANIFEST_KEY`;
    what is above decodes and checks them. A store travels into worker processes, so it has to pickle; one that holds
    a connection opens it anew there. `str(store)` names it in messages.
    """

    def keys(self) -> Iterable[bytes]:
        """Every key, `MANIFEST_KEY` included, in any order."""
        ...

    def get(self, key: bytes, /) -> bytes | memoryview | None:
        """The value of a key, None where there is none. A view must stay readable until the store is closed."""
        ...


class Stores(Protocol):
    """Where the packed splits of a version are; name a class of your own in `data.stores` to read from elsewhere."""

    def open(self, version: str, split: str) -> RecordStore:
        """The store of a split, such as ('v1.0-trainval', 'train')."""
        ...
