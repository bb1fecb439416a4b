"""The replicas of one endpoint: those that serve, those that are to take over from them, and those that may go."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from pilothouse.catalog import hosting
from pilothouse.catalog.hosting import Document
from pilothouse.hosting.keeper import START_SECONDS, Keeper, Place, Shop
from pilothouse.store.resource import Resource

ATTEMPTS = 3
"""How often a replica that is waited for may fail."""

GRACE = 2.0
"""How long a replica that was replaced serves on, in seconds: well beyond the age at which its address is forgotten."""


class Fleet:
    """Starts with replicas for what the row pins, or for a `share` of it. Call `step` a few times a second.

    `beside`: other pinned variants, and the share of them that serves too.
    """

    def __init__(
        self, row: Resource, shop: Shop, share: float = 1.0, beside: tuple[Sequence[Document], float] = ((), 0.0)
    ) -> None:
        self.row = row
        self.published: list[Document] = []
        self._shop = shop
        self._serving = [Keeper(place, shop) for place in _places(row.name, row.state["_variants"], share)]
        self._beside = [Keeper(place, shop) for place in _places(row.name, *beside)]
        self._coming: list[Keeper] | None = None
        self._retired: list[tuple[float, Keeper]] = []
        self._leaving: list[Keeper] = []

    @property
    def addresses(self) -> list[Document]:
        """Where the replicas that serve answer."""
        return [address for keeper in self._serving if (address := keeper.address)]

    @property
    def size(self) -> int:
        """How many replicas are to serve."""
        return len(self._serving)

    @property
    def complete(self) -> bool:
        """Whether all replicas answer."""
        return len(self.addresses) == self.size

    @property
    def changing(self) -> bool:
        """Whether others are to take over."""
        return self._coming is not None

    @property
    def ready(self) -> bool:
        """Whether all that were started to take over answer."""
        return self.changing and all(keeper.address for keeper in self._new)

    @property
    def settled(self) -> bool:
        """Whether those that `keep` has told to end have ended."""
        return all(keeper.down for keeper in self._leaving)

    @property
    def hopeless(self) -> Keeper | None:
        """A replica that failed too often to go on waiting for it."""
        waited_for = self._new if self.changing else self._serving
        return next((keeper for keeper in waited_for if keeper.failures >= ATTEMPTS), None)

    @property
    def stuck(self) -> Keeper | None:
        """One of those that are to serve that doesn't answer, and failed too often to go on waiting for it."""
        return next((keeper for keeper in self._serving if keeper.failures >= ATTEMPTS and not keeper.address), None)

    @property
    def down(self) -> bool:
        """Whether all replicas have ended, after `stop`."""
        return all(keeper.down for keeper in self)

    @property
    def _new(self) -> list[Keeper]:
        return [keeper for keeper in self._coming or [] if keeper not in self._serving]

    def __iter__(self) -> Iterator[Keeper]:
        """The keepers of all replicas that may still run."""
        yield from (*self._serving, *self._beside, *self._new, *(keeper for _, keeper in self._retired))

    def prepare(self, variants: Sequence[Document], *, anew: bool, share: float = 1.0) -> None:
        """Starts what pinned `variants`, or a `share` of them, need to take over.

        What an earlier call started stays where it is still needed, and ends after GRACE where it isn't. Unless `anew`,
        the first call takes replicas along that serve the same.
        """
        known = self._coming if self._coming is not None else [] if anew else self._serving
        coming = self._keepers(variants, share, known)
        self._retire([keeper for keeper in self._new if keeper not in coming], GRACE)
        self._coming = coming

    def keep(self, variants: Sequence[Document], share: float) -> None:
        """Makes a `share` of what pinned `variants` need serve: others end after GRACE, missing ones are started."""
        serving = self._keepers(variants, share, self._serving)
        leaving = [keeper for keeper in self._serving if keeper not in serving]
        self._retire(leaving, GRACE)
        self._leaving += leaving
        self._serving = serving

    @property
    def coming_addresses(self) -> list[Document]:
        """Where those answer that are to take over."""
        return [address for keeper in self._coming or [] if (address := keeper.address)]

    @property
    def beside_addresses(self) -> list[Document]:
        """Where those answer that have a share of the traffic beside those that serve: held, or coming."""
        return [address for keeper in self._beside or self._coming or [] if (address := keeper.address)]

    def hold(self) -> None:
        """Makes those that were prepared serve beside the others, until something takes over."""
        self._beside, self._coming = self._new, None

    def take_over(self, wait: float) -> None:
        """Makes those that were prepared the ones that serve; the others end after `wait` seconds, or after GRACE."""
        serving = self._coming or []
        replaced = [keeper for keeper in (*self._serving, *self._beside) if keeper not in serving]
        self._retire(replaced, max(wait, GRACE))
        self._serving, self._beside, self._coming = serving, [], None

    def give_up(self) -> None:
        """Ends what was prepared, and may have a share of the traffic, after GRACE."""
        self._retire(self._new, GRACE)
        self._coming = None

    def step(self) -> None:
        """Lets each replica make its next move, and ends those whose time is over."""
        now = time.monotonic()
        for at, keeper in self._retired:
            if now >= at:
                keeper.stop()
        for keeper in self:
            keeper.step()
        self._retired = [(at, keeper) for at, keeper in self._retired if not keeper.down]
        self._leaving = [keeper for keeper in self._leaving if not keeper.down]

    def stop(self) -> None:
        """Lets all replicas finish what they are doing and end; go on calling `step` until `down`."""
        for keeper in self:
            keeper.stop()

    def kill(self) -> None:
        """Ends all replicas now."""
        for keeper in self:
            keeper.kill()

    def _keepers(self, variants: Sequence[Document], share: float, known: Sequence[Keeper]) -> list[Keeper]:
        """A keeper for each place: the one of the `known` that has it, or a new one."""
        return [
            next((keeper for keeper in known if keeper.place == place), None) or Keeper(place, self._shop)
            for place in _places(self.row.name, variants, share)
        ]

    def _retire(self, keepers: Sequence[Keeper], wait: float) -> None:
        self._retired += [(time.monotonic() + wait, keeper) for keeper in keepers]


def _places(endpoint: str, variants: Sequence[Document], share: float) -> list[Place]:
    return [
        _place(endpoint, variant, index)
        for variant in variants
        for index in range(hosting.replica_count(variant, share))
    ]


def _place(endpoint: str, variant: Document, index: int) -> Place:
    return Place(
        endpoint,
        variant["VariantName"],
        index,
        variant["Containers"],
        direct=hosting.is_direct(variant),
        keyed=hosting.keyed(variant),
        patience=variant.get("ContainerStartupHealthCheckTimeoutInSeconds", START_SECONDS),
    )
