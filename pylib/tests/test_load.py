from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import weakref

import pytest
from conftest import bundle_modules, write

from tyk import _runtime
from tyk._errors import HookNotFoundError, HookSignatureError, NotLoadedError

HOOK = "from tyk.decorators import Hook\n@Hook\ndef MyHook(request, session, spec):\n    "


def test_handles_are_above_zero_and_differ(load):
    first, second = load(), load()
    assert 0 < first.handle < second.handle


def test_hooks_are_found_by_attribute_and_by_name_also_from_siblings(load):
    bundle = load(
        {
            "middleware.py": "from hooks import Imported, Other as Renamed\nfrom tyk.decorators import Hook\n"
            "@Hook\ndef Own(request, session, spec): request.add_header('A', 'own')\nAlias = Own\n",
            "hooks.py": "from tyk.decorators import *\n"
            "@Hook\ndef Imported(request, session, spec): request.add_header('A', 'imported')\n"
            "@Hook\ndef Other(request, session, spec): request.add_header('A', 'other')\n",
        },
        ["Own", "Alias", "Imported", "Renamed", "Other"],
    )
    called = {
        name: bundle.call(name).request.set_headers["A"] for name in ("Own", "Alias", "Imported", "Renamed", "Other")
    }
    assert called == {"Own": "own", "Alias": "own", "Imported": "imported", "Renamed": "other", "Other": "other"}


def test_all_missing_names_are_reported_together(load):
    with pytest.raises(HookNotFoundError) as caught:
        load(
            """
            @Hook
            def MyPreHook(request, session, spec): pass
            @Event
            def OnEvent(event, spec): pass
            def Plain(request, session, spec): pass
            """,
            ["MyPreHok", "Entirely", "OnEvent", "Plain", "MyPreHook"],
            ["onevent", "MyPreHook"],
        )
    text = str(caught.value)
    assert "middleware.py: " in text
    assert 'hook "MyPreHok" is not defined; did you mean "MyPreHook"?' in text
    assert 'hook "Entirely" is not defined; defined are "MyPreHook"' in text
    assert 'hook "OnEvent" is not defined (it is an event handler; decorate it with @Hook)' in text
    assert 'hook "Plain" is not defined (the function lacks the @Hook decorator)' in text
    assert 'event handler "onevent" is not defined; did you mean "OnEvent"?' in text
    assert 'event handler "MyPreHook" is not defined (it is a hook; decorate it with @Event)' in text
    assert bundle_modules() == []


def test_a_module_without_any_hook_says_so(load):
    with pytest.raises(HookNotFoundError, match="no function has the @Hook decorator"):
        load("", ["MyHook"])


@pytest.mark.parametrize(
    ("decorator", "parameters", "says"),
    [
        ("Hook", "", r'function "F" takes 0 arguments; @Hook functions are called with \(request, session, spec\) or'),
        ("Hook", "a", "takes 1 argument;"),
        ("Hook", "a, b", "takes 2 arguments;"),
        ("Hook", "a, b, c, d, e, f", "takes 6 arguments;"),
        ("Hook", "*args", "takes arguments that cannot be counted;"),
        ("Hook", "a, b, c, *, d", "takes arguments that cannot be counted;"),
        ("Pre", "a, b, c, d", r"takes 4 arguments; @Pre functions are called with \(request, session, spec\)$"),
        ("CustomKeyCheck", "a, b, c", r"\(request, session, metadata, spec\)$"),
        ("Event", "a, b, c", r"@Event functions are called with \(event, spec\)$"),
    ],
)
def test_a_wrong_number_of_arguments_is_a_load_error_with_file_and_line(load, decorator, parameters, says):
    source = f"\n@{decorator}\ndef F({parameters}): pass\n"
    names = {"events" if decorator == "Event" else "hooks": ["F"]}
    with pytest.raises(HookSignatureError, match=r"middleware\.py:\d+: .*" + says):
        load(source, **names)
    load(source)  # a function that nothing refers to is nobody's problem


@pytest.mark.parametrize(
    "parameters",
    ["a, b, c", "a, b, c, /", "a, b, c=None", "a, b, c, *, d=1", "a: 'Missing', b: 'X', c: int", "a, b, c, **rest"],
)
def test_positional_parameters_are_counted(load, parameters):
    load(f"@Hook\ndef F({parameters}): pass\n", ["F"]).call("F")


def test_annotations_are_not_evaluated(load):
    source = """
    from __future__ import annotations
    from tyk.decorators import Hook
    @Hook
    def F(request: Request, session: Nothing, spec: dict): pass
    """
    load({"middleware.py": source}, ["F"]).call("F")


@pytest.mark.parametrize(
    ("source", "kind", "says"),
    [
        ("def broken(:\n", SyntaxError, "middleware.py"),
        ("x = 1\n  y = 2\n", IndentationError, "middleware.py"),
        ("1 / 0\n", ZeroDivisionError, "division"),
        ("import helper\n", ValueError, "helper failed"),
        ("raise SystemExit(3)\n", SystemExit, "3"),
        ("import nothing_of_that_name\n", ModuleNotFoundError, "^No module named 'nothing_of_that_name'$"),
    ],
)
def test_what_the_module_raises_comes_out_and_leaves_nothing_behind(load, source, kind, says):
    with pytest.raises(kind, match=says) as caught:
        load({"middleware.py": source, "helper.py": "raise ValueError('helper failed')"})
    if isinstance(caught.value, SyntaxError):
        assert caught.value.filename.endswith("/middleware.py")
        assert caught.value.lineno in (1, 2)
    assert bundle_modules() == []


def test_a_missing_entry_file_is_named(load):
    with pytest.raises(FileNotFoundError, match=r"nothing\.py"):
        load({}, entry="nothing.py")
    assert bundle_modules() == []


@pytest.mark.parametrize(
    "entry", ["my-plugin.py", "1st.py", "with space.py", "a.b.py", "class.py", "lib/inner.py", "plugin"]
)
def test_entry_names_need_not_be_identifiers(load, entry):
    files = {
        entry: HOOK + "import helper; request.add_header('A', helper.VALUE + __file__)",
        os.path.join(os.path.dirname(entry), "helper.py"): "VALUE = 'file '",
    }
    bundle = load(files, ["MyHook"], entry=entry)
    assert bundle.call().request.set_headers["A"] == f"file {bundle.directory}/{entry}"


def test_data_files_beside_the_code_are_read(load):
    source = """with open(os.path.join(os.path.dirname(__file__), 'data.txt')) as file:
        request.add_header('A', file.read())
"""
    bundle = load({"middleware.py": "import os\n" + HOOK + source, "data.txt": "content"})
    assert bundle.call().request.set_headers["A"] == "content"


def test_the_same_directory_again_is_fresh_code(load, tmp_path):
    directory = tmp_path / "same"
    stamp = 1_700_000_000
    for text in ("aaa", "bbb", "ccc"):
        write(directory, {"middleware.py": HOOK + f"import helper; request.add_header('A', '{text}' + helper.V)"})
        write(directory, {"helper.py": f"V = '{text}'"})
        for name in ("middleware.py", "helper.py"):
            os.utime(directory / name, (stamp, stamp))
        bundle = load({}, ["MyHook"], directory=directory)
        assert bundle.call().request.set_headers["A"] == text * 2
    assert sorted(os.listdir(directory)) == ["helper.py", "middleware.py"]


def test_no_bytecode_is_written_or_believed(load, tmp_path):
    script = """
import sys, os
sys.path.insert(0, sys.argv[1])
from tyk import _runtime
handle = _runtime.load("n", sys.argv[2], "middleware.py", [], [], [])
print(sorted(os.listdir(sys.argv[2])))
"""
    directory = write(tmp_path / "b", {"middleware.py": "import helper", "helper.py": ""})
    root = os.path.dirname(os.path.dirname(_runtime.__file__))
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path / "elsewhere")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [sys.executable, "-c", script, root, str(directory)],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    assert done.stdout.strip() == "['helper.py', 'middleware.py']"
    assert not list((tmp_path / "elsewhere").rglob("middleware*"))


def test_unload_is_idempotent_and_forgets_everything(load):
    bundle = load({"middleware.py": HOOK + "pass", "vendor/pkg/__init__.py": "import pkg.sub", "vendor/pkg/sub.py": ""})
    assert bundle_modules() != []
    bundle.unload()
    bundle.unload()
    _runtime.unload(123456)
    assert bundle_modules() == []
    with pytest.raises(NotLoadedError):
        bundle.call()


def test_unloaded_code_is_freed(load):
    bundle = load(
        {
            "middleware.py": "import helper, pickle, importlib\nfrom typing import Optional, List, overload\n"
            "import dataclasses\n@overload\ndef f(a: int): ...\n@overload\ndef f(a: str): ...\ndef f(a): pass\n"
            "@dataclasses.dataclass\nclass Thing:\n    other: Optional['Thing'] = None\n"
            "Many = List[Optional[Thing]]\n" + HOOK + "pickle.loads(pickle.dumps(Thing())); print(Many)",
            "helper.py": "import middleware\nclass Big: pass\nBIG = Big()\n",
        },
        ["MyHook"],
    )
    bundle.call()
    package = f"_krait_bundle_{bundle.handle}"
    module = sys.modules[package + ".middleware"]
    references = [weakref.ref(one) for one in (module, module.Thing, module.helper.BIG, module.MyHook)]
    del module
    bundle.unload()
    gc.collect()
    assert [one() for one in references] == [None] * 4


def test_calls_in_flight_end_on_their_code(load):
    bundle = load(
        {
            "middleware.py": "import threading\nentered, go = threading.Semaphore(0), threading.Event()\n"
            + HOOK
            + """entered.release(); assert go.wait(20)
    import helper, late
    from pkg import inner
    from . import later
    import importlib
    assert importlib.import_module("late") is late
    request.add_header("A", helper.V + late.V + inner.V + later.V)
""",
            "helper.py": "V = 'helper '",
            "late.py": "V = 'late '",
            "later.py": "V = 'later '",
            "pkg/__init__.py": "",
            "pkg/inner.py": "V = 'inner '",
        }
    )
    module = sys.modules[f"_krait_bundle_{bundle.handle}.middleware"]
    results = []
    threads = [threading.Thread(target=lambda: results.append(bundle.call())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert module.entered.acquire(timeout=20)
    bundle.unload()
    assert bundle_modules() == []
    module.go.set()
    for thread in threads:
        thread.join()
    assert [result.request.set_headers["A"] for result in results] == ["helper late inner later "] * 4
    assert bundle_modules() == []
