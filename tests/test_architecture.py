"""The floors: who may import whom, and what must not be heavy. A folder is a floor."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# From the ground up. What stands in a line may import from its own line and from those above it, in no circle.
FLOORS = {
    "iclight": """errors parameters settings prompts networks
        weights
        imaging
        diffusion
        editing
        request recipes
        matting loading results passes relighter
        normals olat
        batch
        studio
        server
        cli __main__""",
    "iclight/batch": """rows storage
        tables
        sources
        log plan worker
        pipeline
        processes on_ray
        run""",
    "iclight/networks": """blocks clip
        unet autoencoder""",
    "iclight/studio": """ui
        service
        tabs
        layout""",
    "iclight/cli": """options terminal outputs surroundings checks doctor serve serve_api
        batch
        relight mix normals
        main""",
    "training": """checkpoints metrics randomness shards
        scenes
        autoencoder
        data
        sheets config tokenizer model base loss rollouts sampling export train
        evaluation""",
}


def modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Dotted names that a file imports, those of its own tree from the root on."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = ".".join(package[: len(package) - node.level + 1] if node.level else ())
            module = ".".join(filter(None, (start, node.module)))
            yield from (f"{module}.{alias.name}" for alias in node.names)


def rooms_of(folder: str) -> dict[str, set[str]]:
    """A folder's rooms (modules, and folders as one) -> the rooms of the same folder that they import."""
    prefix, rooms = folder.replace("/", ".") + ".", {}
    for path in modules(folder):
        room = path.relative_to(ROOT / folder).parts[0].removesuffix(".py")
        others = {name.removeprefix(prefix).split(".")[0] for name in imports(path) if name.startswith(prefix)}
        rooms[room] = rooms.get(room, set()) | others - {room}
    known = set(rooms) - {"__init__"}
    return {room: others & known for room, others in rooms.items() if room != "__init__"}


@pytest.mark.parametrize("folder", FLOORS)
def test_a_room_imports_only_from_its_own_floor_or_below(folder):
    floor_of = {room: floor for floor, line in enumerate(FLOORS[folder].splitlines()) for room in line.split()}
    rooms = rooms_of(folder)
    assert set(rooms) == set(floor_of), "every room stands on a floor, and every floor's rooms are there"
    for room, others in rooms.items():
        for other in others:
            assert floor_of[other] <= floor_of[room], f"{folder}/{room} imports {other} from above"


@pytest.mark.parametrize(
    "folder", [*FLOORS, *(f"iclight/{name}" for name in ("weights", "imaging", "diffusion", "editing", "server"))]
)
def test_no_room_needs_what_needs_it(folder):
    rooms, done = rooms_of(folder), set()
    while ready := {room for room, others in rooms.items() if room not in done and others <= done}:
        done |= ready
    assert done == set(rooms), f"a circle among {sorted(set(rooms) - done)}"


def test_the_house_is_small_as_one_sees_it_at_the_top():
    assert len(FLOORS["iclight"].splitlines()) <= 12 and len(rooms_of("iclight")) <= 23


def test_nothing_below_the_pages_and_the_server_imports_what_serves_them():
    for path in modules("iclight"):
        if "studio" not in path.parts and "server" not in path.parts:
            assert {name.split(".")[0] for name in imports(path)}.isdisjoint({"gradio", "fastapi", "starlette"}), path


def test_nothing_imports_the_training():
    for path in [*modules("iclight"), *modules("briarmbg")]:
        assert not any(name.split(".")[0] == "training" for name in imports(path)), path


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import iclight", ["torch", "diffusers", "transformers", "gradio", "cv2", "numpy", "huggingface_hub"]),
        (
            "import iclight.cli.main",
            ["torch", "diffusers", "transformers", "gradio", "cv2", "numpy", "huggingface_hub"],
        ),
        ("import iclight.studio.layout, iclight.cli.serve", ["torch", "diffusers", "transformers"]),
    ],
)
def test_importing_is_light(statement, absent):
    if "layout" in statement:
        pytest.importorskip("gradio")
    code = f"import sys; {statement}; print([name for name in {absent} if name in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert out.stdout.strip() == "[]"


def test_pictures_and_weights_need_no_torch():
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for folder in ("weights", "imaging", "editing")
        for path in modules(f"iclight/{folder}")
    ]
    code = (
        "import sys, importlib\n"
        f"for name in {names}: importlib.import_module(name.removesuffix('.__init__'))\n"
        "assert 'torch' not in sys.modules and 'gradio' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_every_module_says_what_it_is_for():
    for path in [*modules("iclight"), *modules("training"), *ROOT.glob("briarmbg/*.py"), *ROOT.glob("*.py")]:
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path
