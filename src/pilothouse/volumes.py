"""Volumes: where the files of a job or an endpoint lie whose request names a KMS key for them.

Programs read and map plain files, so nobody but what lies below those can keep them from resting on a disk in plain: a
disk that the kernel encrypts (dm-crypt), or none, which is what files in memory (tmpfs) have.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from pilothouse import names
from pilothouse.config import Settings
from pilothouse.errors import ConfigurationError

LEAST = 256 << 20
"""Bytes that a volume in memory needs to begin with."""

ENCRYPTED, MEMORY = "encrypted", "memory"

_DEFAULT = Path("/dev/shm")  # noqa: S108 - what is made there is closed to others
_SYS, _PROC = Path("/sys"), Path("/proc")
_CRYPT = ("CRYPT-LUKS1-", "CRYPT-LUKS2-", "CRYPT-PLAIN-")
"""How the device mapper's names of encrypted devices begin: not all of cryptsetup's devices are (CRYPT-VERITY)."""

_OR_RECORD = "or PILOTHOUSE_VOLUME_KEYS=record to have keys recorded and no more"


class Volumes:
    """Those of one installation."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @property
    def root(self) -> Path:
        """The folder for them, which need not exist: that of all scratch space if that will do."""
        settings = self._settings
        if settings.volume_keys == "record" or (settings.volumes is None and self._place != _DEFAULT):
            return settings.work_root
        owner = names.digest(str(settings.home.resolve()))
        return self._place / f"pilothouse-{os.getuid()}-{owner}"

    def meaning(self) -> str:
        """How keys are honoured here, in words. `ConfigurationError` if they can't be, with what to do about it."""
        if self._settings.volume_keys == "record":
            return "are recorded and no more, as PILOTHOUSE_VOLUME_KEYS says"
        place, kept = self._place, kept_by(self._place)
        if kept is None:
            raise ConfigurationError(
                f"The key of a volume cannot be honoured: {place} is neither in memory (tmpfs) nor on a disk that "
                f"dm-crypt encrypts. Set PILOTHOUSE_VOLUMES to a folder that is, {_OR_RECORD}."
            )
        if kept == ENCRYPTED:
            return f"are honoured by the encrypted disk of {place}"
        if (size := _size(place)) < LEAST:
            raise ConfigurationError(
                f"The key of a volume cannot be honoured: {place} is in memory and has {_mib(size)} in all, of which a "
                f"job takes {_mib(LEAST)} at least. Make it larger (docker run --shm-size=8g), {_OR_RECORD}."
            )
        exposed = "" if _is_never_swapped(place) else ", ".join(plain_swaps())
        if exposed and self._settings.volume_keys == "strict":
            raise ConfigurationError(
                f"The key of a volume cannot be honoured: the kernel may move what is in memory to {exposed}, which is "
                f"not encrypted, and PILOTHOUSE_VOLUME_KEYS is strict. Encrypt it, or turn it off (swapoff)."
            )
        warning = f", from where the kernel may move it to {exposed}, which is not encrypted" if exposed else ""
        return f"are honoured in memory, in {place}{warning}"

    def opened(self) -> Path:
        """The folder for them, which is there now, and which no other user can enter.

        `ConfigurationError` if keys can't be honoured here.
        """
        self.meaning()
        root = self.root
        with suppress(FileExistsError):  # whatever is there is judged below
            root.mkdir(mode=0o700, parents=True)
        if root != self._settings.work_root and not _is_own(root):
            raise ConfigurationError(
                f"The key of a volume cannot be honoured: {root} is not a folder of this user's. Remove it."
            )
        return root

    @property
    def outside(self) -> Path | None:
        """The folder for them outside of the home, if it is there and this user's: in /dev/shm anybody may make one."""
        root = self.root
        return root if root != self._settings.work_root and _is_own(root) else None

    def check_room(self) -> None:
        """`ConfigurationError` if there is too little room for another volume now."""
        if kept_by(self._place) == MEMORY and (free := _free(self._place)) < LEAST:
            raise ConfigurationError(
                f"The key of a volume cannot be honoured: {self._place} is in memory, of which {_mib(free)} are free. "
                "Wait until other jobs have ended, or give this machine more memory."
            )

    @property
    def held(self) -> int:
        """Bytes of memory that no program can have, because files are there."""
        if (folder := self.outside) is None or kept_by(folder) != MEMORY:
            return 0
        status = os.statvfs(folder)
        return (status.f_blocks - status.f_bfree) * status.f_frsize

    @property
    def _place(self) -> Path:
        """Where files are kept from disks in plain: as the settings say, or in the home if it will do, or in memory."""
        if self._settings.volumes is not None:
            return self._settings.volumes
        scratch = self._settings.work_root.absolute()
        scratch = next(path for path in (scratch, *scratch.parents) if path.exists())
        return scratch if kept_by(scratch) else _DEFAULT


def kept_by(folder: Path) -> str | None:
    """What keeps the files in `folder` from a disk in plain: ENCRYPTED, MEMORY, or None if that can't be told."""
    try:
        device = folder.stat().st_dev
    except OSError:
        return None
    number = f"{os.major(device)}:{os.minor(device)}"
    if _is_encrypted(_SYS / "dev/block" / number):
        return ENCRYPTED
    return MEMORY if _mounted(number)[:1] == ["tmpfs"] else None


def plain_swaps() -> list[str]:
    """Where the kernel may move memory to that is on a disk in plain, as /proc/swaps names it."""
    try:
        lines = (_PROC / "swaps").read_text(errors="surrogateescape").splitlines()[1:]
    except OSError:
        return []
    return [name for name, kind, *_ in map(str.split, lines) if not _is_closed_swap(Path(name), kind)]


def _is_closed_swap(path: Path, kind: str) -> bool:
    if kind == "file":
        return kept_by(path) == ENCRYPTED
    device = _SYS / "class/block" / path.resolve().name
    return _is_encrypted(device) or (device.name.startswith("zram") and _backing(device) == "none")


def _backing(zram: Path) -> str:
    """The disk that a compressed device in memory may write to, if the kernel has been told one."""
    try:
        return (zram / "backing_dev").read_text().strip()
    except OSError:  # this kernel can't do that
        return "none"


def _is_encrypted(device: Path) -> bool:
    """Whether all that `device`, a folder below /sys, consists of is encrypted: by itself, or below LVM and RAID."""
    try:
        if (device / "dm/uuid").read_text().startswith(_CRYPT):
            return True
    except OSError:
        pass
    parts = list((device / "slaves").glob("*"))
    return bool(parts) and all(map(_is_encrypted, parts))


def _mounted(number: str) -> list[str]:
    """The type of the file system with this device number, and its options; nothing if it is not mounted here."""
    for line in (_PROC / "self/mountinfo").read_text(errors="surrogateescape").splitlines():
        before, _, after = line.partition(" - ")
        if before.split()[2] == number:
            kind, _, options = [*after.split(), "", "", ""][:3]
            return [kind, *options.split(",")]
    return []


def _is_own(folder: Path) -> bool:
    try:
        status = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()


def _is_never_swapped(folder: Path) -> bool:
    device = folder.stat().st_dev
    return "noswap" in _mounted(f"{os.major(device)}:{os.minor(device)}")


def _size(folder: Path) -> int:
    status = os.statvfs(folder)
    return status.f_blocks * status.f_frsize


def _free(folder: Path) -> int:
    import psutil

    status = os.statvfs(folder)
    return min(status.f_bavail * status.f_frsize, int(psutil.virtual_memory().available))


def _mib(size: int) -> str:
    return f"{size >> 20} MiB"
