"""Plugins that are broken in every way there is: each breaks its own device, and nothing else."""

import json

import pytest

from ferrum.backend import ABI

# How each plugin is broken, what asking for its device says, and the class of the cause.
# A plugin is a change to the one that works: (old, new), or a whole module.
HOOK = "return Mine()"
FAULTS = {
    "raises": ("raise RuntimeError('no licence')", "RuntimeError: no licence", "RuntimeError"),
    "syntax": ("def", "SyntaxError", "SyntaxError"),
    "exits": ("import sys; sys.exit(3)", "SystemExit: 3", "SystemExit"),
    "evil": ("class Stop(BaseException): pass\nraise Stop('no')", "Stop: no", "Stop"),
    "library": (
        "raise ImportError('libchip.so.2: cannot open shared object file')",
        "ImportError: libchip.so.2: cannot open shared object file",
        "ImportError",
    ),
    "native": (
        "import ctypes; ctypes.CDLL('/nowhere/libchip.so')",
        "/nowhere/libchip.so: cannot open shared object file",
        "OSError",
    ),
    "foreign": (
        """
        import struct
        from importlib.machinery import ExtensionFileLoader
        from importlib.util import module_from_spec, spec_from_file_location
        from pathlib import Path
        elf = b"\\x7fELF\\x02\\x01\\x01" + bytes(9)  # a shared library for the SPARC of 64 bits
        header = elf + struct.pack("<HHI", 3, 43, 1) + bytes(40)
        path = Path(__file__).with_name("chip.so")
        path.write_bytes(header)
        spec = spec_from_file_location("chip", path, loader=ExtensionFileLoader("chip", str(path)))
        module_from_spec(spec)
        """,
        "chip.so",
        "ImportError",
    ),
    "nameless": ("", "has no attribute 'plugin'", "AttributeError"),
    "hookless": ("plugin = object()", "to implement ferrum_backend(index)", None),
    "unknown": (
        ("def ferrum_backend", "def ferrum_backends"),
        "unknown hook 'ferrum_backends'",
        "PluginValidationError",
    ),
    "argument": (
        ("self, index", "self, number"),
        "'number'",
        "PluginValidationError",
    ),
    "stranger": ((HOOK, "return {'core.add': 1}"), "expected ferrum_backend to return a", None),
    "nothing": ((HOOK, "return None"), "got NoneType", None),
    "hook_raises": ((HOOK, "return 1 / 0"), "ferrum_backend(0) failed: ZeroDivisionError", "Zero"),
    "hook_exits": (
        (HOOK, "raise SystemExit"),
        "ferrum_backend(0) failed: SystemExit",
        "SystemExit",
    ),
    "constructor": (
        (
            "kernels = {}",
            "kernels = {}\n    def __init__(self):\n        raise OSError('no driver')",
        ),
        "OSError: no driver",
        "OSError",
    ),
    "abstract": (("def to_numpy", "def to_list"), "abstract method", "TypeError"),
    "future": (("abi = (1, 0)", "abi = (999, 0)"), "it speaks ABI 999.0, this ferrum-core", None),
    "past": (("abi = (1, 0)", "abi = (0, 7)"), "it speaks ABI 0.7, this ferrum-core", None),
    "abi_type": (("abi = (1, 0)", "abi = 1"), "such as abi = (1, 0), got 1", None),
    "abi_none": (("abi = (1, 0)", ""), "such as abi = (1, 0), got None", None),
    "kernel_list": (("kernels = {}", "kernels = []"), "kernels to be a mapping", None),
    "kernel_int": (("kernels = {}", "kernels = {'core.add': 7}"), "for 'core.add', got 7", None),
    "kernel_name": (("kernels = {}", "kernels = {'add': len}"), "such as 'core.add'", None),
    "kernel_revision": (
        ("kernels = {}", "kernels = {'core.add': __import__('ferrum').backend.Kernel(len, '1')}"),
        "an int as the revision for 'core.add', got '1'",
        None,
    ),
    "kernel_dtypes": (
        (
            "kernels = {}",
            "kernels = {'core.add': __import__('ferrum').backend.Kernel(len, 1, 0, 5)}",
        ),
        "the dtypes of the kernel for 'core.add'",
        None,
    ),
    "kernels_raise": (
        ("kernels = {}", "kernels = property(lambda self: 1 / 0)"),
        "ZeroDivisionError",
        "ZeroDivisionError",
    ),
    "dtypes": (("frozenset({float32})", "frozenset({'f4'})"), "its dtypes to be a set", None),
    "nonsense": (("return value", "return 42"), "from_numpy to return an array of shape", None),
    "cast": (("return value", "return value.astype('f8')"), "dtype float64", None),
    "transposed": (("return value", "return value.T"), "shape (3, 2)", None),
    "forgets": (("return array", "return array * 0"), "what from_numpy was given", None),
    "unreadable": (("return array", "return None"), "got None", None),
    "upload": (("return value", "raise MemoryError"), "MemoryError", "MemoryError"),
    "count": (
        (
            "plugin = Plugin()",
            "Plugin.ferrum_device_count = hookimpl(lambda self: 'two')\nplugin = Plugin()",
        ),
        "ferrum_device_count() to return an int, got 'two'",
        None,
    ),
    "count_raises": (
        (
            "plugin = Plugin()",
            "Plugin.ferrum_device_count = hookimpl(lambda self: 1 / 0)\nplugin = Plugin()",
        ),
        "ferrum_device_count() failed: ZeroDivisionError",
        "ZeroDivisionError",
    ),
}
MENDS = {"future": "pip install --upgrade ferrum-core", "past": "pip install --upgrade ferrum-past"}


def source_of(site, change):
    """Return a module: `change` itself, or the backend that works with a word changed."""
    if isinstance(change, str):
        return change
    assert site.BACKEND.count(change[0]) == 1
    return site.BACKEND.replace(*change)


@pytest.fixture(scope="module")
def broken(new_site):
    """A site with all of them, and one that works."""
    site = new_site()
    for kind, (change, _, _) in FAULTS.items():
        site.add_backend(kind, source_of(site, change))
    site.add_backend("fine")
    return site


@pytest.fixture(scope="module")
def answers(broken):
    """What asking for each device twice gives, in one process."""
    code = """
        import json, sys
        import ferrum as fe

        def ask(kind):
            try:
                fe.tensor([1.0], device=kind)
            except Exception as error:
                cause = error.__cause__
                return [type(error).__name__, str(error), cause and type(cause).__name__]

        found = {kind: [ask(kind), ask(kind)] for kind in sys.argv[1].split()}
        assert fe.tensor([1.0], device="fine").tolist() == [1.0]
        assert fe.tensor([1.0], device="reference").tolist() == [1.0]
        from ferrum.plugins import faults
        print(json.dumps([found, sorted(faults())]))
    """
    return json.loads(broken.code(code, " ".join(FAULTS)))


@pytest.fixture(scope="module")
def report(broken):
    """What doctor says of them, those too that one cannot ask for in the same process."""
    broken.add_backend("crashes", "import os; os.kill(os.getpid(), 11)")
    broken.add_backend("dies", "import os; os._exit(7)")
    broken.add_backend("hangs", "import time\ntime.sleep(600)")
    broken.add_backend("spins", "while True:\n    pass")
    return broken.doctor()


@pytest.mark.parametrize("kind", FAULTS)
def test_the_device_that_is_asked_for_raises_its_own_cause(answers, kind):
    _, said, cause = FAULTS[kind]
    first, second = answers[0][kind]
    assert first[0] == "PluginError"
    assert first[1].startswith(f"plugin {kind!r} of ferrum-{kind.replace('_', '-')} 1.0: ")
    assert said in first[1]
    assert "; try: pip " in first[1]
    assert first[2] == cause or (cause and first[2].startswith(cause))
    assert second == first


def test_faults_are_kept(answers):
    assert {name.partition(":")[0] for name in answers[1]} == set(FAULTS)


@pytest.mark.slow
@pytest.mark.parametrize("kind", FAULTS)
def test_doctor_names_the_fault_and_its_mend(report, kind):
    (problem,) = [each for each in report["problems"] if f"plugin {kind!r} " in each["what"]]
    assert FAULTS[kind][1] in problem["what"]
    assert problem["mend"].startswith(MENDS.get(kind, "pip install --upgrade ferrum-"))
    assert f"ferrum-{kind.replace('_', '-')}" in problem["mend"] or kind in MENDS


@pytest.mark.slow
def test_doctor_says_that_the_others_work(report):
    states = {each["name"]: each["state"] for each in report["plugins"]}
    assert states.pop("reference") == states.pop("core") == states.pop("fine") == "ok"
    for sibling in ("cpu", "nn"):  # which may be installed as well
        assert states.pop(sibling, "ok") == "ok"
    assert set(states) == {*FAULTS, "crashes", "dies", "hangs", "spins"}
    assert set(states.values()) == {"broken"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["hangs", "spins"])
def test_doctor_names_an_import_that_hangs_and_where(report, kind):
    (problem,) = [each for each in report["problems"] if f"plugin {kind!r} " in each["what"]]
    assert "has not finished after 5 s" in problem["what"]
    assert f"ferrum_{kind}" in problem["what"].partition(", at ")[2]
    assert f"pip uninstall ferrum-{kind}" in problem["mend"]
    assert "ferrum doctor --timeout" in problem["mend"]


@pytest.mark.slow
def test_doctor_survives_a_plugin_that_ends_its_process(report):
    said = {each["what"].split("'")[1]: each["what"] for each in report["problems"]}
    assert "ended the process, with status 7" in said["dies"]
    assert "crashed the process, by SIGSEGV" in said["crashes"]
    assert "ferrum_crashes" in said["crashes"]


@pytest.mark.serial
def test_an_import_that_hangs_is_named_within_five_seconds(site):
    site.add_backend("hangs", f"import time\ntime.sleep(5.5)\n{site.BACKEND}")
    code = """
        import sys, threading, time
        import ferrum as fe
        started = time.monotonic()

        class Clock:
            def write(self, text):
                if text.strip():
                    print(round(time.monotonic() - started, 1), text.strip())
            def flush(self):
                pass

        sys.stderr = Clock()
        waiting = threading.Thread(target=fe.device, args=["hangs"])
        waiting.start()
        time.sleep(0.2)
        print("other", fe.tensor([1.0], device="reference").tolist())
        waiting.join()
        print("then", fe.tensor([1.0], device="hangs").tolist())
    """
    other, named, then = site.code(code).splitlines()
    assert other == "other [1.0]"
    assert float(named.split()[0]) < 5
    assert "plugin 'hangs' of ferrum-hangs 1.0: importing 'ferrum_hangs:plugin' " in named
    assert "ferrum doctor" in named
    assert then == "then [1.0]"


def test_the_abi_that_the_metadata_states_is_checked_before_the_code_is_loaded(site):
    info = "from ferrum.backend import BackendInfo\ninfo = BackendInfo('old', (0, 3))\n"
    points = {
        "ferrum.backends": {"old": "ferrum_old:plugin"},
        "ferrum.backend_info": {"old": "ferrum_old_info:info"},
    }
    files = {"ferrum_old.py": "import os; os._exit(9)", "ferrum_old_info.py": info}
    site.add("ferrum-old", points, files)
    said = site.code("""
        import ferrum as fe
        try:
            fe.device("old")
        except fe.errors.PluginError as error:
            print(error)
    """)
    assert f"it speaks ABI 0.3, this ferrum-core speaks {ABI[0]}.{ABI[1]}" in said
    assert "pip install --upgrade ferrum-old" in said
    assert any("ABI 0.3" in each["what"] for each in site.doctor()["problems"])


def test_metadata_that_is_broken_is_named(site):
    points = {
        "ferrum.backends": {"odd": "ferrum_odd:plugin"},
        "ferrum.backend_info": {"odd": "ferrum_odd_info:info"},
    }
    site.add("ferrum-odd", points, {"ferrum_odd.py": site.BACKEND, "ferrum_odd_info.py": "1 / 0"})
    said = [each["what"] for each in site.doctor()["problems"]]
    assert any(
        "importing 'ferrum_odd_info:info' failed: ZeroDivisionError" in what for what in said
    )


def test_ctrl_c_is_no_fault_of_a_plugin(site):
    site.add_backend("slow", "raise KeyboardInterrupt\n")
    site.code("""
        import ferrum as fe
        for _ in range(2):
            try:
                fe.device("slow")
            except KeyboardInterrupt:
                pass
        assert not fe.plugins.faults()
    """)


def test_a_second_device_of_a_kind_may_fail_alone(site):
    two = "Plugin.ferrum_device_count = hookimpl(lambda self: 2)\nplugin = Plugin()"
    source = source_of(site, ("plugin = Plugin()", two))
    site.add_backend(
        "pair", source.replace("return Mine()", "return Mine() if index == 0 else 1 / 0")
    )
    site.code("""
        import ferrum as fe
        assert fe.device_count("pair") == 2
        for _ in range(2):
            try:
                fe.device("pair:1")
            except fe.errors.PluginError as error:
                assert "ferrum_backend(1) failed" in str(error)
            else:
                raise AssertionError
        assert str(fe.device("pair")) == "pair:0"
        assert fe.device("pair:0") is fe.device("pair")
        try:
            fe.device("pair:2")
        except fe.errors.DeviceError as error:
            assert "this machine has 2 of kind 'pair'" in str(error)
        else:
            raise AssertionError
    """)
