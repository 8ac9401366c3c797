"""A strict server's own answers against its OpenAPI document: `document.py http://HOST:PORT`, key "secret"."""

import json
import sys
import urllib.error
import urllib.request

from jsonschema import Draft202012Validator

BASE = sys.argv[1]
HELLO = [{"role": "user", "content": "hello"}]


def ask(path, body=None, key="secret"):
    headers = {"content-type": "application/json"} | ({"x-api-key": key} if key else {})
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(BASE + path, data=data, headers=headers)
    try:
        with urllib.request.urlopen(request) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


document = json.loads(ask("/openapi.json")[1])
schemas = document["components"]["schemas"]


def fields(schema):
    """The properties of a schema and of all that it extends."""
    if "$ref" in schema:
        return fields(schemas[schema["$ref"].rsplit("/", 1)[1]])
    found = dict(schema.get("properties", {}))
    for part in schema.get("allOf", []):
        found |= fields(part)
    return found


# Requests are composed; what answers hold is said in full, so that nothing else may be there.
requests = {o["requestBody"]["content"]["application/json"]["schema"]["$ref"].rsplit("/", 1)[1]
            for methods in document["paths"].values() for o in methods.values() if "requestBody" in o}
for schema in schemas.values():
    Draft202012Validator.check_schema(schema)
composed = set(requests)
while more := {part["$ref"].rsplit("/", 1)[1] for name in composed for part in schemas[name].get("allOf", [])
               if "$ref" in part} - composed:
    composed |= more
for name, schema in schemas.items():
    if name not in composed and "properties" in schema:
        schema["additionalProperties"] = False


def check(value, schema, what):
    validator = Draft202012Validator({**schema, "components": document["components"]})
    errors = [f"{list(e.absolute_path)}: {e.message}" for e in validator.iter_errors(value)]
    assert not errors, (what, value, errors)


def content(operation, status):
    return operation["responses"][status]["content"]["application/json"]["schema"]


few = {"max_tokens": 2, "ignore_eos": True}
SENT = {
    "/v1/chat/completions": [
        {"messages": HELLO, **few},
        {"messages": HELLO, **few, "n": 2, "logprobs": True, "top_logprobs": 2, "seed": 1},
    ],
    "/v1/completions": [
        {"prompt": "abc", **few},
        {"prompt": ["abc", [5]], **few, "logprobs": 3, "echo": True},
        {"prompt": "abc", **few, "stop": ["zz"], "best_of": 2},
    ],
    "/v1/embeddings": [{"input": "abc"}, {"input": ["abc", "d"], "encoding_format": "base64"}],
    "/v1/responses": [{"input": "abc", "max_output_tokens": 2}, {"input": HELLO, "instructions": "x"}],
    "/v1/messages": [{"messages": HELLO, "max_tokens": 2}],
    "/v1/messages/count_tokens": [{"messages": HELLO, "system": "x"}],
    "/tokenize": [{"prompt": "abc"}, {"content": "h\u00e9", "with_pieces": True, "return_token_strs": True}],
    "/detokenize": [{"tokens": [5, 6]}],
    "/apply-template": [{"messages": HELLO}],
    "/reset_prefix_cache": [{}],
    # There is none before a window was profiled.
    "/debug/roofline": [],
    "/v1/models/{name}": [None],
}
WRONG = {"/v1/messages": {"messages": HELLO, "max_tokens": "x"}, "/v1/messages/count_tokens": {"messages": 1}}
checked = 0
for path, methods in document["paths"].items():
    for method, operation in methods.items():
        at = path.replace("{name}", "alias")
        # Who has no key gets an error of the shape that is promised, and only where one is asked for.
        status, reply = ask(at, {} if method == "post" else None, key=None)
        assert (status == 401) == ("security" in operation), (path, status)
        if status == 401:
            check(json.loads(reply), content(operation, "default"), path)
        bodies = SENT.get(path, [None] if method == "get" else [])
        for body in bodies:
            if "requestBody" in operation:
                asked = operation["requestBody"]["content"]["application/json"]["schema"]
                check(body, asked, path)
            status, reply = ask(at, body)
            assert status == 200, (path, body, reply)
            if "application/json" in operation["responses"]["200"]["content"]:
                check(json.loads(reply), content(operation, "200"), path)
                checked += 1
        if "requestBody" in operation:
            # Every field that is listed is known: null is as good as absent.
            known = fields(operation["requestBody"]["content"]["application/json"]["schema"])
            for name in known.keys() - bodies[0].keys():
                status, reply = ask(at, {**bodies[0], name: None})
                assert status == 200, (path, name, reply)
            status, reply = ask(at, WRONG.get(path, {"messages": 1, "prompt": 1, "input": 1, "tokens": 1}))
            assert status == 400, (path, status, reply)
            check(json.loads(reply), content(operation, "default"), path)
assert checked > 15, checked
print("all passed")
