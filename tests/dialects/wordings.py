"""How more engines, clouds and front ends word a refusal for length, and errors that only sound like one."""

from __future__ import annotations

#: Told by their meaning: (window, prompt) as far as the words tell them.
REFUSALS: dict[str, tuple[int | None, int | None]] = {
    "invalid params, context window exceeds limit (2013)": (None, None),
    "Error: context window exceeds limit": (None, None),
    "too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 9600.": (4081, 9600),
    "too many tokens: size limit exceeded by 1234 tokens. Try using shorter or fewer inputs": (None, None),
    "Prompt has too many tokens: 9000, the maximum is 8191": (8191, 9000),
    "The prompt is too long: 9000, model maximum context length: 8191": (8191, 9000),
    "5021: The estimated number of input and maximum output tokens (25000) exceeded this model context window"
    " limit (24000).": (24000, 25000),
    "Prompt length (2000) exceeds maximum input length (1024). Set log level to info": (1024, 2000),
    "Prompt length 9000 is greater than max_seq_len 8192": (8192, 9000),
    "input sequence length 9000 + request output len 512 exceeds max_seq_len": (None, None),
    "input token length exceed session_len": (None, None),
    "Input Tokens Exceeded: Number of input tokens exceeds maximum length. Please update the input to try"
    " again.": (None, None),
    "Unable to submit request because the input token count is 1200000 but model only supports up to 1048576."
    " Reduce the input token count and try again.": (1048576, 1200000),
    "the number of input tokens 4500 cannot exceed the total tokens limit 4096 for this model": (4096, 4500),
    "Requested generation length 1000 is not possible! The provided prompt is 8000 tokens long, so generating"
    " 1000 tokens requires a sequence length of 9000, but the maximum supported sequence length is just"
    " 8192!": (8192, None),
    "Request body too large for gpt-4o model. Max size: 8000 tokens.": (8000, None),
    "Total tokens of image and text exceed max message tokens.": (None, None),
    "Input length 130000 exceeds the maximum length 128000": (128000, 130000),
    "Sorry, the conversation is too long for this model. Please start a new chat.": (None, None),
    "The message you submitted was too long, please reload the conversation and submit something shorter.": (
        None,
        None,
    ),
    "Your prompt is too large for the context of this model.": (None, None),
    "The prompt doesn't fit into the context window (8192)": (None, None),
    "failed to process: the prompt has 9000 tokens but the context size is 8192": (8192, 9000),
    "This model only supports up to 16384 tokens of context, but the request has 20000 tokens.": (
        16384,
        20000,
    ),
    "maximum context size reached": (None, None),
    "Context length exceeded": (None, None),
    "CONTEXT OVERFLOW: the context limit of 32768 tokens was reached": (32768, None),
    "The total number of tokens (9000) is above the model's limit of 8192": (8192, 9000),
    "model's context window is full": (None, None),
    "not enough context space for the prompt": (None, None),
    "Please shorten your prompt and try again.": (None, None),
    "Please try again with a shorter prompt or a model with a larger context.": (None, None),
    "max tokens of 8192 exceeded for input": (8192, None),
    "input is too long: 70000 characters": (None, None),
    "输入长度超过最大长度限制": (None, None),
    "Prompt 超长": (None, None),
    "请求的 tokens 超过了模型的上下文长度": (None, None),
    "the request exceeds the available context size": (None, None),
    "slot context exceeded: n_ctx = 4096, n_past = 4097, context limit reached": (4096, 4097),
    "Conversation history is too long for the selected model": (None, None),
    # Each by one meaning alone.
    "This model has an 8192 context length.": (None, None),
    "Exceeded the tokens allowed.": (None, None),
    "It exceeds our limit of 8192 tokens.": (8192, None),
    "Token count exceeded.": (None, None),
    "Please send fewer tokens.": (None, None),
    "已超出最大长度": (None, None),
    "With its new tokens your request has more than the token limit.": (None, None),
    "context exceeded, n_ctx = 4096": (4096, None),
    "This endpoint's maximum context length is 8192 tokens. However, you requested about 9000 tokens (5000 of"
    " text input, 2000 of tool input, 1500 of image input, 500 in the output).": (8192, 8500),
}

#: Names alone, in `code` or `type`.
NAMES = (
    "context_length_exceeded",
    "ContextWindowExceededError",
    "context_too_long",
    "prompt_too_long",
    "input_too_long",
    "model_max_prompt_tokens_exceeded",
    "tokens_limit_reached",
    "max_context_length_exceeded",
    "contextOverflow",
    "token_limit_exceeded",
)

NO_REFUSALS = (
    "Rate limit reached for gpt-4 on tokens per min (TPM): Limit 10000, Used 9000, Requested 2000.",
    "This request would exceed your organization's rate limit of 40,000 input tokens per minute.",
    "Request too large for gpt-4 in organization org-x on tokens per min (TPM): Limit 10000, Requested 20000."
    " The input or output tokens must be reduced in order to run successfully.",
    "You have exceeded your monthly token limit",
    "You exceeded your current quota, please check your plan and billing details.",
    "This request requires more credits, or fewer max_tokens. You requested up to 32000 tokens, but can only"
    " afford 1234.",
    "max_tokens is too large: 20000. This model supports at most 16384 completion tokens, whereas you"
    " provided 20000.",
    "max_tokens: 21333 > 4096, which is the maximum allowed number of output tokens for claude-3",
    "`max_tokens` must be greater than `thinking.budget_tokens`",
    "context deadline exceeded",
    "Post http://10.0.0.1/v1: context deadline exceeded (Client.Timeout exceeded while awaiting headers)",
    "context canceled",
    "Invalid 'messages': array too long. Expected an array with maximum length 2048, but got an array with"
    " length 2183 instead.",
    "Invalid 'input': string too long. Expected a string with maximum length 10485760.",
    "Invalid 'tools[0].function.name': string too long. Expected a string with maximum length 64.",
    "'user' is too long: 70 characters, at most 64",
    "messages.0.content.1.image.source.base64: image exceeds 5 MB maximum: 6000000 bytes > 5242880 bytes",
    "The image is too large. Maximum size is 20 MB.",
    "At most 1 image(s) may be provided in one request.",
    "Too many tools: 200, at most 128 are allowed",
    "Too many stop sequences",
    "<html><head><title>413 Request Entity Too Large</title></head><body>nginx</body></html>",
    "Payload too large",
    "request entity too large",
    "Request URI too long",
    "The long context beta is not yet available for this subscription.",
    "Conversation roles must alternate user/assistant/user/assistant/...",
    "Invalid parameter: messages with role 'tool' must be a response to a preceding message with"
    " 'tool_calls'.",
    "The `reasoning_content` in the thinking mode must be passed back to the API.",
    "This model does not support tools",
    "The model `gpt-9` does not exist or you do not have access to it.",
    "Incorrect API key provided: sk-abc. You can find your API key at https://platform.openai.com.",
    "The response was filtered due to the prompt triggering content management policy.",
    "Prompt is too long to be moderated",
    "maximum number of concurrent requests exceeded",
    "Model is overloaded, more requests than it can take",
    "CUDA out of memory. Tried to allocate 2.00 GiB",
    "temperature must be at most 2",
    "n must be at most 128",
    "unexpected end of input",
    "context_length must be a positive integer",
    "messages must not be empty",
    "max_tokens must be at least 1, got 0",
    "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens'"
    " instead.",
    "thinking budget exceeds maximum: 30000 budget_tokens > 24576",
    "The server had an error while processing your request. Sorry about that!",
    "upstream connect error or disconnect/reset before headers. reset reason: overflow",
    "response body exceeded the size limit",
    "maximum recursion depth exceeded while processing the request",
    "The tool call arguments exceed the length limit",
    "The maximum output size exceeds the token limit",
    "账户欠费, tokens 超过上限",
)
