"""Events in, one service call each."""

from common.access import Projections
from common.contracts.documents import (
    DocumentCreated,
    DocumentPurged,
    DocumentRestored,
    DocumentTrashed,
    DocumentUpdated,
)
from common.messaging import Subscriber

from .dependencies import place

DOCUMENTS = tuple(
    event.type for event in (DocumentCreated, DocumentUpdated, DocumentTrashed, DocumentRestored, DocumentPurged)
)

subscribers = [*Projections("collab").subscribers, Subscriber(DOCUMENTS, place)]
