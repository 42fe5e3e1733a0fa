import json

import pytest
from deploy.local import routes
from deploy.local.routes import SERVICES, RouteTableError, load, openapi_path

TABLE = json.loads(routes.FILE.read_text())


@pytest.mark.parametrize(
    ("path", "prefix"),
    [
        ("/v1/documents", "/v1/documents"),
        ("/v1/documents/1/content", "/v1/documents"),
        ("/v1/documents/openapi.json", "/v1/documents/openapi.json"),
        ("/v1/documentsX", None),
        ("/v1/sync/stream", "/v1/sync/stream"),
        ("/v1/sync/streams", "/v1/sync"),
        ("/health/live", None),
        ("/", None),
    ],
)
def test_longest_prefix_on_a_segment_boundary(path, prefix):
    route = load().route_for(path)
    assert (route.prefix if route else None) == prefix


def test_every_service_publishes_its_openapi_without_token():
    public = {(entry.method, entry.path) for entry in load().public}
    assert {("GET", openapi_path(service)) for service in SERVICES} <= public


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"prefix": "/v1/documents"}, "listed twice"),
        ({"prefix": "/docs"}, "listed twice"),
        ({"prefix": "/v1/new/"}, "is not a prefix"),
        ({"prefix": "/v1/NEW"}, "is not a prefix"),
        ({"prefix": "/internal/events"}, "never routed"),
        ({"prefix": "/health"}, "never routed"),
        ({"prefix": "/v1/new", "service": "nobody"}, "no service"),
        ({"prefix": "/v1/new", "body_limit_mib": 0}, "body limit"),
        ({"prefix": "/v1/new", "errors": "xml"}, "errors like xml"),
        ({"prefix": "/v1/files/openapi.json/x", "service": "sync"}, None),
    ],
)
def test_a_row_that_cannot_be_meant_is_refused(tmp_path, change, complaint):
    row = {"prefix": "/v1/x", "service": "documents", "streaming": False, "body_limit_mib": 1} | change
    file = tmp_path / "routes.json"
    file.write_text(json.dumps(TABLE | {"routes": [*TABLE["routes"], row]}))
    if complaint is None:
        load(file)
    else:
        with pytest.raises(RouteTableError, match=complaint):
            load(file)


def test_an_openapi_that_leads_to_another_service_is_refused(tmp_path):
    rows = [row for row in TABLE["routes"] if row["prefix"] not in {"/v1/sync", "/v1/sync/openapi.json"}]
    file = tmp_path / "routes.json"
    file.write_text(json.dumps(TABLE | {"routes": rows}))
    with pytest.raises(RouteTableError, match=r"/v1/sync/openapi\.json does not lead to sync"):
        load(file)


def test_a_public_operation_without_a_route_is_refused(tmp_path):
    file = tmp_path / "routes.json"
    file.write_text(json.dumps(TABLE | {"public": [{"method": "GET", "path": "/v2/x"}]}))
    with pytest.raises(RouteTableError, match="GET /v2/x has no route"):
        load(file)
