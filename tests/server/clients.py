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
    ask = dict(model="tiny", max_tokens=12, temperature=0, messages=HELLO)
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


for test in (chat, completions, models, responses, errors, messages):
    test()
    print(test.__name__, "passed")
print("all passed")
