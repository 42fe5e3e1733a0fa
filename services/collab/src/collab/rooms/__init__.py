"""Live rooms: documents in memory, who is in them, and how what they write becomes durable before anybody sees it."""

from .commit import GroupCommit
from .fanout import Fanout
from .hall import Hall, Opened
from .member import Guest, Member
from .presence import Presence
from .room import Room
from .sockets import Socket
from .writer import Writer

__all__ = [
    "Fanout",
    "GroupCommit",
    "Guest",
    "Hall",
    "Member",
    "Opened",
    "Presence",
    "Room",
    "Socket",
    "Writer",
]
