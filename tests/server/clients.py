"""The openai and anthropic packages against a server: `clients.py http://HOST:PORT`, key "secret"."""

import sys

import anthropic
import openai

BASE = sys.argv[1]
client = openai.OpenAI(base_url=BASE + "/v1", api_key="secret", max_retries=0)
HELLO = [{"role": "user", "content": "hello"}]
GREEDY = dict(model="tiny", temperature=0, extra_body={"ignore_eos": True})


def chat():
    whole = client.chat.completions.create(messages=HELLO, max_tokens=10, **GREEDY)
    assert whole.choices[0].finish_reason == "length", whole
    assert whole.usage.completion_tokens == 10
    text, usage = "", None
    options = {"include_usage": True}
    for chunk in client.chat.completions.create(
        messages=HELLO, max_tokens=10, stream=True, stream_options=options, **GREEDY
    ):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
    assert text == whole.choices[0].message.content, (text, whole)
    assert usage.completion_tokens == 10

    several = client.chat.completions.create(
        messages=HELLO, max_tokens=4, n=2, logprobs=True, top_logprobs=3, seed=1, **GREEDY
    )
    assert [c.index for c in several.choices] == [0, 1]
    for choice in several.choices:
        assert len(choice.logprobs.content) == 4
        assert all(len(token.top_logprobs) == 3 for token in choice.logprobs.content)

    stop = text[2:4]
    stopped = client.chat.completions.create(messages=HELLO, max_tokens=10, stop=[stop], **GREEDY)
    assert stopped.choices[0].finish_reason == "stop"
    assert stop not in stopped.choices[0].message.content


def completions():
    whole = client.completions.create(prompt="abc", max_tokens=6, logprobs=2, **GREEDY)
    assert len(whole.choices[0].logprobs.tokens) == 6
    stream = client.completions.create(prompt="abc", max_tokens=6, stream=True, **GREEDY)
    assert "".join(c.choices[0].text for c in stream if c.choices) == whole.choices[0].text
    many = client.completions.create(prompt=["abc", "abd"], max_tokens=2, n=2, echo=True, **GREEDY)
    assert [c.text[:3] for c in many.choices] == ["abc", "abc", "abd", "abd"]
    assert many.usage.completion_tokens == 8


    scored = client.completions.create(prompt="abc", max_tokens=3, logprobs=2, echo=True, **GREEDY).choices[0]
    listed = scored.logprobs
    assert scored.text.startswith("abc") and listed.token_logprobs[0] is None and listed.top_logprobs[0] is None
    prompt = len(listed.tokens) - 3
    assert prompt >= 1 and len(listed.token_logprobs) == len(listed.top_logprobs) == len(listed.text_offset) == prompt + 3
    assert all(value < 0 for value in listed.token_logprobs[1:])
    assert all(len(top) >= 2 for top in listed.top_logprobs[1:])
    assert listed.text_offset[prompt] == 3 and listed.text_offset == sorted(listed.text_offset)
    only = client.completions.create(prompt="abc", max_tokens=0, logprobs=2, echo=True, model="tiny").choices[0]
    assert only.text == "abc" and len(only.logprobs.tokens) == prompt, only
    assert only.finish_reason == "length"
    chunks = list(client.completions.create(prompt="abc", max_tokens=3, logprobs=2, echo=True, stream=True, **GREEDY))
    parts = [c.choices[0] for c in chunks if c.choices]
    assert "".join(p.text for p in parts) == scored.text
    tokens = [t for p in parts if p.logprobs for t in p.logprobs.tokens]
    offsets = [o for p in parts if p.logprobs for o in p.logprobs.text_offset]
    assert (tokens, offsets) == (listed.tokens, listed.text_offset)


def embeddings():
    texts = ["abc", "abc", "the quick brown fox"]
    # Without a format the package asks for base64 and decodes it.
    coded = client.embeddings.create(model="tiny", input=texts)
    plain = client.embeddings.create(model="tiny", input=texts, encoding_format="float")
    assert [d.index for d in coded.data] == [0, 1, 2] and coded.model == "tiny"
    assert coded.usage.prompt_tokens == coded.usage.total_tokens > 3
    vectors = [d.embedding for d in plain.data]
    for vector, other in zip(vectors, coded.data):
        assert abs(sum(v * v for v in vector) - 1) < 1e-4
        assert max(abs(a - b) for a, b in zip(vector, other.embedding)) < 1e-5
    dot = lambda a, b: sum(x * y for x, y in zip(a, b))
    assert dot(vectors[0], vectors[1]) > 0.9999 > dot(vectors[0], vectors[2])
    ids = client.post("../tokenize", body={"prompt": "abc"}, cast_to=object)["tokens"]
    for value in (ids, [ids], "abc"):
        same = client.embeddings.create(model="tiny", input=value, dimensions=len(vectors[0]))
        assert dot(same.data[0].embedding, vectors[0]) > 0.9999
    last = client.embeddings.create(model="tiny", input="abc", extra_body={"pooling": "last"})
    assert dot(last.data[0].embedding, vectors[0]) < 0.9999
    # More than are handed to the engine at once.
    many = client.embeddings.create(model="tiny", input=["abc"] * 100)
    assert [d.index for d in many.data] == list(range(100))
    assert all(dot(d.embedding, vectors[0]) > 0.999 for d in many.data)
    try:
        client.embeddings.create(model="tiny", input="abc", dimensions=3)
        raise AssertionError("dimensions were cut")
    except openai.BadRequestError as error:
        assert error.param == "dimensions", error


def models():
    assert [m.id for m in client.models.list()] == ["tiny", "alias"]
    assert client.models.retrieve("alias").id == "alias"


def responses():
    whole = client.responses.create(
        model="tiny", input="hello", instructions="be brief", max_output_tokens=16, temperature=0
    )
    assert whole.status in ("completed", "incomplete"), whole
    with client.responses.stream(
        model="tiny", input="hello", instructions="be brief", max_output_tokens=16, temperature=0
    ) as stream:
        text = "".join(e.delta for e in stream if e.type == "response.output_text.delta")
    assert text == whole.output_text, (text, whole.output_text)
    assert whole.usage.output_tokens > 0
    cut = dict(model="tiny", input="hello", max_output_tokens=3, extra_body={"ignore_eos": True})
    short = client.responses.create(**cut)
    assert (short.status, short.output[0].status) == ("incomplete", "incomplete"), short
    for event in client.responses.create(stream=True, **cut):
        if event.type == "response.output_item.done":
            assert event.item.status == "incomplete", event
        elif event.type == "response.incomplete":
            assert event.response.output[0].status == "incomplete", event
    assert event.type == "response.incomplete", event
    assert (whole.instructions, whole.max_output_tokens, whole.temperature) == ("be brief", 16, 0)


def errors():
    def fails(kind, call):
        try:
            call()
        except kind as error:
            return error
        raise AssertionError(f"expected {kind}")

    error = fails(
        openai.BadRequestError,
        lambda: client.chat.completions.create(model="tiny", messages=HELLO, temperature=-1),
    )
    assert error.param == "temperature", error
    fails(openai.NotFoundError, lambda: client.chat.completions.create(model="other", messages=HELLO))
    stranger = openai.OpenAI(base_url=BASE + "/v1", api_key="wrong", max_retries=0)
    fails(openai.AuthenticationError, lambda: stranger.models.list())
    cut = anthropic.Anthropic(base_url=BASE, api_key="wrong", max_retries=0)
    fails(
        anthropic.AuthenticationError,
        lambda: cut.messages.create(model="tiny", max_tokens=1, messages=HELLO),
    )


def messages():
    claude = anthropic.Anthropic(base_url=BASE, api_key="secret", max_retries=0)
    # Some versions of the package do not name the temperature.
    ask = dict(model="tiny", max_tokens=12, messages=HELLO, extra_body={"temperature": 0})
    whole = claude.messages.create(system="be brief", **ask)
    assert whole.role == "assistant" and whole.usage.output_tokens > 0, whole
    assert whole.stop_reason in ("max_tokens", "end_turn")
    with claude.messages.stream(system=[{"type": "text", "text": "be brief"}], **ask) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == whole.content[0].text == final.content[0].text
    assert final.usage.output_tokens == whole.usage.output_tokens
    count = claude.messages.count_tokens(model="tiny", system="be brief", messages=HELLO)
    used = whole.usage.input_tokens + (whole.usage.cache_read_input_tokens or 0)
    assert count.input_tokens == used, (count, whole)
    if len(text) > 3:
        stopped = claude.messages.create(system="be brief", stop_sequences=[text[2:4]], **ask)
        assert stopped.stop_reason == "stop_sequence" and stopped.stop_sequence == text[2:4], stopped
    claude.beta.messages.create(**ask)
    # A conversation that ends with the assistant's words is gone on with.
    begun = {"role": "assistant", "content": text[:3]}
    continued = claude.messages.create(system="be brief", **{**ask, "messages": HELLO + [begun]})
    head = continued.usage.input_tokens + (continued.usage.cache_read_input_tokens or 0)
    assert used < head < used + 6, (used, head)
    try:
        claude.messages.create(**{**ask, "messages": [begun]})
        raise AssertionError("an answer to nothing was begun")
    except anthropic.BadRequestError as error:
        assert "messages" in str(error), error


for test in (chat, completions, embeddings, models, responses, errors, messages):
    test()
    print(test.__name__, "passed")
print("all passed")
