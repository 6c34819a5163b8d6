"""Where a live view is shown: a window, a page on loopback, a video file."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np

from harbench.inference.demo import served_view
from harbench.inference.live import LiveView, has_window
from harbench.inference.overlay import video_writer
from harbench.inference.predict import annotated

log = logging.getLogger(__name__)
_TITLE = "harbench (q ends)"


def shown(views: Iterable[LiveView], *, top: int, window: bool, save: Path | None) -> Iterator[LiveView]:
    """The views, each drawn with its answer: in a window where there can be one, else on a page whose address is logged;
    and in an .mp4 below `save`. Ends when somebody types q in the window.
    """
    newest = b""
    with ExitStack() as stack:
        in_window = window and has_window()
        if window and not in_window:
            address = stack.enter_context(served_view(lambda: newest))
            log.info("no window can be opened here; the live view is at %s", address)
        write = None
        for view in views:
            said = view.persons or ([view.prediction] if view.prediction else [])
            image = annotated(view.image, said, top, view.joints)
            if save is not None:
                path = save / time.strftime("live-%Y%m%d-%H%M%S.mp4")
                write = write or stack.enter_context(video_writer(path, view.stats.rate))
                write(image)
            if window and not in_window:
                newest = cv2.imencode(".jpg", np.ascontiguousarray(image[..., ::-1]))[1].tobytes()
            yield view
            if in_window:
                cv2.imshow(_TITLE, image[..., ::-1])
                if cv2.waitKey(1) & 0xFF == ord("q"):
                    break
        if in_window:
            cv2.destroyAllWindows()
