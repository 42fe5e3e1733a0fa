"""Which bus it is: RabbitMQ by its URL, or SNS and SQS by the topic's ARN."""

from common.messaging.bus import Bus

LOG_QUEUE = "sync"
"""Whoever publishes sees to it that the log of all changes gets it; on AWS its subscription stands before any task."""


def open_bus(
    amqp_url: str | None, topic_arn: str | None, queue_prefix: str = "", aws_endpoint_url: str | None = None
) -> Bus:
    """The bus these settings name; `run()` connects it. Only its own client library is loaded."""
    if topic_arn:
        from common.messaging.aws import AwsBus, AwsPlace  # noqa: PLC0415

        region = topic_arn.split(":")[3]
        return AwsBus(AwsPlace(topic_arn, queue_prefix, region, aws_endpoint_url))
    from common.messaging.rabbit import RabbitBus  # noqa: PLC0415

    return RabbitBus(str(amqp_url), LOG_QUEUE)
