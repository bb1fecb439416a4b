"""The hosts of a training job with several instances: what they are called, and what each of them gets and gives."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pilothouse import names
from pilothouse.catalog.training_jobs import Channel, InstanceGroup

Thing = TypeVar("Thing")
_ETC_HOSTS = Path("/etc/hosts")


@dataclass(frozen=True)
class Host:
    """The one with this `number`, from 1, among as many as `of` says. All are this machine.

    `network`: the first three bytes of their addresses. All of 127.0.0.0/8 is this machine, so each host of each job
    can have an address of its own, on which it listens undisturbed by the others.
    """

    number: int = 1
    of: int = 1
    network: str = "127.0.0"

    @property
    def name(self) -> str:
        """What it is called, in AWS too."""
        return _name(self.number)

    @property
    def names(self) -> list[str]:
        """What all of the job are called."""
        return [_name(number) for number in range(1, self.of + 1)]

    def named(self, group: InstanceGroup) -> list[str]:
        """What those of a group are called, as far as they are there."""
        return [_name(number) for number in group.hosts if number <= self.of]

    @property
    def is_alone(self) -> bool:
        """Whether the job has no other host."""
        return self.of == 1

    @property
    def addresses(self) -> dict[str, str]:
        """The address of each host of the job, by its name."""
        return {name: f"{self.network}.{number}" for number, name in enumerate(self.names, start=1)}

    def gets(self, channel: Channel) -> bool:
        """Whether a channel is for this host."""
        return not channel.hosts or self.number in channel.hosts

    def part(self, channel: Channel, things: Sequence[Thing]) -> Sequence[Thing]:
        """What this host gets of a channel's objects: all, or of a sharded one its part. There every thing is one
        host's, and all that the channel is for get as many, give or take one.
        """
        if not channel.is_sharded:
            return things
        hosts = channel.hosts or range(1, self.of + 1)
        return things[hosts.index(self.number) :: len(hosts)]

    def table(self) -> str:
        """This machine's /etc/hosts with the hosts of the job before it."""
        own = "".join(f"{address}\t{name}\n" for name, address in self.addresses.items())
        return own + (_ETC_HOSTS.read_text() if _ETC_HOSTS.exists() else "")


ALONE = Host()


def hosts(count: int, arn: str) -> tuple[Host, ...]:
    """The hosts of the job `arn`, whose addresses are hardly another job's."""
    mark = int(names.digest(arn, 4), 16)
    network = f"127.{mark >> 8 or 1}.{mark & 0xFF}"
    return tuple(Host(number, count, network) for number in range(1, count + 1))


def gather(folders: Iterable[Path], into: Path) -> list[str]:
    """Brings the files of `folders` into another one, as hard links; the paths of those left out.

    A file stays out if its name is taken there by a file or folder: what came first stays. Gathering the same folders
    again changes nothing.
    """
    left_out = []
    for folder in folders:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            target = into / path.relative_to(folder)
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                os.link(path, target)
            except (FileExistsError, NotADirectoryError):
                if not (target.is_file() and target.samefile(path)):
                    left_out.append(str(path.relative_to(folder)))
    return left_out


def _name(number: int) -> str:
    return f"algo-{number}"
