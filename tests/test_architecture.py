"""The floors: who may import whom, and what must not be heavy."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "iclight"

FLOORS = {
    0: [
        "errors",
        "budgets",
        "settings",
        "normal_knobs",
        "images",
        "lights",
        "tints",
        "retouch",
        "lighting",
        "colour",
        "environment",
        "recipes",
        "recipe_fields",
        "png_text",
        "catalogue",
        "checks",
        "options",
        "finish",
        "gains",
        "layers",
        "placing",
        "shading",
        "tiff",
        "tiff_apart",
        "tiff_directory",
        "tiff_reader",
        "canvas",
        "exif",
        "exr_header",
        "deep_png",
        "normal_maps",
    ],
    1: [
        "devices",
        "tensors",
        "folders",
        "hub",
        "bases",
        "offsets",
        "weights",
        "parts",
        "codec",
        "unet",
        "tokens",
        "identity",
        "prompts",
        "matting",
        "grabcut",
        "sampler",
        "progress",
        "results",
    ],
    2: ["relighter"],
    3: ["normals", "mixing", "stack"],
    4: ["doctor", "cli", "mix_command", "normals_command", "terminal", "files", "__main__", "studio"],
}
# The studio's own floors, from the ground up.
STUDIO = [
    [
        "words",
        "chinese",
        "chinese_sentences",
        "sessions",
        "page",
        "inline",
        "examples",
        "storage",
        "requests",
        "logins",
        "paintings",
        "guard",
    ],
    ["handlers", "engine", "outcome", "moods", "components", "inputs", "pages"],
    ["live", "history"],
    ["work"],
    ["desk", "relief", "painting", "restore"],
    ["form", "relight_view", "desk_view", "normals_view", "history_view"],
    ["layout"],
    ["launch"],
]
FLOOR_OF = {name: floor for floor, names in FLOORS.items() for name in names}


def imports(path: Path, top_only: bool = False) -> set[str]:
    """Modules that a file imports, iclight's own as their first name below the package."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_only else list(ast.walk(tree))
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            depth = len(path.relative_to(PACKAGE).parts) if path.is_relative_to(PACKAGE) else 0
            if node.level and node.level >= depth:
                found |= {f"iclight.{node.module or alias.name}" for alias in node.names}
            elif not node.level:
                found.add(node.module or "")
    return found


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_only_from_its_own_floor_or_below(path):
    name = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if name in ("__init__", "training"):
        return
    floor = FLOOR_OF[name]
    for imported in imports(path):
        if imported.startswith("iclight."):
            other = imported.split(".")[1]
            assert FLOOR_OF.get(other, 0) <= floor, f"{name} (floor {floor}) imports {other}"


def test_the_studios_rooms_stand_on_their_floors():
    floor_of = {name: floor for floor, names in enumerate(STUDIO) for name in names}
    rooms = {path.stem: path for path in (PACKAGE / "studio").glob("*.py") if path.stem != "__init__"}
    assert set(rooms) == set(floor_of)
    for name, path in rooms.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level == 1:
                for other in [node.module] if node.module else [alias.name for alias in node.names]:
                    assert floor_of[other] <= floor_of[name], f"studio/{name} imports {other} from above"


def test_nothing_below_the_faces_imports_gradio():
    for path in modules():
        if "studio" not in path.parts:
            assert not any(name.split(".")[0] == "gradio" for name in imports(path)), path


def test_nothing_imports_the_training_wing():
    for path in modules():
        if "training" not in path.parts:
            assert not any(name.startswith("iclight.training") for name in imports(path)), path


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import iclight", ["torch", "diffusers", "transformers", "gradio", "cv2", "huggingface_hub"]),
        ("import iclight.cli", ["torch", "diffusers", "transformers", "gradio", "cv2", "numpy", "huggingface_hub"]),
        ("import iclight.studio.layout, iclight.studio.launch", ["torch", "diffusers", "transformers"]),
    ],
)
def test_importing_is_light(statement, absent):
    if "layout" in statement:
        pytest.importorskip("gradio")
    code = f"import sys; {statement}; print([name for name in {absent} if name in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert out.stdout.strip() == "[]"


def test_the_ground_floor_needs_no_torch():
    code = (
        "import sys, importlib\n"
        f"for name in {FLOORS[0]}: importlib.import_module('iclight.' + name)\n"
        "assert 'torch' not in sys.modules and 'gradio' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_every_module_says_what_it_is_for():
    for path in [*modules(), *ROOT.glob("briarmbg/*.py"), *ROOT.glob("*.py")]:
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path
