#!/usr/bin/env python3
"""hetune_c.h from Python's ctypes: handles, texts and callbacks, no struct.
usage: ctypes_test.py LIBRARY MODEL BACKEND"""
import json
import sys
import threading
from ctypes import (CDLL, CFUNCTYPE, POINTER, byref, c_char_p, c_float, c_int, c_int32, c_int64,
                    c_size_t, c_void_p, string_at)

library, model_path, backend = sys.argv[1:]
c = CDLL(library)
for name in "hetune_last_error", "hetune_version", "hetune_status_name":
    getattr(c, name).restype = c_char_p
for name in "free", "model_free", "sequence_free", "result_free", "model_options_free", \
        "generate_options_free":
    getattr(c, "hetune_" + name).restype = None
OnText = CFUNCTYPE(c_int, c_void_p, c_size_t, c_void_p)
OnProgress = CFUNCTYPE(None, c_char_p, c_size_t, c_size_t, c_void_p)


class HetuneError(Exception):
    def __init__(self, status):
        super().__init__(c.hetune_last_error().decode())
        self.kind = c.hetune_status_name(status).decode()


def call(name, *arguments):
    status = getattr(c, "hetune_" + name)(*arguments)
    if status != 0:
        raise HetuneError(status)


def fails(kind, part, name, *arguments):
    try:
        call(name, *arguments)
    except HetuneError as error:
        assert error.kind == kind and part in str(error), (error.kind, str(error))
    else:
        raise AssertionError(f"{name} does not fail")


def handle(name, *arguments):
    made = c_void_p()
    call(name, *arguments, byref(made))
    return made


def options(kind, **members):
    made = handle(kind + "_options_create")
    for name, value in members.items():
        call(kind + "_options_set", made, name.encode(), str(value).encode())
    return made


def owned(name, element, *arguments):
    """An array that is ours: copied, then given back."""
    array, count = POINTER(element)(), c_size_t()
    call(name, *arguments, byref(array), byref(count))
    values = array[:count.value]
    c.hetune_free(array)
    return values


def value(result, name):
    text = c_char_p()
    call("result_value", result, name.encode(), byref(text))
    return text.value.decode()


def lent(name, element, owner):
    array, count = POINTER(element)(), c_size_t()
    call(name, owner, byref(array), byref(count))
    return array[:count.value]


def result_text(result):
    text, size = c_char_p(), c_size_t()
    call("result_text", result, byref(text), byref(size))
    assert len(text.value) == size.value
    return text.value.decode()


def generate(sequence, prompt, settings, on_text=OnText(0)):
    return handle("sequence_generate", sequence, prompt.encode(), c_size_t(len(prompt.encode())),
                  settings, on_text, None)


assert c.hetune_version().decode().count(".") == 2
fails("ModelError", "/nowhere.gguf", "model_load", b"/nowhere.gguf", None, byref(c_void_p()))
fails("RequestError", "`path` is NULL", "model_load", None, None, byref(c_void_p()))
fails("RequestError", "`model` is NULL", "sequence_open", None, byref(c_void_p()))

stages = []
progress = OnProgress(lambda stage, done, total, user: stages.append(stage))
settings = options("model", backend=backend, context=128)
fails("OptionError", "kv_type", "model_options_set", settings, b"contxt", b"5")
call("model_options_progress", settings, progress, None)
model = handle("model_load", model_path.encode(), settings)
c.hetune_model_options_free(settings)
text = c_char_p()
call("model_info", model, byref(text))
info = json.loads(text.value)
assert info["backend"] == backend and info["context"] == 128

tokens = owned("model_tokenize", c_int32, model, b"Ownership is", c_size_t(12), 0)
array = (c_int32 * len(tokens))(*tokens)
own = c_void_p()
call("model_detokenize", model, array, c_size_t(len(tokens)), byref(own), None)
assert string_at(own) == b"Ownership is"
c.hetune_free(own)
assert owned("model_render", c_int32, model, b'[{"role": "user", "content": "Hi"}]', None)

sequence = handle("sequence_open", model)
pieces = []


@OnText
def collect(text, size, user):
    pieces.append(string_at(text, size))
    return 1


settings = options("generate", max_tokens=6)
result = generate(sequence, "Ownership is", settings, collect)
answer = result_text(result)
assert b"".join(pieces).decode() == answer and value(result, "stop") == "length"
assert len(lent("result_tokens", c_int32, result)) == 6
assert lent("sequence_tokens", c_int32, sequence)[-6:] == lent("result_tokens", c_int32, result)
c.hetune_result_free(result)

call("sequence_reset", sequence)
result = generate(sequence, "Ownership is", settings, OnText(lambda text, size, user: 0))
assert value(result, "stop") == "callback" and answer.startswith(result_text(result))
c.hetune_result_free(result)
c.hetune_generate_options_free(settings)

# The answer is longer than what the model writes ahead of the callback.
settings = options("generate", max_tokens=100, ignore_end="true")
call("sequence_reset", sequence)


@OnText
def cancel(text, size, user):
    other = threading.Thread(target=lambda: call("sequence_cancel", sequence))
    other.start()
    other.join()
    return 1


result = generate(sequence, "Ownership is", settings, cancel)
assert value(result, "stop") == "cancelled"
c.hetune_result_free(result)
c.hetune_generate_options_free(settings)

call("sequence_reset", sequence)
logits = owned("sequence_logits", c_float, sequence, array, c_size_t(len(tokens)), 0)
assert len(logits) == info["vocabulary"]
fails("RequestError", "cut back", "sequence_truncate", sequence, c_int64(100))
call("sequence_truncate", sequence, c_int64(1))
fork = handle("sequence_fork", sequence)
assert lent("sequence_tokens", c_int32, fork) == lent("sequence_tokens", c_int32, sequence)
c.hetune_sequence_free(fork)
room = c_int64()
call("sequence_room", sequence, byref(room))
assert room.value == 127
long_prompt = (c_int32 * 200)(*[5] * 200)
fails("ContextError", "200", "sequence_append_tokens", sequence, long_prompt, c_size_t(200))

c.hetune_model_free(model)  # the sequence holds the model
call("sequence_append", sequence, b" a", c_size_t(2))
c.hetune_sequence_free(sequence)
print("ctypes: all of it works")
