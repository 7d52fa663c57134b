"""The process that touches pictures: it reads headers, or decodes, computes and encodes; the server talks to it in lines of JSON.

``python -m superscale.server.worker FACTS``. It may be killed at any time: a result is written whole or not at all. It ends with its
standard input, so that a killed server leaves no worker behind.
"""

from __future__ import annotations

import errno
import gc
import json
import os
import resource
import signal
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from superscale.errors import Cancelled, Damaged, ImageError, OutOfMemoryError, SuperscaleError, TooLarge, UsageError
from superscale.files import write_bytes, write_text

if TYPE_CHECKING:
    from superscale.inference.upscaler import Upscaler

Message = dict[str, Any]
NICENESS = 10
# What errors call the upload.
NAME = "the picture"
# Networks that stay loaded.
NETWORKS = 3
# By the names of formats in `SUFFIXES`, of which a suffix may be any.
TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp", "TIFF": "image/tiff", "DICOM": "application/dicom"}
# What the interpreter and the decoders may take besides a job, and the time of the processor besides that of the network.
INSPECTOR_BYTES = 1_000_000_000
SPARE_SECONDS = 30


class Inbox:
    """What the server sends: tasks, and which of them are cancelled."""

    def __init__(self) -> None:
        self.tasks: SimpleQueue[Message] = SimpleQueue()
        self.cancels: dict[str, threading.Event] = {}

    def listen(self) -> None:
        """Read standard input from now on, and end this process with it."""
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in sys.stdin.buffer:
            message = json.loads(line)
            if "cancel" in message:
                self.cancels.setdefault(message["cancel"], threading.Event()).set()
            else:
                self.cancels.setdefault(message["task"], threading.Event())
                self.tasks.put(message)
        os._exit(0)


class Inspector:
    """Reads the headers of uploads."""

    def __init__(self, facts: Message) -> None:
        from superscale.image import io

        io.image_size  # noqa: B018 - loaded now, so that the first upload does not wait
        self.max_pixels = facts["max_pixels"]
        limit_memory(INSPECTOR_BYTES)

    def about(self) -> Message:
        """Nothing to tell."""
        return {}

    def __call__(self, message: Message, _inbox: Inbox, _say: Callable[[Message], None]) -> Message:
        """The size of a picture. Raises ImageError."""
        from superscale.image.io import image_size

        path = Path(message["path"])
        try:
            width, height = image_size(path)
        except ImageError as error:
            error.args = (str(error.args[0]).replace(str(path), NAME), *error.args[1:])
            raise
        if width * height > self.max_pixels:
            raise TooLarge(f"the picture has {width}×{height} pixels, more than {self.max_pixels:,}", self.max_pixels)
        return {"width": width, "height": height}


class Enlarger:
    """Enlarges pictures on one device."""

    def __init__(self, facts: Message) -> None:
        from superscale.inference.backends.choice import device_name
        from superscale.inference.estimate import seconds_per_pixel
        from superscale.machine.memory import free_bytes
        from superscale.weights.store import AUTO

        self.facts = facts
        self.device = device_name(facts["device"])
        self.default = facts["model"] or AUTO
        self.networks: OrderedDict[tuple[str, float | None], Upscaler] = OrderedDict()
        self.pixel_seconds = seconds_per_pixel(self.upscaler(self.default, None))
        if self.device == "cpu":  # the drivers of others map more than there is
            limit_memory(facts["memory"] or free_bytes() or resource.RLIM_INFINITY)

    def about(self) -> Message:
        """The models, the default one first, and how fast that is."""
        from superscale.weights.store import AUTO, BUNDLED, PSNR_PARTNERS, USES, models

        names = [AUTO, *(name for name in models() if name in BUNDLED or self._enlarges(name))]
        names.sort(key=lambda name: name != self.default)
        known = [
            {
                "name": name,
                "scale": self._scale(name),
                "use": USES.get(name, ""),
                "default": name == self.default,
                "fidelity": name in PSNR_PARTNERS and {name, PSNR_PARTNERS[name]} <= BUNDLED.keys(),
            }
            for name in names
        ]
        return {"models": known, "device": self.device, "pixel_seconds": self.pixel_seconds}

    def _scale(self, name: str) -> int:
        from superscale.weights.store import AUTO, find_stored

        return self.upscaler(name, None).contract.scale if name == AUTO else find_stored(name).contract.scale

    def _enlarges(self, name: str) -> bool:
        try:
            self._scale(name)
        except SuperscaleError:
            return False
        return True

    def upscaler(self, model: str, fidelity: float | None) -> Upscaler:
        """The network, loaded once."""
        from superscale.inference.upscaler import Upscaler
        from superscale.options import UpscaleOptions

        if (found := self.networks.get((model, fidelity))) is None:
            options = UpscaleOptions(device=self.device, backend=self.facts["backend"], tile=self.facts["tile"])
            found = self.networks[model, fidelity] = Upscaler.with_options(model, options, fidelity)
            while len(self.networks) > NETWORKS:
                self.networks.popitem(last=False)
        self.networks.move_to_end((model, fidelity))
        return found

    def __call__(self, message: Message, inbox: Inbox, say: Callable[[Message], None]) -> Message:
        """Enlarge the picture of a message; facts of the result. Between tiles, one waiting preview is done."""
        from superscale.image.formats import HEADER_BYTES, SUFFIXES, suffix_of
        from superscale.image.io import encode_with_notices, read_image

        limit_time(self.facts["timeout"])
        asked, folder, cancel = message["asked"], Path(message["folder"]), inbox.cancels[message["task"]]
        upload = folder / "upload"
        with open(upload, "rb") as stream:
            own = suffix_of(stream.read(HEADER_BYTES))
        image = read_image(upload, self.facts["max_pixels"], NAME)
        upscaler = self.upscaler(asked["model"], asked["fidelity"]).at_scale(asked["scale"])

        def progress(done: int, total: int) -> None:
            say({"task": message["task"], "progress": done / total})
            if not message["preview"]:
                self._one_preview(inbox, say)

        larger = upscaler.enlarge(image, progress=progress, cancel=cancel)
        del image
        suffix = {None: own or ".png", "jpg": ".jpg"}.get(asked["format"], f".{asked['format']}")
        data, notices = encode_with_notices(larger, suffix, asked["quality"], asked["metadata"])
        if cancel.is_set():
            raise Cancelled("cancelled")
        if len(data) > message["room"]:
            raise OSError(errno.ENOSPC, "the quota of the spool folder is used up")
        facts = {"width": larger.width, "height": larger.height, "bytes": len(data), "suffix": suffix}
        facts |= {"type": TYPES[SUFFIXES[suffix]], "notices": list(notices)}
        write_bytes(folder / f"result{suffix}", data)
        write_text(folder / "facts.json", json.dumps(facts))
        return facts

    def _one_preview(self, inbox: Inbox, say: Callable[[Message], None]) -> None:
        try:
            message = inbox.tasks.get_nowait()
        except Empty:
            return
        # The server sends one picture at a time and, beside it, one preview.
        answer(self, message, inbox, say)


def limit_memory(spare: int) -> None:
    """Let this process map so many bytes more than it has now."""
    if spare != resource.RLIM_INFINITY and sys.platform == "linux":
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + spare, mapped + spare))


def limit_time(seconds: float) -> None:
    """End this process when it has computed for so long from now on, on all processors, should the server not do it."""
    used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    limit = int(used + (seconds + SPARE_SECONDS) * (os.cpu_count() or 1))
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def why(error: BaseException) -> tuple[str, str]:
    """The kind of problem that an error is, and a sentence without paths."""
    if isinstance(error, Cancelled):
        return "cancelled", "The job was cancelled."
    if isinstance(error, TooLarge):
        return "too-many-pixels", f"{_sentence(error.args[0])[:-1]}, the most that this server takes."
    if isinstance(error, OutOfMemoryError | MemoryError) or isinstance(error.__cause__, MemoryError):
        return "out-of-memory", "The picture needs more memory than this server has for it; send a smaller one."
    if isinstance(error, Damaged):
        return "damaged", _sentence(error)
    if isinstance(error, ImageError):
        return "not-a-picture", _sentence(error)
    if isinstance(error, UsageError):
        return "bad-field", _sentence(error)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "disk-full", "The server has no room for the result."
    return "failed", "The server could not enlarge this picture."


def _sentence(error: object) -> str:
    text = str(error).removeprefix(f"{NAME}: ").strip().rstrip(".")
    return f"{text[:1].upper()}{text[1:]}."


def answer(role: Inspector | Enlarger, message: Message, inbox: Inbox, say: Callable[[Message], None]) -> None:
    """Do a task and say what became of it."""
    task, began = message["task"], time.monotonic()
    say({"task": task, "begun": True})
    try:
        if inbox.cancels[task].is_set():
            raise Cancelled("cancelled")
        ended = role(message, inbox, say)
    except Exception as error:
        kind, detail = why(error)
        if kind == "failed":
            sys.excepthook(type(error), error, error.__traceback__)  # for who runs the server
        say({"task": task, "failed": kind, "detail": detail, "limit": error.limit if isinstance(error, TooLarge) else None})
    else:
        say({"task": task, "ended": ended, "seconds": time.monotonic() - began})
    inbox.cancels.pop(task, None)
    gc.collect()


def main() -> None:
    """Serve one server until it closes standard input."""
    facts = json.loads(sys.argv[1])
    replies = os.fdopen(os.dup(1), "wb", 0)
    os.dup2(2, 1)  # whatever a library prints must not look like a reply
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the server decides
    os.nice(NICENESS)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    inbox = Inbox()
    inbox.listen()

    def say(message: Message) -> None:
        replies.write(json.dumps(message).encode() + b"\n")

    try:
        role = Inspector(facts) if facts["role"] == "inspector" else Enlarger(facts)
        say({"ready": role.about()})
    except SuperscaleError as error:
        say({"unfit": str(error)})
        return
    while True:
        answer(role, inbox.tasks.get(), inbox, say)


if __name__ == "__main__":
    main()
