"""Volumes with a key: which folders keep files from a disk in plain, and who uses them for what."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from botocore.model import ListShape, Shape, StructureShape

from pilothouse import composition, volumes
from pilothouse.catalog import kms
from pilothouse.cli.doctor import examine
from pilothouse.config import Settings
from pilothouse.errors import ConfigurationError, ValidationError
from pilothouse.hosting.archives import Archives
from pilothouse.launch.slots import memory_share
from pilothouse.objects.directory import DirectoryObjects
from pilothouse.operations import creation
from pilothouse.operations.context import Context
from pilothouse.operations.table import SERVED
from pilothouse.store.leases import Leases
from pilothouse.store.store import Store
from pilothouse.volumes import ENCRYPTED, MEMORY, Volumes, kept_by, plain_swaps
from pilothouse.wire.models import operation as model_of
from pilothouse.work import scratch
from pilothouse.work.job import Job
from pilothouse.work.kinds import JobKind
from pilothouse.work.main import conclude
from tests.unit.endpoint_house import Installation

KEY = "alias/ours"
KIND = JobKind("toy-job", "toys_with_volumes:run", "/toys")
KEYED = {"ResourceConfig": {"VolumeKmsKeyId": KEY}}


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory, as every Linux has one."""
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="pilothouse-test-") as folder:
        assert kept_by(Path(folder)) == MEMORY
        yield Path(folder)


@pytest.fixture(autouse=True)
def _room(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is some, though a container's /dev/shm may be small."""
    for measure in ("_size", "_free"):
        monkeypatch.setattr(volumes, measure, lambda folder: 8 << 30)


@pytest.fixture
def settings(tmp_path: Path, memory: Path) -> Settings:
    return Settings(home=tmp_path, volumes=memory)


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Makes the kernel tell of other devices: gives the folder of one in its /sys, with this name of the mapper's."""
    system, proc = tmp_path / "sys", tmp_path / "proc"
    (proc / "self").mkdir(parents=True)
    (proc / "self/mountinfo").write_text("")
    monkeypatch.setattr(volumes, "_SYS", system)
    monkeypatch.setattr(volumes, "_PROC", proc)

    def device(place: str, name: str = "", parts: tuple[Path, ...] = ()) -> Path:
        folder = system / place
        (folder / "dm").mkdir(parents=True)
        (folder / "slaves").mkdir()
        if name:
            (folder / "dm/uuid").write_text(f"{name}\n")
        for number, part in enumerate(parts):
            (folder / "slaves" / str(number)).symlink_to(part)
        return folder

    return device


def place_of(folder: Path) -> str:
    device = folder.stat().st_dev
    return f"dev/block/{os.major(device)}:{os.minor(device)}"


@pytest.mark.parametrize("name", ["CRYPT-LUKS2-0ff1ce-home", "CRYPT-LUKS1-0ff1ce-home", "CRYPT-PLAIN-home"])
def test_a_disk_under_dm_crypt_keeps_files(name: str, kernel: Callable[..., Path], tmp_path: Path) -> None:
    kernel(place_of(tmp_path), name)
    assert kept_by(tmp_path) == ENCRYPTED


@pytest.mark.parametrize("name", ["", "LVM-abc", "CRYPT-VERITY-0ff1ce-root", "mpath-1"])
def test_any_other_disk_does_not(name: str, kernel: Callable[..., Path], tmp_path: Path) -> None:
    kernel(place_of(tmp_path), name)
    assert kept_by(tmp_path) is None
    assert kept_by(tmp_path / "missing") is None


def test_a_volume_of_several_disks_does_if_all_of_them_are_encrypted(
    kernel: Callable[..., Path], tmp_path: Path
) -> None:
    closed, open_ = kernel("closed", "CRYPT-LUKS2-1"), kernel("open")
    device = kernel(place_of(tmp_path), "LVM-abc", (closed,))
    assert kept_by(tmp_path) == ENCRYPTED
    (device / "slaves/1").symlink_to(open_)
    assert kept_by(tmp_path) is None


def test_swap_is_told_if_it_is_on_a_disk_in_plain(kernel: Callable[..., Path], tmp_path: Path) -> None:
    kernel("class/block/dm-1", "CRYPT-PLAIN-swap")
    kernel("class/block/sda2")
    kernel("class/block/zram0")
    (kernel("class/block/zram1") / "backing_dev").write_text("/dev/sdb1\n")
    lines = [f"/dev/{name} partition 8 0 -2" for name in ("dm-1", "sda2", "zram0", "zram1")]
    swaps = ["Filename Type Size Used Priority", *lines, f"{tmp_path}/swap.img file 8 0 -2"]
    (tmp_path / "proc/swaps").write_text("\n".join(swaps))
    assert plain_swaps() == ["/dev/sda2", "/dev/zram1", f"{tmp_path}/swap.img"]


def test_without_a_word_from_anybody_keys_are_honoured_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(volumes, "kept_by", lambda folder: kept_by(folder) if folder == Path("/dev/shm") else None)
    found = Volumes(Settings(home=tmp_path))
    assert found.meaning().startswith("are honoured in memory, in /dev/shm")
    assert found.root.parent == Path("/dev/shm")
    assert found.root != Volumes(Settings(home=tmp_path / "other")).root
    assert not found.root.exists()


def test_a_home_that_is_on_an_encrypted_disk_has_them_itself(kernel: Callable[..., Path], tmp_path: Path) -> None:
    kernel(place_of(tmp_path), "CRYPT-LUKS2-1")
    settings = Settings(home=tmp_path / "home")
    assert Volumes(settings).root == settings.work_root
    assert Volumes(settings).meaning() == f"are honoured by the encrypted disk of {tmp_path}"
    assert Volumes(settings).outside is None


def test_recorded_keys_change_nothing(settings: Settings) -> None:
    recording = settings.model_copy(update={"volume_keys": "record"})
    assert Volumes(recording).root == settings.work_root
    assert "recorded" in Volumes(recording).meaning()


def test_plain_swap_is_told_and_refused_where_that_is_wanted(
    settings: Settings, memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = settings.model_copy(update={"volume_keys": "strict"})
    monkeypatch.setattr(volumes, "plain_swaps", list)
    assert Volumes(strict).meaning() == f"are honoured in memory, in {memory}"
    monkeypatch.setattr(volumes, "plain_swaps", lambda: ["/swap.img"])
    assert Volumes(settings).meaning().endswith("to /swap.img, which is not encrypted")
    with pytest.raises(ConfigurationError, match=r"/swap\.img"):
        Volumes(strict).meaning()
    monkeypatch.setattr(volumes, "_mounted", lambda number: ["tmpfs", "rw", "noswap"])
    assert Volumes(strict).meaning() == f"are honoured in memory, in {memory}"


def test_little_memory_is_refused_with_the_cure(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(volumes, "_size", lambda folder: 64 << 20)
    with pytest.raises(ConfigurationError, match=r"64 MiB in all.*--shm-size"):
        Volumes(settings).meaning()


def test_the_doctor_says_how_keys_are_honoured(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def seen(settings: Settings) -> tuple[str, bool]:
        [found] = [finding for finding in examine(settings) if finding.subject == "volume keys"]
        return found.seen, found.good

    assert seen(settings)[0].startswith("are honoured in memory")
    monkeypatch.setattr(volumes, "kept_by", lambda folder: None)
    text, good = seen(settings)
    assert text.startswith("requests with one are refused: ")
    assert not good
    assert seen(settings.model_copy(update={"volumes": None}))[1]


def test_a_folder_that_somebody_else_made_first_is_neither_used_nor_swept(settings: Settings, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs" / "toy-job" / "one"
    theirs.mkdir(parents=True)
    Volumes(settings).root.symlink_to(tmp_path / "theirs")
    with pytest.raises(ConfigurationError, match="is not a folder of this user's"):
        Volumes(settings).opened()
    assert list(scratch.left(settings, "toy-job")) == []
    scratch.clear(settings, "toy-job", "one")
    assert theirs.exists()


@pytest.mark.parametrize("made", ["file", "dangling"])
def test_what_is_no_folder_in_its_place_is_a_fault_in_words(settings: Settings, tmp_path: Path, made: str) -> None:
    root = Volumes(settings).root
    if made == "file":
        root.touch()
    else:
        root.symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigurationError, match="is not a folder of this user's"):
        Volumes(settings).opened()


def test_a_home_whose_scratch_space_is_elsewhere_goes_on_as_before(settings: Settings, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    settings.work_root.symlink_to(elsewhere)
    assert Volumes(settings.model_copy(update={"volume_keys": "record"})).opened() == settings.work_root


def test_trials_keep_a_share_however_much_volumes_have(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Volumes, "held", 1 << 60)
    assert memory_share(settings) > 0


def test_what_lies_in_memory_is_none_of_what_trials_share(settings: Settings, memory: Path) -> None:
    before, size = memory_share(settings), 8 << 20
    (Volumes(settings).opened() / "file").write_bytes(b"1" * size)
    assert Volumes(settings).held >= size
    assert memory_share(settings) < before


@pytest.mark.parametrize("operation", [name for name in SERVED["sagemaker"] if name.startswith("Create")])
def test_every_request_that_can_name_a_key_for_a_volume_is_understood(operation: str) -> None:
    shape = model_of("sagemaker", operation).input_shape
    assert shape is not None
    found = [*paths(shape, "VolumeKmsKeyId"), *([["KmsKeyId"]] if "KmsKeyId" in shape.members else [])]
    assert len(found) == {
        "CreateAutoMLJob": 1,
        "CreateAutoMLJobV2": 1,
        "CreateTransformJob": 1,
        "CreateTrainingJob": 1,
        "CreateHyperParameterTuningJob": 4,
        "CreateEndpointConfig": 1,
    }.get(operation, 0)
    for path in found:
        assert kms.of_volume(nested(path, KEY)) == KEY
        assert kms.of_volume(nested(path, "")) is None


def paths(shape: Shape, member: str) -> Iterator[list[str]]:
    """Where the member is, below `shape`; "[]" stands for the elements of a list."""
    if isinstance(shape, ListShape):
        yield from (["[]", *rest] for rest in paths(shape.member, member))
    if isinstance(shape, StructureShape):
        for name, inner in shape.members.items():
            if name == member:
                yield [name]
            yield from ([name, *rest] for rest in paths(inner, member))


def nested(path: list[str], value: str) -> Any:
    if not path:
        return value
    inner = nested(path[1:], value)
    return [inner] if path[0] == "[]" else {path[0]: inner}


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    store = Store(settings.database, region=settings.region, account=settings.account_id)
    store.migrate()
    yield store
    store.close()


def test_a_key_that_cannot_be_honoured_is_refused_at_once(
    settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = Context(settings, store, composition.objects(settings))
    monkeypatch.setattr(volumes, "kept_by", lambda folder: None)
    with pytest.raises(ValidationError, match="The key of a volume cannot be honoured"):
        creation.insert(context, "toy-job", "keyed", KEYED, ValueError(), status="InProgress")
    assert store.get("toy-job", "keyed") is None
    creation.insert(context, "toy-job", "plain", {}, ValueError(), status="InProgress")


@pytest.fixture
def attempt(store: Store, settings: Settings) -> Callable[..., Job]:
    """An attempt at the job, which may have a key."""

    def start(request: dict[str, Any] = KEYED) -> Job:
        if store.get(KIND.kind, "Toy") is None:
            store.insert(KIND.kind, "Toy", request, status="InProgress")
        lease = Leases(store).claim([KIND.kind], owner="test", ttl=60)
        assert lease is not None
        objects: Any = DirectoryObjects(settings.objects_root)
        launcher: Any = None
        return Job(KIND, lease, store=store, objects=objects, launcher=launcher, settings=settings)

    return start


def test_a_job_with_a_key_has_its_scratch_space_in_memory_until_it_is_cleared(
    attempt: Callable[..., Job], settings: Settings, memory: Path
) -> None:
    directory = attempt().directory
    assert directory == Volumes(settings).root / "toy-job" / "toy"
    assert directory.is_dir()
    assert not (settings.work_root / "toy-job" / "toy").exists()
    (directory / "log.txt").touch()
    assert list(scratch.left(settings, "toy-job")) == ["toy"]
    scratch.clear(settings, "toy-job", "Toy")
    assert not directory.exists()


def test_the_folder_for_volumes_goes_once_nothing_is_in_it(attempt: Callable[..., Job], settings: Settings) -> None:
    directory = attempt().directory
    scratch.tidy(settings)
    assert directory.exists()
    scratch.clear(settings, "toy-job", "toy")
    scratch.tidy(settings)
    assert not Volumes(settings).root.exists()


def test_a_job_without_one_has_it_in_the_home(attempt: Callable[..., Job], settings: Settings) -> None:
    assert attempt({}).directory == settings.work_root / "toy-job" / "toy"
    assert Volumes(settings).outside is None


def test_a_job_begins_with_enough_room_and_goes_on_with_any(
    attempt: Callable[..., Job], settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(volumes, "_free", lambda folder: 1 << 20)
    job = attempt()
    conclude(job)
    assert job.refresh().status == "Failed"
    assert "1 MiB are free" in job.refresh().state["FailureReason"]
    (Volumes(settings).opened() / "toy-job" / "toy").mkdir(parents=True)
    assert scratch.opened(settings, job.resource).is_dir()


def test_temporary_files_of_a_job_process_are_on_its_volume(
    attempt: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    toys = ModuleType("toys_with_volumes")
    made: list[str] = []
    toys.run = lambda job: made.append(tempfile.gettempdir())  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, toys.__name__, toys)
    monkeypatch.setattr(tempfile, "tempdir", None)
    job = attempt()
    conclude(job)
    assert made == [str(job.directory)]
    assert job.refresh().status == "Completed"


@pytest.fixture
def hidden_home(house: Installation, memory: Path) -> Installation:
    """An installation whose volumes are in memory."""
    house.settings = house.settings.model_copy(update={"volumes": memory})
    house.reconciler.stop(5)
    house.restart()
    return house


def test_models_of_an_endpoint_with_a_key_are_unpacked_in_memory_and_gone_with_it(hidden_home: Installation) -> None:
    house, root = hidden_home, Volumes(hidden_home.settings).root
    house.deploy("live", KmsKeyId=KEY)
    house.deploy("plain")
    house.until_status("InService")
    house.until_status("InService", "plain")
    keyed, plain = (replica.models[0] for replica in sorted(house.launcher.alive, key=lambda r: r.program.label))
    assert keyed.is_relative_to(root)
    assert plain.is_relative_to(house.settings.work_root)
    house.restart()  # as after kill -9: what was unpacked is used again
    house.until(lambda: len(house.launcher.alive) == 2)
    assert {keyed, plain} == {replica.models[0] for replica in house.launcher.alive}
    house.store.update("endpoint", "live", status="Deleting")
    house.until(lambda: house.row() is None)
    assert not keyed.exists()
    assert plain.exists()


def test_an_endpoint_fails_whose_key_cannot_be_honoured(
    hidden_home: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(volumes, "kept_by", lambda folder: None)
    hidden_home.deploy("live", KmsKeyId=KEY)
    row = hidden_home.until_status("Failed")
    assert "The key of a volume cannot be honoured" in row.state["FailureReason"]


def test_an_endpoint_fails_whose_model_has_no_room(hidden_home: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Archives, "fetched", full)
    hidden_home.deploy("live", KmsKeyId=KEY)
    row = hidden_home.until_status("Failed")
    assert "does not fit into the memory that volumes have" in row.state["FailureReason"]


def test_an_endpoint_is_deleted_though_somebody_took_the_place_of_the_volumes(hidden_home: Installation) -> None:
    house = hidden_home
    house.deploy("plain")
    house.until_status("InService", "plain")
    Volumes(house.settings).root.touch()
    house.store.update("endpoint", "plain", status="Deleting")
    house.until(lambda: house.row("plain") is None)


def test_a_volume_that_went_with_the_machine_comes_back_empty(attempt: Callable[..., Job], memory: Path) -> None:
    job = attempt()
    (job.directory / "dataset").mkdir()
    shutil.rmtree(memory / job.directory.relative_to(memory).parts[0])
    again = scratch.opened(job.settings, job.resource)
    assert again == job.directory
    assert list(again.iterdir()) == []
