"""What only RabbitMQ can promise."""

from common.messaging import UnroutableError
from common.messaging.rabbit import RabbitBus

from .conftest import Broker, connected


async def test_an_event_nobody_subscribed_to_is_not_taken(backing):
    """Otherwise the relay would count it as sent, and the log would never have it (T30 of the sync evidence)."""
    async with connected(RabbitBus(backing.amqp_url)) as bus:
        event = Broker(bus, None, None, "nobody").event()
        (outcome,) = await bus.publish([event])
        assert isinstance(outcome, UnroutableError)
