"""Signed URLs of the local object store; on AWS clients talk to S3 and CloudFront, and there are none here."""

from common.objects.routes import routes

PREFIX = "/v1/files/objects"

router = routes(PREFIX, lambda request: request.app.state.resources.objects)
