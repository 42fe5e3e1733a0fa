"""The verbs of collab."""

from .door import Admission, Door
from .hocuspocus import HocuspocusSocket
from .live import LiveService, PresenceService
from .opening import Opener
from .reception import Reception
from .versions import Versions
from .workshop import Workshop

__all__ = [
    "Admission",
    "Door",
    "HocuspocusSocket",
    "LiveService",
    "Opener",
    "PresenceService",
    "Reception",
    "Versions",
    "Workshop",
]
