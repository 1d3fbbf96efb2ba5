"""How engines, clouds and routers refuse a prompt for its length: whole bodies, as they were reported.

Each with its HTTP status (200: in a stream, or as if it were an answer), the window and the prompt that it
tells of, None where it tells none.
"""

from __future__ import annotations

import json


def openai(message, type="invalid_request_error", param="messages", code="context_length_exceeded"):
    return {"error": {"message": message, "type": type, "param": param, "code": code}}


def plain(message, code=400, type="BadRequestError", param=None):
    """vLLM's shape since 0.10, and what many others send."""
    return {"error": {"message": message, "type": type, "param": param, "code": code}}


def flat(message, code=400, type="BadRequestError"):
    return {"object": "error", "message": message, "type": type, "param": None, "code": code}


WINDOW = "This model's maximum context length is"
VLLM_OLD = (
    f"{WINDOW} 32768 tokens. However, you requested 33077 tokens (1077 in the messages, 32000 in the"
    " completion). Please reduce the length of the messages or completion."
)
ANTHROPIC = {
    "type": "error",
    "error": {
        "type": "invalid_request_error",
        "message": "prompt is too long: 209303 tokens > 200000 maximum",
    },
    "request_id": "req_011CUwZTS7TYAH8UyTro83sP",
}
GEMINI = "The input token count (1200293) exceeds the maximum number of tokens allowed (1048576)."

# name: status, body, (window, prompt)
REFUSALS = {
    "openai, messages": (
        400,
        openai(
            f"{WINDOW} 4097 tokens. However, your messages resulted in 35569 tokens. Please reduce the length"
            " of the messages."
        ),
        (4097, 35569),
    ),
    "openai, messages and completion": (
        400,
        openai(
            f"{WINDOW} 4097 tokens. However, you requested 4203 tokens (3703 in the messages, 500 in the"
            " completion). Please reduce the length of the messages or completion."
        ),
        (4097, 3703),
    ),
    "openai, with functions": (
        400,
        openai(
            f"{WINDOW} 4097 tokens. However, you requested 4393 tokens (3100 in the messages, 293 in the"
            " functions, 1000 in the completion). Please reduce the length of the messages, functions, or"
            " completion."
        ),
        (4097, 3393),
    ),
    "openai, an input limit": (
        400,
        openai(
            "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 289650"
            " tokens. Please reduce the length of the messages."
        ),
        (272000, 289650),
    ),
    "openai, without numbers": (
        400,
        openai(
            "Your input exceeds the context window of this model. Please adjust your input and try again."
        ),
        (None, None),
    ),
    "azure": (
        400,
        openai(
            f"{WINDOW} 8192 tokens. However, your messages resulted in 8227 tokens. Please reduce the length"
            " of the messages."
        ),
        (8192, 8227),
    ),
    "openai, a prompt": (
        400,
        plain(
            f"{WINDOW} 8192 tokens, however you requested 8977 tokens (8977 in your prompt; 0 for the"
            " completion). Please reduce your prompt; or completion length.",
            code=None,
        ),
        (8192, 8977),
    ),
    "deepseek": (
        400,
        openai(
            f"{WINDOW} 131072 tokens. However, you requested 131134 tokens (122942 in the messages, 8192 in"
            " the completion). Please reduce the length of the messages or completion.",
            param=None,
            code="invalid_request_error",
        ),
        (131072, 122942),
    ),
    "llama.cpp": (
        400,
        {
            "error": {
                "code": 400,
                "message": "request (14429 tokens) exceeds the available context size (8192 tokens),"
                " try increasing it",
                "type": "exceed_context_size_error",
                "n_prompt_tokens": 14429,
                "n_ctx": 8192,
            }
        },
        (8192, 14429),
    ),
    "llama.cpp, sent as an answer": (
        200,
        {
            "error": {
                "code": 400,
                "message": "the request exceeds the available context size. try increasing the context size"
                " or enable context shift",
                "type": "exceed_context_size_error",
                "n_prompt_tokens": 14429,
                "n_ctx": 8192,
            }
        },
        (8192, 14429),
    ),
    "llama.cpp, older": (
        500,
        {
            "error": {
                "code": 500,
                "message": "the request exceeds the available context size. try increasing the context size"
                " or enable context shift",
                "type": "server_error",
            }
        },
        (None, None),
    ),
    "llama-cpp-python": (
        500,
        {
            "error": {
                "message": "Requested tokens (4516) exceed context window of 2048",
                "type": "internal_server_error",
                "param": None,
                "code": None,
            }
        },
        (2048, 4516),
    ),
    "ds4": (
        400,
        {
            "error": {
                "message": "Prompt tokens (9000) exceeds context size (8192)",
                "type": "context_exceeded",
                "n_prompt_tokens": 9000,
                "n_ctx": 8192,
            }
        },
        (8192, 9000),
    ),
    "vllm up to 0.8": (400, flat(VLLM_OLD), (32768, 1077)),
    "vllm 0.9": (
        400,
        flat(
            "'max_tokens' or 'max_completion_tokens' is too large: 32000. "
            f"{WINDOW} 32768 tokens and your request has 1077 input tokens (32000 > 32768 - 1077). None"
        ),
        (32768, 1077),
    ),
    "vllm 0.10": (
        400,
        plain(
            f"{WINDOW} 8192 tokens. However, your request has 9001 input tokens. Please reduce the length of"
            " the input messages. None"
        ),
        (8192, 9001),
    ),
    "vllm 0.15": (
        400,
        plain(
            f"{WINDOW} 262144 tokens. However, you requested 128000 output tokens and your prompt contains at"
            " least 134145 input tokens, for a total of at least 262145 tokens. Please reduce the length of"
            " the input prompt or the number of requested output tokens."
            " (parameter=input_tokens, value=134145)",
            param="input_tokens",
        ),
        (262144, None),
    ),
    "vllm 0.15, counted": (
        400,
        plain(
            f"{WINDOW} 4096 tokens. However, you requested 1000 output tokens and your prompt contains"
            " 3500 input tokens, for a total of 4500 tokens. Please reduce the length of the input prompt or"
            " the number of requested output tokens. (parameter=input_tokens, value=3500)",
            param="input_tokens",
        ),
        (4096, 3500),
    ),
    "vllm 0.16": (
        400,
        plain(
            "You passed 98305 input tokens and requested 32768 output tokens. However, the model's context"
            " length is only 131072 tokens, resulting in a maximum input length of 98304 tokens. Please"
            " reduce the length of the input prompt. (parameter=input_tokens, value=98305)",
            param="input_tokens",
        ),
        (131072, None),
    ),
    "vllm, images": (
        400,
        plain(
            "The decoder prompt (length 12324) is longer than the maximum model length of 8192. Make sure"
            " that `max_model_len` is no smaller than the number of text tokens plus multimodal tokens."
        ),
        (8192, 12324),
    ),
    "ollama": (400, {"error": "the input length exceeds the context length"}, (None, None)),
    "ollama, a hosted model": (
        400,
        plain("prompt too long; exceeded max context length by 4096 tokens", type="api_error"),
        (None, None),
    ),
    "lm studio": (
        400,
        {
            "error": "Trying to keep the first 14538 tokens when context the overflows. However, the model is"
            " loaded with context length of only 2048 tokens, which is not enough. Try to load the model with"
            " a larger context length, or provide a shorter input"
        },
        (2048, 14538),
    ),
    "lm studio 0.3.20": (
        400,
        {
            "error": "The number of tokens to keep from the initial prompt is greater than the context"
            " length. Try to load the model with a larger context length, or provide a shorter input"
        },
        (None, None),
    ),
    "lm studio 0.4": (
        400,
        {
            "error": "The number of tokens to keep from the initial prompt is greater than the context length"
            " (n_keep: 4249>= n_ctx: 4096). Try to load the model with a larger context length, or provide a"
            " shorter input."
        },
        (4096, 4249),
    ),
    "lm studio, in a stream": (
        200,
        {
            "error": {
                "message": "Reached context length of 32000 tokens with model (arch: gpt-oss) that does not"
                " currently support mid-generation context overflow. Try reloading with a larger context"
                " length or shortening the prompt/chat."
            }
        },
        (32000, None),
    ),
    "lm studio, mlx": (400, {"error": "Context size has been exceeded."}, (None, None)),
    "tgi": (
        422,
        {
            "error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 65537. Given:"
            " 79993 `inputs` tokens and 1024 `max_new_tokens`",
            "error_type": "validation",
        },
        (65537, 79993),
    ),
    "tgi, prompt alone": (
        422,
        {
            "error": "Input validation error: `inputs` must have less than 1024 tokens. Given: 1168",
            "error_type": "validation",
        },
        (1024, 1168),
    ),
    "openrouter": (
        400,
        {
            "error": {
                "message": "This endpoint's maximum context length is 131072 tokens. However, you requested"
                " about 135349 tokens (60662 of text input, 10687 of tool input, 64000 in the output). Please"
                " reduce the length of either one, or use the context-compression plugin to compress your"
                " prompt automatically.",
                "code": 400,
                "metadata": {"provider_name": None},
            }
        },
        (131072, 71349),
    ),
    "openrouter, text alone": (
        400,
        {
            "error": {
                "message": "This endpoint's maximum context length is 32768 tokens. However, you requested"
                " about 42832 tokens (42832 of text input). Please reduce the length of either one, or use"
                ' the "middle-out" transform to compress your prompt automatically.',
                "code": 400,
            }
        },
        (32768, 42832),
    ),
    "openrouter, its provider's": (
        400,
        {
            "error": {
                "message": "Provider returned error",
                "code": 400,
                "metadata": {"raw": json.dumps(plain(VLLM_OLD)), "provider_name": "DeepInfra"},
            }
        },
        (32768, 1077),
    ),
    "groq": (
        400,
        openai("Please reduce the length of the messages or completion."),
        (None, None),
    ),
    "cerebras": (
        400,
        openai(
            "Please reduce the length of the messages or completion. Current length is 42328 while limit is"
            " 40000"
        ),
        (40000, 42328),
    ),
    "mistral": (
        400,
        flat(
            "Prompt contains 159202 tokens and 0 draft tokens, too large for model with 131072 maximum"
            " context length",
            type="invalid_request_invalid_args",
            code="3051",
        ),
        (131072, 159202),
    ),
    "anthropic": (400, ANTHROPIC, (200000, 209303)),
    "anthropic, with the answer": (
        400,
        {
            "type": "error",
            "error": {
                "type": "invalid_request_error",
                "message": "input length and `max_tokens` exceed context limit: 199759 + 8192 > 200000,"
                " decrease input length or `max_tokens` and try again",
            },
        },
        (200000, 199759),
    ),
    "anthropic, without numbers": (
        413,
        {"type": "error", "error": {"type": "invalid_request_error", "message": "Prompt is too long"}},
        (None, None),
    ),
    "bedrock": (400, {"message": "Input is too long for requested model."}, (None, None)),
    "gemini": (
        400,
        [
            {
                "error": {
                    "code": 400,
                    "message": GEMINI,
                    "errors": [{"message": GEMINI, "domain": "global", "reason": "badRequest"}],
                    "status": "INVALID_ARGUMENT",
                }
            }
        ],
        (1048576, 1200293),
    ),
    "gemini 2.5": (
        400,
        {
            "error": {
                "code": 400,
                "message": "The input token count exceeds the maximum number of tokens allowed (1048576).",
                "status": "INVALID_ARGUMENT",
            }
        },
        (1048576, None),
    ),
    "sglang": (
        400,
        flat("The input (61709 tokens) is longer than the model's context length (40960 tokens)."),
        (40960, 61709),
    ),
    "sglang, with the answer": (
        400,
        flat(
            "Requested token count exceeds the model's maximum context length of 40960 tokens. You requested"
            " a total of 41500 tokens: 37404 tokens from the input messages and 4096 tokens for the"
            " completion. Please reduce the number of tokens in the input messages or the completion to fit"
            " within the limit."
        ),
        (40960, 37404),
    ),
    "xai": (
        400,
        {
            "code": "Client specified an invalid argument",
            "error": "This model's maximum prompt length is 131072 but the request contains 149617 tokens.",
        },
        (131072, 149617),
    ),
    "moonshot": (
        400,
        openai(
            "Invalid request: Your request exceeded model token limit: 262144 (requested: 300000)",
            code=None,
        ),
        (262144, 300000),
    ),
    "dashscope": (
        400,
        openai(
            "<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 204800]",
            code="invalid_parameter_error",
        ),
        (204800, None),
    ),
    "fastapi": (
        400,
        {
            "detail": "You passed 32769 input tokens and requested 0 output tokens. However, the model's"
            " context length is only 32768 tokens, resulting in a maximum input length of 32768 tokens."
        },
        (32768, None),
    ),
    "litellm around openai": (
        400,
        openai(
            "litellm.ContextWindowExceededError: litellm.BadRequestError: ContextWindowExceededError:"
            f" OpenAIException - {WINDOW} 13500 tokens. However, you requested 14032 tokens (9936 in the"
            " messages, 4096 in the completion). Please reduce the length of the messages or completion.."
            " Received Model Group=m\nAvailable Model Group Fallbacks=None",
            type=None,
            param=None,
            code="400",
        ),
        (13500, 9936),
    ),
    "litellm around vllm": (
        500,
        openai(
            "litellm.ContextWindowExceededError: litellm.BadRequestError: ContextWindowExceededError:"
            f" Hosted_vllmException - Error code: 400 - {flat(VLLM_OLD + ' None')}\nmodel=LongWriter-Zero."
            " context_window_fallbacks=None. fallbacks=None.",
            type=None,
            param=None,
            code="400",
        ),
        (32768, 1077),
    ),
    "litellm around anthropic": (
        400,
        openai(
            "litellm.BadRequestError: AnthropicException - b'"
            + json.dumps(ANTHROPIC)
            + "'. Received Model Group=anthropic/claude\nAvailable Model Group Fallbacks=None",
            type=None,
            param=None,
            code="400",
        ),
        (200000, 209303),
    ),
    "litellm around a json error": (
        400,
        openai(
            "litellm.BadRequestError: OpenAIException - " + json.dumps(plain(VLLM_OLD)) + ". Received Model",
            type=None,
            param=None,
            code="400",
        ),
        (32768, 1077),
    ),
    "litellm around bedrock": (
        400,
        openai(
            "litellm.ContextWindowExceededError: litellm.BadRequestError: BedrockException: Context Window"
            ' Error - {"message":"Input is too long for requested model."}',
            type=None,
            param=None,
            code="400",
        ),
        (None, None),
    ),
    "litellm's own check": (
        400,
        openai(
            "litellm.ContextWindowExceededError: litellm._pre_call_checks: Context Window exceeded for given"
            " call. No models have context window large enough for this call.\nModel=gpt-5.5, Max Input"
            " Tokens=272000, Got=301450",
            type=None,
            param=None,
            code="400",
        ),
        (272000, 301450),
    ),
}
