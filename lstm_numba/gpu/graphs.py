"""Family ``steps`` without its launches: recorded once as a CUDA graph, then replayed with a single call.

A launch from Python costs five to ten microseconds, a node of a graph about one. A graph remembers the addresses that
its kernels were launched with. So the arrays of the kernels live in a *workspace* that is used again by later passes of
the same shape, and only what is in the arrays changes from pass to pass.

The first pass of a workspace is launched as usual, which also compiles and loads the kernels. The second one is
recorded, and from then on it is replayed. A shape that is seen once costs nothing extra.

A workspace belongs to one pass at a time. It is free again when nothing refers to the pass any more, that is after
``backward``, or at once without training. Several passes before their ``backward`` have a workspace each.
"""

import threading
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Hashable
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from lstm_numba.gpu.device import Device

SHORTEST = 8  # steps that are worth a graph
IDLE_WORKSPACES = 16  # kept for later passes at most
IDLE_BYTES = 1 << 30  # the same; where arrays are larger than that, launches are the smallest part of the time


class GraphError(RuntimeError):
    """The driver refused a call; the message names the call and the driver's code."""


class GraphDriver:
    """The driver's calls for graphs, of which numba-cuda has none.

    Parameters
    ----------
    calls
        A module with the functions and constants of ``cuda.bindings.driver``, which it is if not given.
    """

    def __init__(self, calls: Any = None) -> None:
        self._calls = import_module("cuda.bindings.driver") if calls is None else calls
        self._stream: Any = None

    def record(self, launch_on: Callable[[int], None]) -> Any:
        """Record what ``launch_on(stream)`` launches on the stream that it is given; nothing is computed."""
        if self._stream is None:
            # The default stream cannot record. One that waits for it could not either, while others use it.
            (self._stream,) = self._ask("cuStreamCreate", self._calls.CUstream_flags.CU_STREAM_NON_BLOCKING)
        # Relaxed: the garbage collector may free an array of the device in between.
        relaxed = self._calls.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED
        self._ask("cuStreamBeginCapture", self._stream, relaxed)
        try:
            launch_on(int(self._stream))
        except BaseException:
            code, graph = self._calls.cuStreamEndCapture(self._stream)
            if int(code) == 0 and graph is not None:
                self._ask("cuGraphDestroy", graph)
            raise
        (graph,) = self._ask("cuStreamEndCapture", self._stream)
        try:
            (executable,) = self._ask("cuGraphInstantiate", graph, 0)
        finally:
            self._ask("cuGraphDestroy", graph)
        return executable

    def replay(self, executable: Any, stream: int | None) -> None:
        """Put a graph on a stream."""
        self._ask("cuGraphLaunch", executable, stream or 0)

    def destroy(self, executable: Any) -> None:
        """Give a graph back, when nothing is running any more."""
        self._ask("cuCtxSynchronize")
        self._ask("cuGraphExecDestroy", executable)

    def _ask(self, name: str, *operands: Any) -> tuple[Any, ...]:
        code, *results = getattr(self._calls, name)(*operands)
        if int(code) != 0:
            raise GraphError(f"{name}: the driver answered {getattr(code, 'name', code)}")
        return tuple(results)


class Workspace:
    """Arrays at addresses that stay, and graphs of launches on them; made by :class:`Workspaces`."""

    def __init__(self, device: "Device") -> None:
        self._device = device
        self.stream = device.stream
        self.private = False  # used on another stream too: whoever takes it next would not wait for that one
        self.nbytes = 0
        self._arrays: dict[str, Any] = {}
        self._graphs: dict[str, Any] = {}  # None: launched once; False: cannot be recorded

    def array(self, name: str, shape: tuple[int, ...], dtype: Any) -> Any:
        """Return an array of the workspace; its content is arbitrary."""
        if name not in self._arrays:
            self._arrays[name] = self._device.empty(shape, dtype)
            self.nbytes += int(np.prod(shape)) * np.dtype(dtype).itemsize
        return self._arrays[name]

    def run(self, name: str, launches: Callable[[], None]) -> None:
        """Do ``launches``, always the same ones under a name: launched, then recorded, then replayed.

        Parameters
        ----------
        name
            Which launches they are.
        launches
            Launches kernels on arrays of this workspace, and does nothing else.

        Warns
        -----
        RuntimeWarning
            If the driver does not record them; they are then launched every time.
        """
        if self._device.stream != self.stream:
            self.private = True
        if name not in self._graphs:
            self._graphs[name] = None
        elif self._graphs[name] is None:
            try:
                self._graphs[name] = self._device.record(launches)
            except Exception as problem:
                self._graphs[name] = False
                warnings.warn(f"no CUDA graph of {name}, each step is launched: {problem}", RuntimeWarning, 2)
        if self._graphs[name]:
            self._device.replay(self._graphs[name])
        else:
            launches()

    def close(self) -> None:
        """Give the graphs and arrays back."""
        for graph in self._graphs.values():
            if graph:
                self._device.forget(graph)
        self._graphs.clear()
        self._arrays.clear()


class Lease:
    """The use of a workspace; it ends with this object."""

    def __init__(self, workspace: Workspace, returned: "deque[tuple[Hashable, Workspace]]", key: Hashable) -> None:
        self.workspace = workspace
        # The collector may call this anywhere, also while the lock of `Workspaces` is held: it only appends.
        weakref.finalize(self, returned.append, (key, workspace)).atexit = False


class Workspaces:
    """The workspaces of one device that wait for the next pass of their shape."""

    def __init__(self) -> None:
        self._returned: deque[tuple[Hashable, Workspace]] = deque()
        self._idle: list[tuple[Hashable, Workspace]] = []  # the one that waits longest first
        self._lock = threading.Lock()

    def take(self, device: "Device", key: Hashable) -> Lease:
        """Return a workspace for launches that ``key`` describes completely, and the stream in use."""
        key = (device.stream, key)
        with self._lock:
            self._tidy()
            for place in reversed(range(len(self._idle))):
                if self._idle[place][0] == key:
                    return Lease(self._idle.pop(place)[1], self._returned, key)
        return Lease(Workspace(device), self._returned, key)

    def release(self) -> None:
        """Give back the memory of all that wait."""
        with self._lock:
            self._tidy()
            while self._idle:
                self._idle.pop()[1].close()

    @property
    def idle(self) -> int:
        """How many wait."""
        with self._lock:
            self._tidy()
            return len(self._idle)

    def _tidy(self) -> None:
        """Take back what leases have returned, and close what is too much."""
        while self._returned:
            key, workspace = self._returned.popleft()
            if workspace.private:
                workspace.close()
            else:
                self._idle.append((key, workspace))
        total = sum(workspace.nbytes for _, workspace in self._idle)
        while self._idle and (len(self._idle) > IDLE_WORKSPACES or total > IDLE_BYTES):
            _, oldest = self._idle.pop(0)
            total -= oldest.nbytes
            oldest.close()
