from __future__ import annotations

import builtins
import importlib
import os
import shutil
import sys
import sysconfig
import threading

import pytest
from conftest import bundle_modules, write

from tyk import _names
from tyk._errors import HookTimeout
from tyk._imports import Namespace

HEAD = "from tyk.decorators import *\n"


def shows(expression, imports=""):
    """Return an entry module whose hook shows the value of an expression."""
    return (
        f"{HEAD}{imports}\n@Hook\ndef MyHook(request, session, spec):\n    request.add_header('A', str({expression}))\n"
    )


def shown(bundle):
    return bundle.call().request.set_headers["A"]


def test_equal_names_do_not_meet(load):
    def files(text):
        return {
            "middleware.py": shows(
                "helper.V + utils.V + pkg.V + sub.V", "import helper, pkg\nfrom pkg import sub\nimport utils"
            ),
            "helper.py": f"import utils\nV = '{text}' + utils.V",
            "utils.py": f"V = '{text}'",
            "pkg/__init__.py": "from utils import V",
            "pkg/sub.py": "from pkg import V",
        }

    first, second = load(files("1")), load(files("2"))
    assert (shown(first), shown(second), shown(first)) == ("11111", "22222", "11111")
    assert not {"helper", "utils", "pkg", "middleware"} & set(sys.modules)


def test_nothing_global_changes(load):
    path, imported, finders = list(sys.path), builtins.__import__, len(sys.meta_path)
    load({"middleware.py": "import helper\nV = 1", "helper.py": "", "vendor/x.py": ""})
    load({"middleware.py": "import helper\nV = 1", "helper.py": ""})
    assert sys.path == path
    assert builtins.__import__ is imported
    assert len(sys.meta_path) <= finders + 1
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("helper")


FORMS = [
    ("import a.b", "a.b.V", "b"),
    ("import a.b.c", "a.b.c.V + a.b.V", "cb"),
    ("import a.b as x", "x.V", "b"),
    ("import a.b.c as x", "x.V", "c"),
    ("from a import b", "b.V", "b"),
    ("from a.b import c", "c.V", "c"),
    ("from a.b import c as x, V", "x.V + V", "cb"),
    ("import a", "a.only", "only"),
    ("from a import only", "only", "only"),
    ("from . import helper", "helper.V", "helper"),
    ("from .helper import V", "V", "helper"),
    ("from .a.b import c", "c.V", "c"),
    ("import middleware", "middleware.__file__ == __file__", "True"),
    ("import importlib", "importlib.import_module('helper').V", "helper"),
    ("import importlib", "importlib.import_module('a.b').V", "b"),
    ("import importlib", "importlib.import_module('.b', 'a').V", "b"),
    ("import importlib", "importlib.import_module('.helper', __package__).V", "helper"),
    ("import importlib", "importlib.reload(importlib.import_module('helper')).V", "helper"),
    ("import importlib", "importlib.import_module('json').__name__", "json"),
    ("import importlib.machinery", "importlib.machinery.ModuleSpec.__name__", "ModuleSpec"),
    ("from importlib import import_module", "import_module('helper').V", "helper"),
    ("import importlib.util", "importlib.util.find_spec('helper').origin.split('/')[-1]", "helper.py"),
    ("import importlib.util", "importlib.util.find_spec('a.b.c').origin.split('/')[-1]", "c.py"),
    ("import importlib.util", "importlib.util.find_spec('.c', 'a.b').origin.split('/')[-1]", "c.py"),
    ("import importlib.util", "importlib.util.find_spec('no_such_module')", "None"),
    ("import importlib.util", "importlib.util.find_spec('json').name", "json"),
    ("", "__import__('helper').V", "helper"),
    ("", "__import__('a.b').b.V", "b"),
    ("", "eval('__import__(\"helper\").V')", "helper"),
    ("scope = {}\nexec('import helper', scope)", "scope['helper'].V", "helper"),
    ("import sys", "sys.modules[__name__].__file__ == __file__", "True"),
    ("import vendored", "vendored.V", "vendored"),
    ("import extra_module", "extra_module.V", "extra"),
    ("from namespace.part import V", "V", "part"),
    ("import namespace.part", "namespace.part.V", "part"),
]
FORM_FILES = {
    "helper.py": "V = 'helper'",
    "a/__init__.py": "only = 'only'\n__all__ = ['b', 'only']",
    "a/b/__init__.py": "V = 'b'",
    "a/b/c.py": "V = 'c'",
    "vendor/vendored/__init__.py": "from vendored.inner import V\nimport vendored.inner as again\nassert again.V == V",
    "vendor/vendored/inner.py": "import vendored\nfrom . import other\nV = other.V",
    "vendor/vendored/other.py": "V = 'vendored'",
    "vendor/namespace/part.py": "V = 'part'",
}


@pytest.mark.parametrize(("statement", "expression", "expected"), [*FORMS, ("from a import *", "only + b.V", "onlyb")])
def test_every_form_of_import_at_module_level(load, tmp_path, statement, expression, expected):
    extra = write(tmp_path / "extra", {"extra_module.py": "V = 'extra'"})
    bundle = load({"middleware.py": shows(expression, statement), **FORM_FILES}, path=[str(extra)])
    assert shown(bundle) == expected


@pytest.mark.parametrize(("statement", "expression", "expected"), FORMS)
def test_every_form_of_import_inside_a_hook(load, tmp_path, statement, expression, expected):
    extra = write(tmp_path / "extra", {"extra_module.py": "V = 'extra'"})
    lines = [*statement.split("\n"), f"request.add_header('A', str({expression}))"]
    source = f"{HEAD}@Hook\ndef MyHook(request, session, spec):\n" + "".join(f"    {line}\n" for line in lines)
    bundle = load({"middleware.py": source, **FORM_FILES}, path=[str(extra)])
    assert shown(bundle) == expected
    bundle.unload()


def test_bundle_comes_before_vendor_before_path_before_python(load, tmp_path):
    extra = write(
        tmp_path / "extra",
        {"one.py": "V='path'", "two.py": "V='path'", "three.py": "V='path'", "pytest.py": "V='path'"},
    )
    bundle = load(
        {
            "middleware.py": shows("one.V + two.V + three.V + pytest.V", "import one, two, three, pytest"),
            "one.py": "V = 'own '",
            "vendor/one.py": "V = 'vendor '",
            "vendor/two.py": "V = 'vendor '",
        },
        path=[str(extra)],
    )
    assert shown(bundle) == "own vendor pathpath"


def test_the_standard_library_and_the_runtime_cannot_be_hidden(load):
    names = ["json", "queue", "typing", "tyk", "gateway", "coprocess_object_pb2", "this_is_mine"]
    bundle = load(
        {
            "middleware.py": shows("[hasattr(m, 'FAKE') for m in found]", f"found = [__import__(n) for n in {names}]"),
            **{f"{name}.py": "FAKE = True" for name in names},
        }
    )
    assert shown(bundle) == str([False] * 6 + [True])


def test_the_standard_library_is_known_without_pythons_list():
    listed = _names._listed_stdlib()
    assert {"json", "sys", "os", "math", "asyncio", "_thread", "importlib"} <= listed
    assert not {"pytest", "google", "helper", "test"} & listed


def test_google_namespace_packages_work_beside_protobuf(load):
    vendored = {
        "vendor/google/auth/__init__.py": "from google.auth import jwt\n"
        "from google.protobuf import message\nV = 'auth'",
        "vendor/google/auth/jwt.py": "import google.auth\nV = 'jwt'",
        "vendor/google/protobuf/__init__.py": "raise RuntimeError('not this one')",
    }
    forms = {
        "import google.auth, google.protobuf.json_format": "google.auth.V + google.protobuf.json_format.__name__",
        "from google import auth, protobuf": "auth.V + protobuf.__name__",
        "import google": "google.__name__",
        "from google.protobuf.json_format import MessageToDict\nimport google.auth.jwt": "google.auth.jwt.V",
        "import google.protobuf\nimport google.auth": "google.auth.V + google.protobuf.message.__name__",
        "import google.auth.jwt as jwt, google.protobuf.message as m": "jwt.V + m.__name__",
        "import google.protobuf.message as m, sys": "str(m is sys.modules['google.protobuf.message'])",
        "from google.protobuf import message as m, timestamp_pb2": "timestamp_pb2.__name__",
    }
    for statement, expression in forms.items():
        value = shown(load({"middleware.py": shows(expression, statement), **vendored}))
        assert value.startswith(("auth", "jwt", "True", "google", "_krait")), (statement, value)
    assert "google.auth" not in sys.modules
    source = "try:\n    import google.nothing\nexcept ImportError as error:\n    text = str(error)"
    assert shown(load({"middleware.py": shows("text", source), **vendored})) == "No module named 'google.nothing'"
    assert (
        shown(load({"middleware.py": shows("google.protobuf.__name__", "import google.protobuf")})) == "google.protobuf"
    )


def test_directories_without_init_win_only_when_python_has_no_such_module(load):
    files = {"pytest/data.txt": "", "data_only/data.txt": "", "data_only/part.py": "V = 'part'"}
    assert shown(load({"middleware.py": shows("hasattr(pytest, 'fixture')", "import pytest"), **files})) == "True"
    assert shown(load({"middleware.py": shows("data_only.part.V", "import data_only.part"), **files})) == "part"


def test_namespace_packages_merge_with_pythons(load, tmp_path, monkeypatch):
    outside = write(tmp_path / "site", {"space/outer.py": "V = 'outer'", "space/both.py": "V = 'wrong'"})
    monkeypatch.syspath_prepend(str(outside))
    source = shows("space.inner.V + outer.V + both.V", "import space.inner\nfrom space import outer, both")
    bundle = load(
        {"middleware.py": source, "vendor/space/inner.py": "V = 'inner '", "vendor/space/both.py": "V = ' mine'"}
    )
    assert shown(bundle) == "inner outer mine"
    for name in [name for name in sys.modules if name.partition(".")[0] == "space"]:
        monkeypatch.delitem(sys.modules, name)


def test_a_bundle_that_extends_sys_path_with_itself_stays_isolated(load, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    idiom = "import os, sys\nsys.path.insert(0, os.path.dirname(__file__))\nimport lib.part, helper"
    bundles = [
        load(
            {
                "middleware.py": shows("lib.part.V + helper.V", idiom),
                "lib/part.py": f"V = '{n}'",
                "helper.py": f"V = '{n}'",
            }
        )
        for n in (1, 2)
    ]
    assert [shown(bundle) for bundle in bundles] == ["11", "22"]


def compiled_library():
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    directories = [path for path in sys.path if path.endswith("lib-dynload")]
    candidates = [
        os.path.join(directory, name + suffix)
        for directory in directories
        for name in ("_bisect", "_csv", "_json", "_opcode", "_queue")
    ]
    library = next(path for path in candidates if os.path.exists(path))
    name = os.path.basename(library).split(".")[0]
    return library, name


def test_compiled_extension_modules_load_from_vendor(load, tmp_path):
    library, name = compiled_library()
    directory = write(
        tmp_path / "compiled",
        {
            "middleware.py": shows(
                f"({name} is again, again.__name__.split('.')[1:])",
                f"from fast import {name}\nimport fast.{name} as again",
            ),
            "vendor/fast/__init__.py": "",
        },
    )
    shutil.copy(library, directory / "vendor" / "fast")
    for _ in range(2):
        assert shown(load({}, directory=directory)) == f"(True, ['fast', '{name}'])"


def test_circular_imports_work_and_their_errors_read_as_usual(load):
    files = {
        "middleware.py": shows("one.V + two.V", "import one, two"),
        "one.py": "import two\nV = 'one '",
        "two.py": "import one\nV = 'two'",
    }
    assert shown(load(files)) == "one two"
    files["one.py"] = "from two import V"
    files["two.py"] = "from one import V"
    with pytest.raises(ImportError, match=r"cannot import name 'V' from partially initialized module"):
        load(files)


@pytest.mark.parametrize(
    ("statement", "message", "name"),
    [
        ("import nothing", "No module named 'nothing'", "nothing"),
        ("import pkg.nothing", "No module named 'pkg.nothing'", "pkg.nothing"),
        ("import helper.nothing", "No module named 'helper.nothing'; 'helper' is not a package", "helper.nothing"),
        ("from . import nothing", "cannot import name 'nothing' from", None),
        ("from .nothing import x", "No module named 'nothing'", "nothing"),
        ("from pkg.nothing import x", "No module named 'pkg.nothing'", "pkg.nothing"),
        ("from pkg import nothing", "cannot import name 'nothing' from", None),
        ("import deep", "No module named 'nothing'", "nothing"),
        ("import importlib; importlib.import_module('nothing')", "No module named 'nothing'", "nothing"),
        ("import importlib; importlib.import_module('.x')", "'package' argument is required", None),
    ],
)
def test_import_errors_name_what_the_author_wrote(load, statement, message, name):
    with pytest.raises((ImportError, TypeError)) as caught:
        load({"middleware.py": statement, "pkg/__init__.py": "", "helper.py": "", "deep.py": "import nothing"})
    assert message in str(caught.value)
    if name is not None:
        assert caught.value.name == name
        assert str(caught.value) == message


def test_pickles_survive_a_reload(load, host):
    source = (
        HEAD
        + """
import pickle, models
from gateway import TykGateway as tyk
@Hook
def Save(request, session, spec):
    tyk.store_data("k", pickle.dumps(models.Thing("me")), 0)
@Hook
def Restore(request, session, spec):
    thing = pickle.loads(tyk.get_data("k"))
    assert type(thing) is models.Thing, type(thing)
    assert pickle.loads(pickle.dumps([1, {"a": 2}])) == [1, {"a": 2}]
    request.add_header("A", thing.name)
"""
    )
    files = {
        "middleware.py": source,
        "models.py": "import dataclasses\n@dataclasses.dataclass\nclass Thing:\n    name: str\n",
    }
    first, second = load(files), load(files)
    first.call("Save")
    assert first.call("Restore").request.set_headers["A"] == "me"
    first.unload()
    assert second.call("Restore").request.set_headers["A"] == "me"


def test_resources_and_metadata_of_vendored_packages_are_found(load):
    source = """
import importlib.metadata, pkgutil
from importlib import resources
import certs
"""
    expression = (
        "certs.TEXT + importlib.metadata.version('certs') + pkgutil.get_data('certs', 'ca.pem').decode()"
        " + str(importlib.metadata.version('protobuf') > '3')"
    )
    bundle = load(
        {
            "middleware.py": shows(expression, source),
            "vendor/certs/__init__.py": "from importlib.resources import files\n"
            "TEXT = files('certs').joinpath('ca.pem').read_text()\n"
            "assert files(__name__).joinpath('ca.pem').is_file()\n",
            "vendor/certs/ca.pem": "PEM ",
            "vendor/certs-1.2.dist-info/METADATA": "Metadata-Version: 2.1\nName: certs\nVersion: 1.2\n",
        }
    )
    assert shown(bundle) == "PEM 1.2PEM True"
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("certs")


def test_finders_that_a_vendored_package_adds_go_with_it(load):
    finder = (
        "import sys\nclass Finder:\n    def find_spec(self, name, path=None, target=None):\n        return None\n"
        "sys.meta_path.append(Finder())\n"
    )
    before = len([one for one in sys.meta_path if "krait" not in type(one).__module__])
    bundle = load({"middleware.py": "import adds", "vendor/adds.py": finder})
    bundle.unload()
    assert len([one for one in sys.meta_path if "krait" not in type(one).__module__]) == before
    assert bundle_modules() == []


def test_concurrent_first_imports_see_complete_modules(load):
    bundle = load(
        {
            "middleware.py": HEAD
            + "@Hook\ndef MyHook(request, session, spec):\n    import slow\n    request.add_header('A', slow.END)\n",
            "slow.py": "import time\ntime.sleep(0.05)\nEND = 'end'\n",
        }
    )
    results = []
    threads = [threading.Thread(target=lambda: results.append(shown(bundle))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == ["end"] * 8


def test_sys_modules_means_the_bundles_modules_first(load):
    source = """
import sys, helper, json, pkg.sub
from sys import modules
view = sys.modules
assert modules is view
assert view["helper"] is helper and view.get("pkg.sub") is pkg.sub and view["json"] is json
assert "helper" in view and "nothing" not in view and 5 not in view
assert view[__name__] is view["middleware"]
assert "helper" in list(view) and "pkg.sub" in view.copy() and not [n for n in view if n.startswith("_krait_b")]
assert len(view) == len(list(view))
view["pkg.alias"] = helper
import pkg.alias as alias
assert alias is helper
view["pkg.gone"] = helper
del view["pkg.gone"]
try:
    view["pkg.gone"]
except KeyError as error:
    assert error.args == ("pkg.gone",)
"""
    before = set(sys.modules)
    bundle = load({"middleware.py": shows("'ok'", source), "helper.py": "", "pkg/__init__.py": "", "pkg/sub.py": ""})
    assert shown(bundle) == "ok"
    bundle.unload()
    assert set(sys.modules) == before


def test_sys_is_otherwise_pythons(load, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["before"])
    source = """
import sys
assert sys.argv == ["before"] and sys.version_info >= (3, 9) and "path" in dir(sys)
sys.argv = ["after"]
sys.new_one = 1
assert sys.new_one == 1
del sys.new_one
try:
    1 / 0
except ZeroDivisionError:
    assert sys.exc_info()[0] is ZeroDivisionError
def caller():
    return sys._getframe(0).f_code.co_name
assert caller() == "caller"
assert not hasattr(sys, "no_such_thing")
"""
    assert shown(load({"middleware.py": shows("'ok'", source)})) == "ok"
    assert sys.argv == ["after"]
    assert not hasattr(sys, "new_one")


def test_code_that_asks_for_plain_names_from_c_gets_the_bundles(load, tmp_path):
    # What a compiled module of a vendored package does: PyImport_ImportModule.
    source = """
import ctypes
from fast import {name}
import pure.inner
ask = ctypes.PyDLL(None).PyImport_ImportModule
ask.argtypes, ask.restype = [ctypes.c_char_p], ctypes.py_object
assert ask(b"pure.inner") is pure.inner
assert ask(b"fast.{name}") is {name}
assert ask(b"json").__name__ == "json"
def outside():
    # A frame with Python's own __import__, as in the middle of importlib.
    scope = {{"__builtins__": __import__("builtins"), "ask": ask}}
    exec("found = ask(b'pure.inner'), ask(b'pure.late')", scope)
    return scope["found"]
inner, late = outside()
assert inner is pure.inner and late is __import__("pure.late").late
assert inner.__spec__.name == inner.__name__
try:
    ask(b"pure.nothing")
except ImportError as error:
    text = str(error)
"""
    library, name = compiled_library()
    directory = write(
        tmp_path / "compiled",
        {
            "middleware.py": shows("text", source.format(name=name)),
            "vendor/fast/__init__.py": "",
            "vendor/pure/__init__.py": "",
            "vendor/pure/inner.py": "",
            "vendor/pure/late.py": "",
        },
    )
    shutil.copy(library, directory / "vendor" / "fast")
    before = set(sys.modules)
    first = load({}, directory=directory)
    assert shown(first) == "No module named 'pure.nothing'"
    second = load({}, directory=directory)
    assert shown(second) == "No module named 'pure.nothing'"
    assert shown(load({"middleware.py": shows("text", FAILS)})) == "No module named 'pure'"
    first.unload()
    second.unload()
    assert not {name for name in set(sys.modules) - before if name.startswith(("pure", "fast"))}


FAILS = "try:\n    import pure\nexcept ImportError as error:\n    text = str(error)"


def test_unloading_leaves_the_list_of_finders_that_others_iterate_alone(load):
    bundle = load(
        """
        import sys
        class Finder:
            def find_spec(self, *_):
                return None
        sys.meta_path.append(Finder())
        """
    )
    iterated = sys.meta_path
    before = list(iterated)
    bundle.unload()
    assert iterated == before
    assert [type(one).__name__ for one in sys.meta_path].count("Finder") == 0
    assert len(sys.meta_path) == len(before) - 1


def test_an_import_that_is_interrupted_at_its_begin_keeps_no_modules(load, monkeypatch):
    bundle = load(
        {
            "middleware.py": "from tyk.decorators import Hook\n@Hook\n"
            "def MyHook(request, session, spec):\n    import helper\n",
            "helper.py": "",
        }
    )
    enter = Namespace._enter

    def interrupted(space, *user):
        enter(space, *user)
        raise HookTimeout

    with monkeypatch.context() as patch:
        patch.setattr(Namespace, "_enter", interrupted)
        with pytest.raises(HookTimeout):
            bundle.call()
    bundle.unload()
    assert bundle_modules() == []


def test_built_in_names_that_a_bundle_adds_are_its_own(load):
    bundle = load(
        """
        import builtins
        @Hook
        def Set(request, session, spec):
            builtins.added = "own"
            builtins.__dict__["other"] = "too"
        @Hook
        def Get(request, session, spec):
            request.add_header("A", added + other + str(len("abc")))
        """
    )
    other = load("@Hook\ndef Get(request, session, spec):\n    added\n")
    bundle.call("Set")
    assert bundle.call("Get").request.set_headers["A"] == "owntoo3"
    with pytest.raises(NameError):
        other.call("Get")
    assert not hasattr(builtins, "added")


@pytest.mark.parametrize(
    "install",
    [
        "gettext.install('x', names=['ngettext'])",
        "gettext.translation('x', fallback=True).install(['ngettext'])",
        "from gettext import install; install('x', None, names=('ngettext',))",
    ],
)
def test_gettext_is_installed_for_the_bundle(load, install):
    bundle = load(
        f"import gettext\n{HEAD}{install}\n@Hook\ndef MyHook(request, session, spec):\n"
        "    request.add_header('A', _('text') + ngettext('one', 'many', 2))\n"
    )
    assert bundle.call().request.set_headers["A"] == "textmany"
    assert not hasattr(builtins, "_")
