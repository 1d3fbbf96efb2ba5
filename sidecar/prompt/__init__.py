"""What fits into a context window. Pure: no I/O in this package.

model_lists        what the upstreams' lists of models say of each model's window
weights            how many tokens a prompt has, by estimate
calibration        what an upstream's counts teach of that estimate
silent_truncation  did an upstream cut a prompt without saying so?
sendable           a stored reply as a request may hold it, and as another model may read it
call_results       which result answers which call
rebuild            the messages of a client that sends them all: what it lost is put back
thin_history       the history of a client that sends only what is new, valid for every template
form               in which form goes what we add: what an upstream demands back, what it refuses
supply             what is demanded, put in from what is stored
plain              the same in fewer fields, or as plain text
compact            what is left of old tool results, images and reasoning before turns are dropped
places             where a line of messages may be cut
trim               which turns fit the budget
summary            what stands for the turns that were dropped
fit                a prompt fitted to its budget, by weights that stay until the cut moves
words              the words of a text, in whatever language, as they are looked for in others
search_words       by which of them a message is found when what was said is searched
recall_index       what was said in a line, by its words
recall_evidence    how much a passage tells of what a question asks
recall_newer       what was said later, and tells of the same
recall             what was dropped and stands again, since the newest question asks for it
summary_question   what the model that summarizes is asked
"""
