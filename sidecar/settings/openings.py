"""How the background tasks of front ends begin.

Rule: an opening is long enough that no person's question and no turn with documents starts with it. The
prompts are the defaults of Open WebUI, 0.6 to 0.12, and those of LibreChat, opencode and gptme; an
administrator who has edited them adds the edited ones to `tasks.openings`, or lets the connection send
`X-Task`. A prompt begins
with its opening; what comes after may differ from version to version and from chat to chat.
"""

#: For a summary in the place of a chat's front: Open WebUI's prompt, and opencode's system message.
COMPACTIONS = (
    "### Task:\nSummarize the conversation history that will be compacted out of the active chat context.",
    "You are a context summarization agent. You are given a conversation",
)

OPENINGS = (
    *COMPACTIONS,
    # title
    "### Task:\nGenerate a concise title summarizing the chat history.",
    "### Task:\nGenerate a concise, 3-5 word title with an emoji summarizing the chat history.",
    # tags
    "### Task:\nGenerate 1-3 broad tags categorizing the main themes of the chat history",
    # follow-up questions
    "### Task:\nPredict 3-5 useful messages this user might naturally send next",
    "### Task:\nSuggest 3-5 relevant follow-up questions or prompts that the user might naturally ask next",
    # web search and retrieval queries
    "### Task:\nAnalyze the chat history to determine the necessity of generating search queries",
    # image prompt; "am" is theirs
    "### Task:\nGenerate a detailed prompt for am image generation task",
    # autocompletion
    "### Task:\nYou are an autocompletion system.",
    # emoji
    "Your task is to reflect the speaker's likely facial expression through a fitting emoji.",
    # mixture of agents ("merge responses")
    "You have been provided with a set of responses from various models to the latest user query:",
    # tool choice by prompt; the system message
    "Available Tools: [",
    # memory review; the system message
    "You are Open WebUI's private memory reviewer.",
    # LibreChat's title; by `titleMethod: completion`, the default, and by `structured` or `functions`
    "Provide a concise, 5-word-or-less title for the conversation, using",
    "Analyze this conversation and provide:\n1. The detected language of the conversation\n2. A concise",
    # opencode's title; the system message
    "You are a title generator. You output ONLY a thread title.",
    # gptme's names of conversations; the system message
    "Generate concise conversation titles.",
)
