"""The development provider: answers as OpenAI's and Anthropic's APIs do, without a model behind it.

`make up` starts it when no provider key is set, tests and benchmarks use it. **It is not a language model**: the same
request always gets the same answer, made by rules (`answers.py`). It listens on loopback and is never routed publicly.

`python -m deploy.provider --port N` serves

    OpenAI      POST /v1/chat/completions /v1/responses /v1/embeddings, GET /v1/models /v1/models/{id}
    Anthropic   POST /v1/messages /v1/messages/count_tokens, GET /v1/models /v1/models/{id} (with `anthropic-version`)
    control     /control/... (see below), from loopback only

Keys are fixed and worth nothing: `Authorization: Bearer dev-openai-key`, `x-api-key: dev-anthropic-key`
(or as a bearer token, as newer SDKs send it). A key that begins with `dev-own-` is somebody's own and good for both.
Any other key is answered 401.

A token is a word or a part of one of up to 8 characters with the blanks before it, or a single other character: each
streamed piece of text is one token, so that what a reader saw can be counted. A message costs 3 tokens, an image 85.

Models, all of them in both dialects:

    dev-small dev-large     answers by rules, at once
    dev-embed               embeddings (1536 numbers, or `dimensions`): texts with the same words lie near each other
    dev-words-N             exactly N tokens, whatever is asked
    dev-clock-N             N tokens, 50 a second, each of which says when it was sent: `@`, nanoseconds, `;`
    dev-slow                the first byte after 2 s, then 20 pieces a second
    dev-silent              never answers
    dev-NNN                 that status with the provider's own error: dev-400, dev-401, dev-429, dev-500, dev-529 ...
    dev-disconnect          the connection ends before a byte of the answer
    dev-half                the connection ends in the middle of the answer
    dev-stall               some pieces, then silence
    dev-error               200, some pieces, then the error event of the dialect
    dev-garbage             200 and bytes that are neither events nor JSON
    dev-flood               200 and one event that never ends
    dev-endless             pieces without end, 100 a second
    dev-redirect            307 to another host
    dev-no-usage            an answer without usage
    dev-overrun             an answer with ten times the usage

Any other model is answered 404. Control:

    PUT    /control/behaviours/{model}  {"behaviour": {...}, "times": 3}  the next 3 requests (default: all from now on)
                                        for the model are treated so; fields: `behaviour.Behaviour`. "*" is every model
    DELETE /control                     forget behaviours and requests
    GET    /control/requests            what came, oldest first: headers, body, pieces sent, how and when it ended
    GET    /control/open?below=N&seconds=S   streams open now; waits until there are fewer than N, S seconds at most
    GET    /control/wait?requests=N&seconds=S   waits until N requests have come, S seconds at most; how many have
"""
