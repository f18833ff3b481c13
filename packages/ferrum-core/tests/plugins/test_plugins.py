"""Finding plugins: by metadata, once, and only those that are wanted."""

import re
import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

import ferrum as fe
from ferrum import plugins
from ferrum.errors import DeviceError, PluginError

TRAP = "raise RuntimeError('imported')"


def test_import_ferrum_imports_no_plugin_and_nothing_to_find_one_with(site):
    site.add_backend("trap", TRAP)
    site.add("trap-ops", {"ferrum.ops": {"trap": "trap_ops"}}, {"trap_ops.py": TRAP})
    said = site.unmeasured().code("""
        import sys
        import ferrum as fe
        needless = ("pluggy", "importlib.metadata", "sysconfig", "ferrum.reference")
        print([name for name in needless if name in sys.modules])
        print(fe.tensor([1.0]))
        print([name for name in sys.modules if name.startswith(("trap", "ferrum_"))])
    """)
    assert said.splitlines() == ["[]", "tensor([1.])", "[]"]


def test_a_device_is_loaded_once_and_known_by_all_its_names():
    assert fe.device("reference") is fe.device("reference:0") is fe.device(fe.device("reference"))
    assert str(fe.device("reference")) == "reference"
    assert fe.device_count("reference") == 1
    assert fe.device_count("nowhere") == 0


@pytest.mark.parametrize(
    "name", ["", ":0", "reference:", "reference:x", "reference:-1", 3, ["cpu"]]
)
def test_what_is_no_name_of_a_device(name):
    with pytest.raises(DeviceError, match="expected a device such as 'cpu' or 'cuda:1'"):
        fe.device(name)


def test_a_device_that_is_not_there():
    with pytest.raises(DeviceError) as caught:
        fe.device("abacus")
    assert re.fullmatch(
        r"no backend for device 'abacus'; installed: (\w+, )*reference; "
        r"install the plugin that offers it",
        str(caught.value),
    )
    with pytest.raises(DeviceError) as caught:
        fe.device("cuda")
    assert str(caught.value).endswith(
        "reference; try: pip install ferrum-cuda (from a clone: pip install ./packages/ferrum-cuda)"
    )
    with pytest.raises(DeviceError, match=r"did you mean 'cuda'\?$"):
        fe.device("cude")
    with pytest.raises(DeviceError, match=r"did you mean 'reference'\?$"):
        fe.device("refrence")
    with pytest.raises(DeviceError, match="this machine has 1 of kind 'reference'"):
        fe.device("reference:1")


def test_an_entry_point_without_a_distribution():
    point = EntryPoint("loose", "nowhere:plugin", "ferrum.backends")
    assert str(plugins.source_of(point)).startswith("plugin 'loose' of an unknown distribution")


def test_the_hint_for_the_core_names_the_core():
    assert plugins.install_hint("reference").startswith("try: pip install ferrum-core ")


def test_a_kind_without_devices(site):
    none = "Plugin.ferrum_device_count = hookimpl(lambda self: 0)\nplugin = Plugin()"
    site.add_backend("none", site.BACKEND.replace("plugin = Plugin()", none))
    site.code("""
        import ferrum as fe
        assert fe.device_count("none") == 0
        try:
            fe.device("none")
        except fe.errors.DeviceError as error:
            assert "this machine has 0 of kind 'none'" in str(error)
        else:
            raise AssertionError
    """)


# ---- metadata that is broken


def test_a_distribution_without_metadata_breaks_nothing(site):
    site.add_backend("lost")
    (info,) = site.folder.glob("ferrum_lost-*")
    (info / "METADATA").unlink()
    site.code("""
        import ferrum as fe
        assert fe.tensor([1.0], device="lost").tolist() == [1.0]
        assert fe.tensor([1.0], device="reference").tolist() == [1.0]
    """)
    report = site.doctor()
    assert report["ok"]
    (lost,) = [each for each in report["plugins"] if each["name"] == "lost"]
    assert (lost["distribution"], lost["version"]) == ("an unknown distribution", "?")


def test_entry_points_that_cannot_be_read_break_nobody_else(site):
    site.add_backend("fine")
    site.add("junk", {}, {})
    (site.folder / "junk-1.0.dist-info" / "entry_points.txt").write_text("[a]\njunk\n")
    said = site.code("""
        import warnings
        import ferrum as fe
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            print(fe.tensor([1.0], device="fine"), fe.tensor([1.0], device="reference"))
            print(caught[0].message)
    """)
    assert said.splitlines() == [
        "tensor([1.], device='fine') tensor([1.])",
        "the entry points of junk cannot be read; reinstall it",
    ]
    done = site.run("-W", "ignore", "-m", "ferrum", "doctor")
    assert done.returncode == 1
    assert "the entry points of junk 1.0 cannot be read" in done.stdout
    assert "fine        ok: ferrum-fine 1.0" in done.stdout


def test_an_entry_point_that_names_nothing(site):
    site.add("odd", {"ferrum.backends": {"odd": "!!"}, "ferrum.ops": {"odd": "a:b:c"}}, {})
    said = site.code("""
        import ferrum as fe
        try:
            fe.device("odd")
        except fe.errors.PluginError as error:
            print(error)
    """)
    assert said.startswith("plugin 'odd' of odd 1.0: importing '!!' failed: ")
    assert len(site.doctor()["problems"]) == 2


# ---- two for one device


def test_two_distributions_for_one_device_break_it_alone(site):
    site.add_backend("twin")
    site.add("other", {"ferrum.backends": {"twin": "ferrum_twin:plugin"}}, {})
    code = """
        import ferrum as fe
        assert fe.tensor([1.0], device="reference").tolist() == [1.0]
        try:
            print(fe.tensor([1.0], device="twin"))
        except fe.errors.PluginError as error:
            print(error)
    """
    said = site.code(code)
    assert "device 'twin' is offered by ferrum-twin 1.0 and by other 1.0; try: pip uninst" in said
    assert "tensor([1.]" in site.code(code, FERRUM_PLUGINS="other")
    said = [each["what"] for each in site.doctor()["problems"]]
    assert said == ["the device 'twin' is offered by ferrum-twin and by other: it cannot be used"]


def test_nobody_takes_the_place_of_reference(site):
    site.add("thief", {"ferrum.backends": {"reference": "thief:plugin"}}, {"thief.py": TRAP})
    site.code("import ferrum as fe; assert fe.zeros(2, device='reference').tolist() == [0, 0]")
    report = site.doctor()
    (problem,) = report["problems"]
    assert problem["what"] == (
        "plugin 'reference' of thief 1.0: the device 'reference' is ferrum-core's own; this one is "
        "ignored"
    )
    assert problem["mend"] == "pip uninstall thief"


# ---- FERRUM_PLUGINS


@pytest.mark.parametrize(
    ("listed", "kinds"),
    [
        ("none", "reference"),
        ("", "reference"),
        ("one", "one reference"),
        ("ferrum-one", "one reference"),
        ("Ferrum_One, two", "one reference two"),
        ("none,two", "reference two"),
        ("mine", "reference"),
    ],
)
def test_only_what_is_listed_may_be_loaded(site, listed, kinds):
    site.add_backend("one")
    site.add_backend("two")
    # A name of an entry point does not make anybody the core.
    site.add("thief", {"ferrum.backends": {"ferrum-core": "x:y"}, "ferrum.ops": {"core": "x"}}, {})
    count = "len(p.entry_points('ferrum.ops'))"
    code = f"from ferrum import plugins as p; print(*p.device_kinds(), {count})"
    assert site.code(code, FERRUM_PLUGINS=listed) == f"{kinds} 1\n"


def test_a_device_that_is_not_allowed_says_so(site):
    site.add_backend("trap", TRAP)
    said = site.code(
        """
        import ferrum as fe
        try:
            fe.device("trap")
        except fe.errors.DeviceError as error:
            print(error)
        """,
        FERRUM_PLUGINS="none",
    )
    assert said == (
        "no backend for device 'trap': FERRUM_PLUGINS='none' does not name ferrum-trap\n"
    )
    report = site.doctor(FERRUM_PLUGINS="none")
    states = {each["name"]: each["state"] for each in report["plugins"]}
    assert states["trap"] == "not allowed by FERRUM_PLUGINS"
    assert not report["problems"]


# ---- the default device


def test_without_ferrum_cpu_the_default_is_reference_with_one_warning(site):
    said = site.code(
        """
        import warnings
        import ferrum as fe
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            print(fe.zeros(1, device="reference"), len(caught))
            print(fe.zeros(1).device, fe.zeros(1).device, len(caught))
            print(caught[0].message)
        """,
        FERRUM_DEVICE="",
        FERRUM_PLUGINS="ferrum-core",
    )
    printed, made, message = said.splitlines()
    assert printed == "tensor([0.]) 0"
    assert made == "reference reference 1"
    assert message.startswith("ferrum-cpu is not installed: tensors go to the slow NumPy device")
    assert "pip install ./packages/ferrum-cpu" in message


def test_recording_on_a_device_asks_for_no_other(site):
    code = """
        import ferrum as fe
        from ferrum.capture import record
        x = fe.ones(2, device="reference")
        print(record(lambda x: x + 1, x).replay(x).tolist())
    """
    assert site.code(code, FERRUM_DEVICE="", FERRUM_PLUGINS="ferrum-core") == "[2.0, 2.0]\n"


def test_with_a_backend_for_the_cpu_that_is_the_default(site):
    site.add_backend("cpu")
    code = "import ferrum as fe; print(fe.tensor([1.0]).device, fe.tensor([1.0]))"
    assert site.code(code, FERRUM_DEVICE="") == "cpu tensor([1.])\n"


def test_a_default_that_is_broken_is_not_replaced_in_silence(site):
    site.add_backend("cpu", TRAP)
    done = site.run("-c", "import ferrum as fe; fe.zeros(1)", FERRUM_DEVICE="")
    assert "RuntimeError: imported" in done.stderr
    assert done.returncode == 1


def test_a_default_that_is_not_there_names_the_variable(site):
    done = site.run("-c", "import ferrum as fe; fe.zeros(1)", FERRUM_DEVICE="abacus")
    assert "no backend for device 'abacus'" in done.stderr
    assert "The environment variable FERRUM_DEVICE asks for 'abacus'." in done.stderr


def test_the_default_can_be_set(monkeypatch):
    monkeypatch.setattr(plugins, "_default", [])
    fe.set_default_device("reference")
    assert fe.default_device() is fe.device("reference")
    with pytest.raises(DeviceError):
        fe.set_default_device("abacus")
    assert fe.default_device() is fe.device("reference")


# ---- op libraries

LIBRARY = """
from ferrum import Spec, op

@op
def twice(x):
    return Spec(x.shape, x.dtype)

@twice.fallback
def _(x):
    return x + x
"""


def test_op_libraries_are_loaded_when_they_are_asked_for(site):
    site.add("lib-a", {"ferrum.ops": {"a": "lib_a"}}, {"lib_a.py": LIBRARY})
    site.code("""
        import ferrum as fe
        from ferrum.op import OPS
        assert "lib_a.twice" not in OPS
        assert not fe.plugins.load_ops()
        assert OPS["lib_a.twice"](fe.tensor([1.0])).tolist() == [2.0]
        assert fe.device("reference").supports("twice", order=2).how == ""  # it has no samples
    """)


def test_a_library_that_fails_does_so_alone_and_once(site):
    site.add("lib-a", {"ferrum.ops": {"a": "lib_a"}}, {"lib_a.py": LIBRARY})
    half = f"{LIBRARY}\nraise RuntimeError('half')"
    site.add("lib-b", {"ferrum.ops": {"b": "lib_b"}}, {"lib_b.py": half})
    site.add("lib-c", {"ferrum.ops": {"b": "lib_c"}}, {"lib_c.py": "import sys; sys.exit()"})
    said = site.code("""
        from ferrum.plugins import load_ops
        from ferrum.op import OPS
        for _ in range(2):
            for name, error in load_ops().items():
                print(name, error)
        assert "lib_a.twice" in OPS
    """)
    first, second, *again = said.splitlines()
    assert first.startswith(
        "b plugin 'b' of lib-b 1.0: importing 'lib_b' failed: RuntimeError: half"
    )
    assert second.startswith("plugin 'b' of lib-c 1.0 plugin 'b' of lib-c 1.0: importing")
    assert again == [first, second]
    assert len(site.doctor()["problems"]) == 2


def test_an_op_of_the_core_is_not_declared_again(site):
    rule = LIBRARY.replace("def twice", "def add").replace("@twice", "@add")
    stolen = f"__name__ = 'ferrum.stolen'\n{rule}"
    site.add("thief", {"ferrum.ops": {"thief": "thief"}}, {"thief.py": stolen})
    said = site.code("""
        import ferrum as fe
        before = fe.ops.add
        for error in fe.plugins.load_ops().values():
            print(error)
        assert fe.op.__module__ and before(fe.tensor(1.0), 2.0).item() == 3.0
    """)
    assert "core.add: the op is declared twice" in said
    (problem,) = site.doctor()["problems"]
    assert "core.add: the op is declared twice" in problem["what"]


def test_two_libraries_with_an_op_of_one_name(site):
    for name in ("lib-a", "lib-b"):
        module = name.replace("-", "_")
        source = f"__name__ = 'ferrum_lib.{module}'\n{LIBRARY}"
        site.add(name, {"ferrum.ops": {name: module}}, {f"{module}.py": source})
    said = site.code("""
        from ferrum.plugins import load_ops
        print(*load_ops().values())
    """)
    assert "'lib-b'" in said
    assert "lib.twice: the op is declared twice" in said
    (problem,) = site.doctor()["problems"]
    assert problem["what"].startswith("the op 'lib.twice' is declared in ferrum_lib.lib_a (lib-a)")
    assert problem["mend"] == "pip uninstall lib-b"


# ---- the interpreter


def test_free_threaded_builds_are_refused_with_a_sentence():
    code = "import sys; sys.abiflags = 't'; import ferrum"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(
        "ImportError: ferrum: expected a Python with the global interpreter lock"
    )
    assert "use the ordinary one" in last


def test_errors_of_plugins_are_import_errors():
    error = PluginError("it is broken", mend="pip uninstall it")
    assert isinstance(error, ImportError)
    assert str(error) == "it is broken; try: pip uninstall it"
    assert str(PluginError("it is broken")) == "it is broken"
