"""The container contract: files by their keys, the command line, the variables, and what is made of a model folder."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pilothouse.catalog.training_jobs import Channel, TrainingJob, below_root
from pilothouse.contract import environment, hosts
from pilothouse.contract.channels import Checkpoints, fetch, relative, share
from pilothouse.contract.environment import Surroundings, arguments, located
from pilothouse.contract.opt_ml import OptMl, settle
from pilothouse.errors import DataError
from pilothouse.objects import manifest
from pilothouse.objects.base import ObjectInfo
from pilothouse.objects.directory import DirectoryObjects


@pytest.fixture
def objects(tmp_path: Path) -> DirectoryObjects:
    objects = DirectoryObjects(tmp_path / "objects")
    objects.create_bucket("data")
    return objects


def job(**changes: Any) -> TrainingJob:
    request = {
        "TrainingJobName": "one",
        "AlgorithmSpecification": {"TrainingImage": "pilothouse/script:1", "TrainingInputMode": "File"},
        "OutputDataConfig": {"S3OutputPath": "s3://data/out/"},
        "ResourceConfig": {"InstanceType": "ml.m5.large"},
        **changes,
    }
    return TrainingJob.of(request)


def channel(uri: str, data_type: str = "S3Prefix") -> Channel:
    return Channel("train", uri, data_type, None, "File", "FullyReplicated", "None", "None")


def fetched(objects: DirectoryObjects, folder: Path, wanted: Channel) -> list[str]:
    fetch(objects, wanted, folder, lambda: None)
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("prefix", "files"),
    [
        ("train/", ["a.csv", "deep/b.csv"]),
        ("train", ["train/a.csv", "train/deep/b.csv", "train2/c.csv"]),
        ("train/a", ["a.csv"]),
        ("train/a.csv", ["a.csv"]),
        ("train/deep", ["b.csv"]),
        ("", ["train/a.csv", "train/deep/b.csv", "train2/c.csv"]),
    ],
)
def test_files_are_named_by_their_keys_below_the_prefix(
    objects: DirectoryObjects, tmp_path: Path, prefix: str, files: list[str]
) -> None:
    for key in ("train/a.csv", "train/deep/b.csv", "train2/c.csv"):
        objects.put("data", key, b"1\n")
    assert fetched(objects, tmp_path / "here", channel(f"s3://data/{prefix}")) == files


def test_files_of_a_manifest_are_named_by_its_keys(objects: DirectoryObjects, tmp_path: Path) -> None:
    objects.put("data", "x/y/z.csv", b"1\n")
    objects.put("data", "some.manifest", json.dumps([{"prefix": "s3://data/x/"}, "y/z.csv"]).encode())
    assert fetched(objects, tmp_path / "here", channel("s3://data/some.manifest", "ManifestFile")) == ["y/z.csv"]


@pytest.mark.parametrize("key", ["p/../../etc/passwd", "p//x", "p/./x", "p/" + "x" * 300, "p/a\0b", "p/"])
def test_a_key_that_would_leave_its_folder_is_refused(key: str) -> None:
    with pytest.raises(DataError, match="cannot be a file of its channel"):
        relative(ObjectInfo("data", key, 1, "", 0.0), "p/")


def test_a_key_that_is_a_file_and_a_folder_fails_in_words(objects: DirectoryObjects, tmp_path: Path) -> None:
    objects.put("data", "p/a", b"1")
    objects.put("data", "p/a/b", b"1")
    with pytest.raises(DataError, match="another object's name is a folder of it"):
        fetched(objects, tmp_path / "here", channel("s3://data/p/"))


def test_a_channel_that_is_gone_fails_in_words(objects: DirectoryObjects, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Data download for the channel train failed: No S3 objects found"):
        fetched(objects, tmp_path / "here", channel("s3://data/none"))


def test_jobs_that_share_have_one_copy_that_none_of_them_changes(objects: DirectoryObjects, tmp_path: Path) -> None:
    objects.put("data", "p/deep/a", b"old")
    objects.put("data", "p/b", b"b")
    one, two, three = (tmp_path / name for name in ("one", "two", "three"))
    for folder in (one, two):
        share(objects, channel("s3://data/p/"), folder, tmp_path / "common", lambda: None)
    assert (one / "deep/a").stat().st_ino == (two / "deep/a").stat().st_ino
    assert (one / "b").stat().st_mode & 0o777 == 0o444
    objects.put("data", "p/deep/a", b"newer")
    objects.delete("data", "p/b")
    share(objects, channel("s3://data/p/"), three, tmp_path / "common", lambda: None)
    assert ((one / "deep/a").read_bytes(), (three / "deep/a").read_bytes()) == (b"old", b"newer")
    assert not (three / "b").exists()
    share(objects, channel("s3://data/p/"), one, tmp_path / "common", lambda: None)
    assert (one / "deep/a").read_bytes() == b"newer"


def test_the_root_of_a_prefix_is_the_folder_it_lies_in(objects: DirectoryObjects) -> None:
    infos = [ObjectInfo("data", key, 1, "", 0.0) for key in ("a/b-1", "a/b/2")]
    assert manifest.root(objects, "S3Prefix", "s3://data/a/b", infos) == "a/"
    assert manifest.root(objects, "S3Prefix", "s3://data/a/b", infos[1:]) == "a/b/"


def test_checkpoints_go_both_ways_and_only_when_they_change(objects: DirectoryObjects, tmp_path: Path) -> None:
    objects.put("data", "c/old/1", b"one")
    objects.put("data", "cc", b"not ours")
    tmp_path = tmp_path / "checkpoints"
    kept = Checkpoints(objects, "s3://data/c", tmp_path, tmp_path.with_name("restored"))
    kept.restore()
    assert (tmp_path / "old" / "1").read_bytes() == b"one"
    assert kept.push() == 0
    (tmp_path / "2").write_text("two")
    (tmp_path / "link").symlink_to("/etc/passwd")
    assert kept.push() == 1
    assert objects.read("data", "c/2") == b"two"
    (tmp_path / "2").write_text("two and more")
    assert kept.push() == 1
    assert [info.key for info in objects.walk("data", "c/")] == ["c/2", "c/old/1"]


def test_checkpoints_that_one_process_restored_are_not_sent_again_by_the_next(
    objects: DirectoryObjects, tmp_path: Path
) -> None:
    objects.put("data", "c/1", b"one")
    folder = tmp_path / "checkpoints"
    for _ in range(2):
        kept = Checkpoints(objects, "s3://data/c", folder, tmp_path / "restored")
        kept.restore()
        assert (folder / "1").stat().st_mtime == objects.head("data", "c/1").modified_at
        assert kept.push() == 0


def test_a_channel_holds_its_objects_and_nothing_that_a_killed_process_or_a_program_left(
    objects: DirectoryObjects, tmp_path: Path
) -> None:
    objects.put("data", "p/deep/a", b"a")
    for number, bring in enumerate((fetch, partial(share, common=tmp_path / "common"))):
        folder = tmp_path / str(number)
        for left in (".0123456789abcdef", "deep/.0123456789abcdef", "cache/index"):
            (folder / left).parent.mkdir(parents=True, exist_ok=True)
            (folder / left).write_text("half")
        bring(objects=objects, channel=channel("s3://data/p/"), folder=folder, go_on=lambda: None)  # type: ignore[operator]
        assert [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*"))] == ["deep", "deep/a"]


def test_half_a_checkpoint_is_never_among_them(
    objects: DirectoryObjects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects.put("data", "c/1", b"one")
    folder = tmp_path / "checkpoints"
    kept = Checkpoints(objects, "s3://data/c", folder, tmp_path / "restored")
    with monkeypatch.context() as patched:
        patched.setattr("shutil.copyfileobj", interrupted)
        patched.setattr(Path, "unlink", lambda *_, **__: None)  # whoever is killed removes nothing
        with pytest.raises(KeyboardInterrupt):
            kept.restore()
    assert not folder.exists()
    kept.restore()
    assert [path.name for path in folder.iterdir()] == ["1"]


def test_checkpoints_that_a_killed_process_had_not_sent_are_sent_by_the_next(
    objects: DirectoryObjects, tmp_path: Path
) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for name in ("sent", "changed"):
        (folder / name).write_text("old")
        os.utime(folder / name, (0, 0))  # an object's time has no parts of a millisecond
        objects.put("data", f"c/{name}", b"old")
    (folder / "changed").write_text("new")
    later = objects.head("data", "c/changed").modified_at + 1
    os.utime(folder / "changed", (later, later))
    kept = Checkpoints(objects, "s3://data/c", folder, tmp_path / "restored")
    kept.restore()
    assert kept.push() == 1
    assert objects.read("data", "c/changed") == b"new"


def test_hyperparameters_become_words_as_the_toolkit_makes_them() -> None:
    given = {"b": 1, "alpha": "x y", "deep": {"k": 1, "a": 2}, "none": None, "flag": False, "rate": 1e-5, "list": [1]}
    assert arguments(given) == [
        *("--alpha", "x y", "-b", "1", "--deep", "a=2,k=1", "--flag", "False"),
        *("--list", "[1]", "--none", "", "--rate", "1e-05"),
    ]


def test_what_is_for_the_machinery_reaches_no_script() -> None:
    given = {"sagemaker_program": '"t.py"', "sagemaker_region": "x", "_tuning_objective_metric": "loss", "lr": '"0.1"'}
    spec = job(HyperParameters=given)
    assert spec.user_hyperparameters == {"lr": "0.1"}
    assert spec.program == "t.py"
    variables = environment.variables(spec, Surroundings("/opt/ml", "arn", "us-east-1", 4))
    assert variables["SM_HPS"] == '{"lr":"0.1"}'
    assert (variables["SM_MODULE_NAME"], variables["SM_USER_ENTRY_POINT"]) == ("t", "t.py")
    assert (variables["SM_NUM_CPUS"], variables["SM_LOG_LEVEL"]) == ("4", "20")


def test_a_hyperparameter_that_nests_too_deeply_is_text() -> None:
    deep = "[" * 2500
    spec = job(HyperParameters={"sagemaker_program": deep, "a": deep})
    assert (spec.program, spec.user_hyperparameters) == (deep, {"a": deep})


def test_no_hyperparameter_keeps_the_program_from_starting() -> None:
    given = {f"long-{i}": "x" * 2500 for i in range(99)} | {"a=b": "1"}
    variables = environment.variables(job(HyperParameters=given), Surroundings("/opt/ml", "arn", "us-east-1", 1))
    assert "SM_HPS" not in variables  # the kernel takes 128 KiB
    assert not any("=" in name for name in variables)
    assert variables["SM_HP_LONG-1"] == "x" * 2500


def test_the_requests_variables_win() -> None:
    spec = job(Environment={"SM_NUM_CPUS": "64", "DATA": "/opt/ml/input"})
    variables = environment.variables(spec, Surroundings("/home/x/ml", "arn", "us-east-1", 1))
    assert (variables["SM_NUM_CPUS"], variables["DATA"]) == ("64", "/home/x/ml/input")
    assert located("/opt/ml/a", "/opt/ml") == "/opt/ml/a"


@pytest.mark.parametrize(
    ("path", "below"),
    [("/opt/ml/a/b", "a/b"), ("/opt/ml", None), ("/opt/ml/../x", None), ("/opt/mlx", None), ("a", None)],
)
def test_only_paths_below_the_root_are_ours(path: str, below: str | None) -> None:
    assert below_root(path) == below


@pytest.fixture
def folders(tmp_path: Path) -> OptMl:
    folders = OptMl(tmp_path / "ml")
    folders.lay_out(job())
    return folders


def test_a_failure_file_is_read_as_far_as_it_counts(folders: OptMl) -> None:
    assert folders.failure() is None
    (folders.output / "failure").write_text("é" * 5000)
    assert folders.failure() == "é" * 1024
    (folders.output / "failure").write_text(" \n")
    assert folders.failure() is None


@pytest.mark.parametrize("kind", ["link", "fifo", "folder"])
def test_a_failure_file_that_is_no_file_is_no_reason(folders: OptMl, kind: str) -> None:
    path = folders.output / "failure"
    match kind:
        case "link":
            path.symlink_to("/etc/passwd")
        case "fifo":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
    assert folders.failure() is None


def test_a_model_folder_becomes_plain_files(tmp_path: Path) -> None:
    model = tmp_path / "model"
    (model / "sub").mkdir(parents=True)
    (model / "sub" / "real").write_text("content")
    (tmp_path / "outside").write_text("secret")
    (model / "good").symlink_to("sub/real")
    (model / "chain").symlink_to("good")
    (model / "out").symlink_to("../outside")
    (model / "folder").symlink_to("sub")
    (model / "gone").symlink_to("nowhere")
    (model / "loop").symlink_to("loop")
    os.mkfifo(model / "pipe")
    assert settle(model) == ["folder", "gone", "loop", "out", "pipe"]
    files = {path.relative_to(model).as_posix(): path.read_text() for path in model.rglob("*") if path.is_file()}
    assert files == {"sub/real": "content", "good": "content", "chain": "content"}
    assert not any(path.is_symlink() for path in model.rglob("*"))


def test_folders_that_a_program_closed_are_open_again(folders: OptMl, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "closed").mkdir(parents=True)
    (outside / "closed").chmod(0o500)
    inner = folders.channel("train") / "deep" / "deeper"
    inner.mkdir(parents=True)
    (inner / "link").symlink_to(outside / "closed")
    inner.chmod(0)
    inner.parent.chmod(0o555)
    folders.data.chmod(0o555)
    folders.lay_out(job())
    modes = [path.stat().st_mode & 0o777 for path in (folders.data, inner.parent, inner, outside / "closed")]
    assert modes == [0o755, 0o755, 0o700, 0o500]
    assert list(inner.iterdir()) == []


def test_a_link_is_not_lost_when_whoever_makes_it_a_file_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "epoch-9").write_text("best")
    (model / "best").symlink_to("epoch-9")
    for killed_at in ("link", "replace"):
        with monkeypatch.context() as patched:
            patched.setattr("os.link" if killed_at == "link" else "pathlib.Path.replace", interrupted)
            with pytest.raises(KeyboardInterrupt):
                settle(model)
    assert settle(model) == []
    assert {path.name: path.read_text() for path in model.iterdir()} == {"epoch-9": "best", "best": "best"}


def interrupted(*_: Any) -> None:
    raise KeyboardInterrupt


def test_folders_that_a_program_made_links_are_folders_again(folders: OptMl, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "failure").write_text("secret")
    (outside / "data").mkdir()
    (outside / "data" / "key").write_text("secret")
    for folder in (folders.model, folders.output, folders.config):
        shutil.rmtree(folder)
        folder.symlink_to(outside)
    assert folders.settle() == ["model", "output"]
    assert folders.failure() is None
    assert [*folders.model.iterdir(), *folders.output_data.iterdir()] == []
    folders.lay_out(job())
    assert sorted(path.name for path in outside.iterdir()) == ["data", "failure"]
    assert (folders.config / "hyperparameters.json").exists()


def test_a_program_that_begins_again_keeps_its_checkpoints_only(folders: OptMl) -> None:
    for path in (folders.model / "m", folders.output_data / "o", folders.checkpoints(job()) / "c"):
        path.write_text("x")
    folders.renew_outputs()
    assert [p.name for p in folders.base.rglob("*") if p.is_file() and p.suffix != ".json"] == ["c"]


def test_a_sharded_channel_gives_each_object_to_one_host(objects: DirectoryObjects, tmp_path: Path) -> None:
    for key in "abcde":
        objects.put("data", f"p/{key}", b"1")
    sharded = replace(channel("s3://data/p/"), distribution="ShardedByS3Key")
    seen = []
    for host in hosts.hosts(3, "arn"):
        fetch(objects, sharded, tmp_path / host.name, lambda: None, host)
        share(objects, sharded, tmp_path / "shared" / host.name, tmp_path / "common", lambda: None, host)
        seen.append(sorted(path.name for path in (tmp_path / host.name).iterdir()))
        assert sorted(path.name for path in (tmp_path / "shared" / host.name).iterdir()) == seen[-1]
    assert seen == [["a", "d"], ["b", "e"], ["c"]]


def test_a_host_without_an_object_has_an_empty_channel(objects: DirectoryObjects, tmp_path: Path) -> None:
    objects.put("data", "p/a", b"1")
    sharded = replace(channel("s3://data/p/"), distribution="ShardedByS3Key")
    share(objects, sharded, tmp_path / "here", tmp_path / "common", lambda: None, hosts.hosts(2, "arn")[1])
    assert list((tmp_path / "here").iterdir()) == []


def test_hosts_know_each_other_at_addresses_of_their_job() -> None:
    first, second = hosts.hosts(2, "arn:a")
    assert first.addresses == second.addresses != hosts.hosts(2, "arn:b")[0].addresses
    assert all(address.startswith("127.") for address in first.addresses.values())
    assert first.table().splitlines()[:2] == [f"{address}\t{name}" for name, address in first.addresses.items()]


def test_what_hosts_wrote_is_gathered_and_the_first_ones_counts(tmp_path: Path) -> None:
    one, two, three = (tmp_path / name for name in ("one", "two", "three"))
    for folder in (one, two, three):
        (folder / "deep").mkdir(parents=True)
        (folder / "deep" / folder.name).write_text(folder.name)
        (folder / "same").write_text(folder.name)
    (one / "a").write_text("a file here")
    (two / "a").mkdir()
    (two / "a" / "b").write_text("a folder there")
    for _ in range(2):
        assert hosts.gather([two, three], one) == ["a/b", "same", "same"]
    assert sorted(path.name for path in (one / "deep").iterdir()) == ["one", "three", "two"]
    assert (one / "same").read_text() == "one"
