"""The inspector: pages on which the operator sees what happened in a chat.

shown              how times, counts and texts of others are shown
fences             which parts of a text are code
door               where it is, and the token without which it is nowhere
exchange_line      one exchange in a line
noticed            what is other in an exchange than in the one before
marks              what happened in a chat, in a word each
live               the requests that are being answered
conversation_list  the conversations used last
tree_shape         the path to a message, and what branches off it
message_view       one message as people read it
sums               what all exchanges of a conversation took
conversation_page  one conversation, a window of one path at a time
message_page       one message, whole
cause              why a prompt differs, by what is kept
between            what passed between two exchanges of a chat
went               what was done to each message of a prompt
limit              where the limit comes from to which it was cut, and why so much was left out
wording            the words for outcomes, causes, forms and ends
system_prompts     the system prompts that are kept
words              two texts word by word
system_diff        in which words two of them differ
slow               where the time of an exchange went
client_view        a request as its client sent it, and as a command
called             which tools were called in these messages
stray_results      results that answer no call
exchange_facts     what the page of an exchange tells, and what is known around the exchange
exchange_page      what the client sent, what the upstream got, and why
restored           what clients make of what is stored
diff_page          in which words a prompt differs from the one before it
query              what is looked for
search             what was said, looked for as long as a page may take
usage              what was asked, and what it took
fork               a conversation that begins with the words of another
whole              a conversation taken away, or deleted
settings_page      the settings, and where each value comes from
text               the same values in a terminal
reading            the values of these pages, read from a store
courtesy           how those who look give way to those who chat
render             values into HTML, or into JSON
responses          what every response carries, whatever it says
pages              the addresses, each with what it answers

Rules: a page is made of a value, and its JSON twin is that value. What others wrote is text for ever: the
templates escape everything. Jinja2 is loaded with the first page, and nothing of it is on the path of a chat.
"""
