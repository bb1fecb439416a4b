"""The documentation is true: what it names exists, what it quotes compiles, where it links to is there."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

from pilothouse.cli import main
from pilothouse.config import Settings

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"(?<![\w./-])pilothouse((?: +[a-z][\w-]*)+)((?: +--?[\w-]+(?:[ =][\w./]+)?)*)")
NOT_COMMANDS = re.compile(r"^\s*(?:from|import) pilothouse.*$|git clone.*$", re.MULTILINE)


def blocks(page: Path, language: str) -> Iterator[str]:
    return (code for name, code in BLOCK.findall(page.read_text()) if name == language)


def code_of(page: Path) -> str:
    """What stands in code blocks and between backticks, where commands are named."""
    text = page.read_text()
    spans = re.findall(r"`([^`\n]+)`", BLOCK.sub("", text))
    return NOT_COMMANDS.sub("", "\n".join([*(code for _, code in BLOCK.findall(text)), *spans]))


def id_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=id_of)
def test_python_blocks_compile(page: Path) -> None:
    for code in blocks(page, "python"):
        ast.parse(code)


@pytest.mark.parametrize("page", PAGES, ids=id_of)
def test_shell_blocks_parse(page: Path) -> None:
    for code in blocks(page, "sh"):
        runnable = re.sub(r"<[^>\n]+>", "PLACE", code)
        done = subprocess.run(["bash", "-n"], input=runnable, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=id_of)
def test_every_command_named_exists(page: Path) -> None:
    for words, options in COMMAND.findall(code_of(page)):
        command = find_command(words.split())
        known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
        unknown = [option for option in re.findall(r"(?<=\s)--[\w-]+", options) if option not in known | {"--help"}]
        assert not unknown, f"pilothouse{words} has no {unknown}"


def find_command(words: list[str]) -> click.Command:
    command: click.Command = main
    context = click.Context(main)
    for word in words:
        if not isinstance(command, click.Group):
            break
        found = command.get_command(context, word)
        assert found is not None, f"there is no command {' '.join(words)}"
        command = found
    return command


@pytest.mark.parametrize("page", PAGES, ids=id_of)
def test_every_make_target_named_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^|\n|`)make ([a-z]+)", code_of(page)))
    assert named <= targets


@pytest.mark.parametrize("page", PAGES, ids=id_of)
def test_every_link_leads_to_a_file_and_to_a_heading_in_it(page: Path) -> None:
    for target, anchor in links_of(page):
        file = page.parent / target if target else page
        assert file.exists(), target
        assert not anchor or anchor in anchors_of(file), f"{target} has no heading #{anchor}"


def links_of(page: Path) -> list[tuple[str, str]]:
    """File and anchor of each link of a page that stays in the repository."""
    text = re.sub(r"`[^`\n]+`", "", BLOCK.sub("", page.read_text()))
    found = re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)", text)
    return [(target, anchor) for target, anchor in found if "://" not in target]


@cache
def anchors_of(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", BLOCK.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=id_of)
def test_every_setting_named_exists(page: Path) -> None:
    known = {f"PILOTHOUSE_{name.upper()}" for name in Settings.model_fields} | {"PILOTHOUSE_ROLE_ARN"}
    assert set(re.findall(r"PILOTHOUSE_[A-Z0-9_]+", page.read_text())) - {"PILOTHOUSE_FAILPOINT"} <= known


def test_the_table_of_settings_is_that_of_the_code() -> None:
    rows = re.findall(
        r"^\| `(PILOTHOUSE_\w+)`(?: \(`(--[\w-]+)`\))? \| (.+) \| (.+) \|$",
        (ROOT / "docs/index.md").read_text(),
        re.MULTILINE,
    )
    options = {parameter.name: parameter.opts[0] for parameter in find_command(["serve"]).params}
    assert [(variable, option, meaning) for variable, option, _, meaning in rows] == [
        (f"PILOTHOUSE_{name.upper()}", options.get(name, ""), field.description)
        for name, field in Settings.model_fields.items()
    ]
    defaults = {variable: default for variable, _, default, _ in rows}
    for name, field in Settings.model_fields.items():
        if field.default_factory is None:
            said = "not set" if field.default is None else str(field.default)
            assert defaults[f"PILOTHOUSE_{name.upper()}"] == said


def test_every_command_is_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text()
    assert [name for name in main.list_commands(click.Context(main)) if f"pilothouse {name}" not in text] == ["demo"]
    assert "make demo" in text


def test_make_help_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony is not None
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True)
    assert re.findall(r"^  make (\w+)", done.stdout, re.MULTILINE) == phony[1].split()


def test_constraints_pin_versions_and_nothing_else() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line) for line in lines)


def test_constraints_cover_every_direct_dependency() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(r for extra in project["optional-dependencies"].values() for r in extra)]
    names = {re.split(r"[^\w-]", requirement)[0].lower() for requirement in wanted}
    pinned = {line.split("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert names - {"pilothouse"} <= pinned


def test_every_page_can_be_reached_from_the_index() -> None:
    reached: set[Path] = set()
    following = [ROOT / "docs/index.md"]
    while following:
        page = following.pop()
        if page not in reached:
            reached.add(page)
            links = (page.parent / target for target, _ in links_of(page) if target.endswith(".md"))
            following.extend(link.resolve() for link in links)
    assert [page for page in ROOT.glob("docs/**/*.md") if page not in reached] == []
