// Portkey's gateway appends to the headers of streamed answers, which newer runtimes keep as fetch got them: immutable, so
// that every stream is answered 500 (Portkey-AI/gateway issue 1389). Loaded before it, so that it can be measured at all.
const original = globalThis.fetch
globalThis.fetch = async (...request) => {
  const got = await original(...request)
  return new Response(got.body, { status: got.status, statusText: got.statusText, headers: new Headers(got.headers) })
}
