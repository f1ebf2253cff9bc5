"""ONNX Runtime's plugin execution providers: who brings a library, and its devices once it is loaded. Opens no model.

A library is code. It comes from an installed package or from `EDGE_TL_EP_LIBRARY`, which only the person sets: no
bundle, no record and no `--device` names one. It is loaded when a device is asked for that the build itself has not; as
a program (`python -m`) this module loads all of them and prints them as JSON, so that one that ends its process ends no
other.
"""

from __future__ import annotations

import importlib.util
import json
import os
import pkgutil
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from edge_tl.device import spawn
from edge_tl.device.errors import BadInput
from edge_tl.device.records.devices import PluginDevice, PluginRecord
from edge_tl.device.runtimes.base import error_line, without_folders
from edge_tl.device.runtimes.onnxruntime_import import import_onnxruntime

VARIABLE = "EDGE_TL_EP_LIBRARY"
SUFFIX = "ExecutionProvider"
SECONDS = 120.0
# Packages that bring a plugin are called onnxruntime-ep-NAME (onnxruntime.ai, "Plugin Execution Provider Library
# Packaging Guidance"); these two are older than the rule.
_MODULES = re.compile(r"onnxruntime_(ep_\w+|qnn|ggml)")
_NAME = re.compile(r"[A-Za-z][\w-]*")
_PREFERRED = ("NPU", "GPU", "CPU")


class PluginLibrary(NamedTuple):
    """A library that may be loaded: `package` brings it, or the variable; `called` is what its provider probably is
    called, in lower case. `find` gives what ONNX Runtime is to call it and where it lies, by the package's own code."""

    package: str
    version: str | None
    called: str
    find: Callable[[], tuple[str, str]]


class EpDevice(NamedTuple):
    """A device of a plugin: the provider's name without its suffix, the kind of hardware, with a number from the second
    of a kind on ("GPU.1"), and ONNX Runtime's `OrtEpDevice`."""

    provider: str
    hardware: str
    handle: Any


class LoadedPlugin(NamedTuple):
    """A library that was loaded, with its devices, or the `fault` why not."""

    package: str
    version: str | None
    devices: tuple[EpDevice, ...]
    fault: str | None


def load_plugins() -> tuple[LoadedPlugin, ...]:
    """Every plugin there is, loaded into this process once. Raises `BadInput` for a variable that names no libraries,
    and `MissingExtra`."""
    given = os.environ.get(VARIABLE, "")
    return (*_bundled(), *(_load(each) for each in _libraries(given)))


def plugin_devices() -> tuple[EpDevice, ...]:
    """Of all plugins that could be loaded, the preferred hardware of a provider first. Raises as `load_plugins`."""
    return _in_order(load_plugins())


def devices_of(provider: str) -> tuple[EpDevice, ...]:
    """The devices of the plugin whose provider is called that, in any case; () where none is. Only its own library is
    loaded, where its package is called so too. Raises as `load_plugins`."""
    wanted = provider.casefold()
    libraries = _libraries(os.environ.get(VARIABLE, ""))
    likely = [each for each in libraries if wanted in each.called]
    for plugin in (*_bundled(), *(_load(each) for each in (*likely, *libraries))):
        found = [device for device in plugin.devices if device.provider.casefold() == wanted]
        if found:
            return _in_order([plugin._replace(devices=tuple(found))])
    return ()


def list_plugins() -> tuple[PluginRecord, ...]:
    """What `load_plugins` comes to in a process of its own. Raises `BadInput` for a variable that names no
    libraries."""
    brought = _libraries(os.environ.get(VARIABLE, ""))
    if not brought:
        return ()
    try:
        done = subprocess.run(
            spawn.command(__name__), stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=False
        )  # fmt: skip
        rows = json.loads(done.stdout.splitlines()[-1])
        return tuple(PluginRecord.from_json(row) for row in rows)
    except subprocess.TimeoutExpired:
        fault = f"loading took more than {SECONDS:.0f} s"
    except (IndexError, TypeError, ValueError, BadInput):
        fault = f"one of them ended the process that loaded it (exit code {done.returncode})"
    return tuple(PluginRecord(each.package, each.version, (), fault) for each in brought)


@cache
def _load(library: PluginLibrary) -> LoadedPlugin:
    package, version = library.package, library.version
    installed = import_onnxruntime()
    if not hasattr(installed, "register_execution_provider_library"):
        fault = f"ONNX Runtime {installed.__version__} loads no plugins; from 1.23 on it does"
        return LoadedPlugin(package, version, (), fault)
    before = len(installed.get_ep_devices())
    try:
        with spawn.libraries_on_stderr():
            name, path = library.find()
            installed.register_execution_provider_library(name, path)
    except Exception as error:  # a package's code and a library's start raise anything
        return LoadedPlugin(package, version, (), without_folders(error_line(error)))
    return LoadedPlugin(package, version, tuple(_named(installed.get_ep_devices()[before:])), None)


@cache
def _bundled() -> tuple[LoadedPlugin, ...]:
    """CUDA, which some builds bring as a plugin and load when they are imported."""
    installed = import_onnxruntime()
    if "cuda-plugin-ep=" not in installed.get_build_info():
        return ()
    cuda = [device for device in installed.get_ep_devices() if device.ep_name == f"CUDA{SUFFIX}"]
    return (LoadedPlugin("onnxruntime", installed.__version__, tuple(_named(cuda)), None),)


def _in_order(plugins: Sequence[LoadedPlugin]) -> tuple[EpDevice, ...]:
    found = [device for plugin in plugins for device in plugin.devices]
    return tuple(sorted(found, key=lambda device: _PREFERRED.index(device.hardware.partition(".")[0])))


def _named(devices: list[Any]) -> Iterator[EpDevice]:
    seen: dict[tuple[str, str], int] = {}
    for device in devices:
        key = device.ep_name.removesuffix(SUFFIX), device.device.type.name
        seen[key] = count = seen.get(key, -1) + 1
        yield EpDevice(key[0], key[1] if not count else f"{key[1]}.{count}", device)


@cache
def _libraries(given: str) -> tuple[PluginLibrary, ...]:
    """Those that `given`, the variable's value, names, then those of installed packages."""
    return (*_of_variable(given), *_of_packages())


def _of_variable(given: str) -> Iterator[PluginLibrary]:
    for entry in filter(None, given.split(os.pathsep)):
        name, equals, path = entry.partition("=")
        if not equals or not _NAME.fullmatch(name):
            raise BadInput(
                f"{VARIABLE}: {entry!r} is not NAME=PATH. Give e.g. {VARIABLE}=QNN=/opt/qnn/libqnn_ep.so."
            )
        # A relative one would be whatever lies in the working folder, which may be a bundle.
        if not Path(path).is_absolute() or not Path(path).is_file():
            raise BadInput(f"{VARIABLE}: there is no file {path!r}. Give the library's whole path.")
        yield PluginLibrary(VARIABLE, None, name.casefold(), partial(_as_given, name, path))


def _as_given(name: str, path: str) -> tuple[str, str]:
    return name, path


def _of_packages() -> Iterator[PluginLibrary]:
    # Not from the working folder, which may be a bundle.
    folders = [entry for entry in sys.path if entry and Path(entry).resolve() != Path.cwd()]
    for module in sorted({info.name for info in pkgutil.iter_modules(folders)}):
        if _MODULES.fullmatch(module):
            package = module.replace("_", "-")
            yield PluginLibrary(
                package, _version(package), module.replace("_", ""), partial(_found_in, module, folders)
            )


def _found_in(module: str, folders: list[str]) -> tuple[str, str]:
    """The name and the path that a package states."""
    package = _imported(module, folders)
    find = getattr(package, "get_library_path", None) or package.library_path
    name = package.get_ep_name() if hasattr(package, "get_ep_name") else package.EP_NAME
    return str(name), str(find())


def _imported(module: str, folders: list[str]) -> ModuleType:
    spec = PathFinder.find_spec(module, folders)
    if spec is None or spec.loader is None:
        raise ImportError(f"{module} is no package")
    if module not in sys.modules:
        sys.modules[module] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[module])
    return sys.modules[module]


def _version(package: str) -> str | None:
    """Of the package, or of the only one of its variants (as `-cu13`)."""
    for name in (package, f"{package}-cu13", f"{package}-cu12"):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def plugin_label(device: EpDevice, others: tuple[EpDevice, ...]) -> str:
    """What `--device` calls it: the provider's name, with the hardware where it has several devices."""
    several = sum(each.provider == device.provider for each in others) > 1
    return f"{device.provider}:{device.hardware}" if several else device.provider


def _record(plugin: LoadedPlugin) -> PluginRecord:
    everything = plugin_devices()
    devices = tuple(
        PluginDevice(
            name=plugin_label(device, everything),
            hardware=device.hardware.partition(".")[0],
            vendor=device.handle.device.vendor or None,
            vendor_id=device.handle.device.vendor_id,
            device_id=device.handle.device.device_id,
        )
        for device in plugin.devices
    )
    return PluginRecord(plugin.package, plugin.version, devices, plugin.fault)


def _main() -> None:
    answers = spawn.private_stdout()
    answers.write("\n" + json.dumps([_record(plugin).to_json() for plugin in load_plugins()]) + "\n")
    answers.flush()
    os._exit(0)  # without waiting for a driver's threads


if __name__ == "__main__":
    _main()
