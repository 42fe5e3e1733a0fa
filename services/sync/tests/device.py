"""A device for tests of the service: the smallest client there can be; it applies what it is told."""

import asyncio
import hashlib

from common.identifiers import uuid7


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


class Device:
    """The smallest client there can be: applies what it is told, and knows nothing else."""

    def __init__(self, person):
        self.person = person
        self.id = str(uuid7())
        self.cursor = None
        self.n = 0
        self.held = {}
        self.checksums = {}
        self.roles = {}

    async def post(self, what, **body):
        answer = await self.person.http.post(f"/v1/sync/{what}", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def op(self, entity, type_, id_=None, **fields):
        """An operation of its queue."""
        self.n += 1
        named = {"entity": entity, "type": type_, "id": id_ or str(uuid7())}
        return {"op_id": str(uuid7()), "n": self.n, **named, **fields}

    def update(self, id_, base_version, base, content):
        """A text made of another one."""
        return self.op(
            "document", "update", id_, base_version=base_version, base_hash=sha256(base), content=content,
            content_hash=sha256(content),
        )  # fmt: skip

    async def push(self, *ops):
        """Results of operations, which are numbered in the order given."""
        for op, n in zip(ops, sorted(op["n"] for op in ops), strict=True):
            op["n"] = n
        page = await self.post("push", device_id=self.id, ops=ops)
        self.after_write = page["after_write"]
        return page["results"]

    async def register(self):
        body = {"name": "Laptop", "platform": "linux"}
        answer = await self.person.http.put(f"/v1/sync/devices/{self.id}", json=body)
        assert answer.status_code in (200, 201), answer.text
        return self

    async def bootstrap(self, **options):
        token, pages = None, 0
        while True:
            page = await self.post("bootstrap", device_id=self.id, page_token=token, **options)
            self.apply(page["items"], page)
            token, pages = page["page_token"], pages + 1
            if page["cursor"]:
                self.cursor = page["cursor"]
                return pages

    async def pull(self, **options):
        told = []
        while True:
            page = await self.post("pull", cursor=self.cursor, **options)
            for scope in page["scopes_removed"]:
                self.held = {key: change for key, change in self.held.items() if key[0] != scope}
            self.apply(page["changes"], page)
            told += page["changes"]
            self.cursor = page["cursor"]
            if not page["has_more"]:
                self.page = page
                return told

    def apply(self, changes, page):
        for change in changes:
            self.checksums.pop(change["scope"], None)  # told again only where nothing has come since
            key = (change["scope"], change["entity"], change["id"])
            if change["kind"] == "upsert":
                self.held[key] = change
            else:
                self.held.pop(key, None)
        self.roles |= page["roles"]
        self.checksums |= page["checksums"]

    def documents(self):
        return {change["id"]: change for change in self.held.values() if change["entity"] == "document"}

    def checksum(self, scope):
        return self.tally([change for key, change in self.held.items() if key[0] == scope])

    def buckets(self, scope):
        held = [change for key, change in self.held.items() if key[0] == scope]
        return [self.tally([one for one in held if int(one["id"][-2:], 16) == bucket]) for bucket in range(256)]

    def tally(self, found):
        total = 0
        for change in found:
            text = f"{change['entity']}:{change['id']}:{change['version']}:{change['content_hash'] or ''}"
            total += int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
        return {"count": len(found), "sum": f"{total % 2**64:016x}"}

    async def until(self, condition):
        """Pull until what it holds is as it should be, then compare all checksums."""
        async with asyncio.timeout(20):
            while True:
                await self.pull()
                if condition(self):
                    break
                await asyncio.sleep(0.05)
        self.compare()

    def compare(self):
        for scope, told in self.checksums.items():
            if scope in self.scopes():
                assert self.checksum(scope) == told, scope

    def scopes(self):
        return {key[0] for key in self.held}
